"""Web frameworks and servers: serving on 127.0.0.1, port 0, and one client's request."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safety.loopback import PATIENCE, fetch
from safety.recipe import recipes_of

recipe = recipes_of("web")


@contextmanager
def uvicorn_server(application: Any, **options: Any) -> Iterator[str]:
    """Uvicorn in a thread, until the block ends."""
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(application, log_level="warning", **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            # The listener takes connections already: the first request waits for the server.
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


@recipe(
    "django",
    "django>=4.2,<7",
    modules=(
        "django",
        "django.conf",
        "django.core.wsgi",
        "django.db",
        "django.http",
        "django.test",
        "django.urls",
        "django.forms",
        "django.template",
    ),
)
def django_work() -> object:
    import types
    from wsgiref.simple_server import make_server

    import django
    from django.conf import settings
    from django.db import connection, models
    from django.http import JsonResponse
    from django.urls import path

    def count(request: Any) -> JsonResponse:
        return JsonResponse({"count": Person.objects.filter(name__startswith="a").count()})

    urls: Any = types.ModuleType("urls")
    urls.urlpatterns = [path("count", count)]
    with tempfile.TemporaryDirectory() as folder:
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/a.db"}
        settings.configure(
            ROOT_URLCONF=urls, ALLOWED_HOSTS=["*"], SECRET_KEY="k", DATABASES={"default": database}, INSTALLED_APPS=[]
        )
        django.setup()

        class Person(models.Model):
            name = models.TextField()

            class Meta:
                app_label = "people"

        with connection.schema_editor() as editor:
            editor.create_model(Person)
        Person.objects.bulk_create([Person(name=name) for name in ("anna", "bob", "alf")])
        from django.core.wsgi import get_wsgi_application

        server = make_server("127.0.0.1", 0, get_wsgi_application())
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        found = json.loads(fetch(f"http://127.0.0.1:{server.server_port}/count"))
        thread.join()
        server.server_close()
        connection.close()
    assert found == {"count": 2}
    return found


@recipe("flask", "flask>=3,<4")
def flask_work() -> object:
    import flask
    from werkzeug.serving import make_server

    application = flask.Flask("small")

    @application.route("/hello/<name>")
    def hello(name: str) -> Any:
        return flask.jsonify(text=flask.render_template_string("hello {{ name|upper }}", name=name))

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found = json.loads(fetch(f"http://127.0.0.1:{server.server_port}/hello/you"))
    server.shutdown()
    thread.join()
    server.server_close()
    assert found == {"text": "hello YOU"}
    return found


@recipe("fastapi", "fastapi>=0.110,<1", "uvicorn>=0.29,<1", modules=("fastapi", "uvicorn"))
def fastapi_work() -> object:
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Item(BaseModel):
        name: str
        tags: list[str] = []

    application = FastAPI()

    @application.get("/items/{number}", response_model=Item)
    def item(number: int) -> object:
        # A plain function runs in the thread pool.
        return Item(name=f"item {number}", tags=[threading.current_thread().name.split()[0]])

    with uvicorn_server(application) as address:
        found = json.loads(fetch(f"{address}/items/7"))
        assert "/items/{number}" in json.loads(fetch(f"{address}/openapi.json"))["paths"]
    assert found["name"] == "item 7"
    return found


@recipe("uvicorn", "uvicorn>=0.29,<1")
def uvicorn_work() -> object:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    with uvicorn_server(application, lifespan="off") as address:
        found = [fetch(f"{address}/{number}").decode() for number in range(5)]
    assert found == [f"/{number}" for number in range(5)]
    return found


@recipe("uvloop", "uvloop>=0.19,<1")
def uvloop_work() -> object:
    import sys

    import uvloop

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def main() -> str:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        writer.write(b"line\n")
        line = await reader.readline()
        writer.close()
        server.close()
        # Its thread pool, its child watcher and its resolver.
        total = await asyncio.get_running_loop().run_in_executor(None, sum, [1, 2, 3])
        program = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(7)", stdout=-1)
        output, _ = await program.communicate()
        assert await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 80)
        return f"{line!r} {total} {output!r} {type(asyncio.get_running_loop()).__module__}"

    found = uvloop.run(main()) if hasattr(uvloop, "run") else ""
    assert found == r"b'line\n' 6 b'7\n' uvloop"
    return found


@recipe("streamlit", "streamlit>=1.30,<2", modules=("streamlit", "streamlit.testing.v1"))
def streamlit_work() -> object:
    from streamlit.testing.v1 import AppTest

    script = """
import streamlit as st
number = st.number_input("n", value=20)
st.dataframe({"a": [1, 2]})
if st.button("double"):
    st.markdown(str(number * 2))
"""
    # The script runs in a thread of its own.
    test = AppTest.from_string(script, default_timeout=PATIENCE).run()
    test.number_input[0].set_value(21)
    test.button[0].click().run()
    assert not test.exception and test.markdown[0].value == "42"
    return test.markdown[0].value


@recipe("ipykernel", "ipykernel>=6.29,<8", modules=("ipykernel.inprocess", "ipykernel.kernelapp"))
def ipykernel_work() -> object:
    from ipykernel.inprocess import InProcessKernelManager

    manager = InProcessKernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.execute("answer = 6 * 7")
    found = manager.kernel.shell.user_ns["answer"]
    client.stop_channels()
    manager.shutdown_kernel()
    assert found == 42
    return found


@recipe("pyzmq", "pyzmq>=25,<28", modules=("zmq", "zmq.asyncio"))
def zmq_work() -> object:
    import zmq

    with zmq.Context() as context:
        answering = context.socket(zmq.REP)
        port = answering.bind_to_random_port("tcp://127.0.0.1")

        def answer() -> None:
            for _ in range(20):
                answering.send(answering.recv() * 2)
            answering.close()

        thread = threading.Thread(target=answer)
        thread.start()
        asking = context.socket(zmq.REQ)
        asking.connect(f"tcp://127.0.0.1:{port}")
        lengths = []
        for number in range(20):
            asking.send(b"x" * number)
            lengths.append(len(asking.recv()))
        asking.close()
        thread.join()
    assert lengths == list(range(0, 40, 2))
    return time.monotonic() > 0
