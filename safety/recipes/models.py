"""Language-model clients, with a server on loopback that answers as the real one would."""

from __future__ import annotations

import asyncio
import json

from safety.loopback import Answer, http_server
from safety.recipe import recipes_of

recipe = recipes_of("web")


def _chat(method: str, path: str, body: bytes) -> Answer:
    asked = json.loads(body)["messages"][-1]["content"]
    answer = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "small",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": f"{asked} again"}}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()


@recipe("openai", "openai>=1.30,<3")
def openai_work() -> object:
    import httpx
    import openai

    messages = [{"role": "user", "content": "hi"}]
    with http_server(_chat) as address:
        client = openai.OpenAI(api_key="k", base_url=address, http_client=httpx.Client(trust_env=False))
        first = client.chat.completions.create(model="small", messages=messages)  # type: ignore[arg-type]

        async def again() -> str:
            async with openai.AsyncOpenAI(
                api_key="k", base_url=address, http_client=httpx.AsyncClient(trust_env=False)
            ) as later:
                answer = await later.chat.completions.create(model="small", messages=messages)  # type: ignore[arg-type]
                return str(answer.choices[0].message.content)

        found = [first.choices[0].message.content, asyncio.run(again())]
    assert found == ["hi again"] * 2
    return found


@recipe(
    "langchain",
    "langchain>=1,<2",
    modules=("langchain", "langchain.agents", "langchain_core.runnables", "langchain_core.prompts"),
    variables={"LANGSMITH_TRACING": "false"},
)
def langchain_work() -> object:
    from langchain_core.language_models import FakeListChatModel
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnableLambda

    prompt = ChatPromptTemplate.from_messages([("system", "be short"), ("user", "{text}")])
    chain = prompt | FakeListChatModel(responses=["yes"]) | StrOutputParser() | RunnableLambda(str.upper)
    # In threads.
    found = chain.batch([{"text": "a"}, {"text": "b"}], {"max_concurrency": 2})
    assert found == ["YES", "YES"] and asyncio.run(chain.ainvoke({"text": "c"})) == "YES"
    return found


# It fetches a table of prices while it is imported, unless told to use its own.
@recipe("litellm", "litellm>=1.40,<2", variables={"LITELLM_LOCAL_MODEL_COST_MAP": "True"})
def litellm_work() -> object:
    import litellm

    litellm.telemetry = False
    with http_server(_chat) as address:
        answer = litellm.completion(
            "openai/small",
            [{"role": "user", "content": "hi"}],
            api_base=address,
            api_key="k",
            timeout=20,
            num_retries=0,
        )
    assert answer.choices[0].message.content == "hi again"
    return answer.choices[0].message.content
