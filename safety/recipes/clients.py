"""Clients of HTTP and of clouds, with a server on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from safety.loopback import Answer, http_server
from safety.recipe import recipes_of

recipe = recipes_of("web")


def _echo(method: str, path: str, body: bytes) -> Answer:
    content = json.dumps({"method": method, "path": path, "length": len(body)}).encode()
    return 200, {"Content-Type": "application/json"}, content


@recipe("requests", "requests>=2.31,<3")
def requests_work() -> object:
    import requests

    with http_server(_echo) as address, requests.Session() as session:
        session.trust_env = False
        first = session.get(f"{address}/a", params={"q": "x y"}, timeout=10).json()
        with ThreadPoolExecutor(3) as pool:
            sizes = list(pool.map(lambda n: session.post(address, b"x" * n, timeout=10).json()["length"], range(1, 6)))
    assert sizes == [1, 2, 3, 4, 5]
    return first


@recipe("httpx", "httpx>=0.27,<1")
def httpx_work() -> object:
    import httpx

    async def many(address: str) -> list[int]:
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            answers = await asyncio.gather(*(client.post(address, content=b"x" * n) for n in range(1, 6)))
            return [answer.json()["length"] for answer in answers]

    with http_server(_echo) as address:
        with httpx.Client(trust_env=False, timeout=10) as client:
            first = client.get(f"{address}/a").json()
        assert asyncio.run(many(address)) == [1, 2, 3, 4, 5]
    return first


@recipe("aiohttp", "aiohttp>=3.9,<4", modules=("aiohttp", "aiohttp.web"))
def aiohttp_work() -> object:
    import aiohttp
    from aiohttp import web

    async def main() -> object:
        async def hello(request: web.Request) -> web.Response:
            return web.json_response({"path": request.path, "n": int(request.query["n"]) * 2})

        application = web.Application()
        application.router.add_get("/hello", hello)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/hello?n=21") as answer:
            found = await answer.json()
        await runner.cleanup()
        return found

    found = asyncio.run(main())
    assert found == {"path": "/hello", "n": 42}
    return found


def _bucket() -> Callable[[str, str, bytes], Answer]:
    stored: dict[str, bytes] = {}

    def answer(method: str, path: str, body: bytes) -> Answer:
        key = path.partition("?")[0]
        if method == "PUT":
            stored[key] = body
            return 200, {"ETag": '"1"'}, b""
        if key not in stored:
            return 404, {}, b""
        return 200, {"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, stored[key]

    return answer


@recipe("boto3", "boto3>=1.34,<2", variables={"AWS_EC2_METADATA_DISABLED": "true"})
def boto3_work() -> object:
    import boto3
    from botocore.config import Config

    answer = _bucket()
    settings = Config(
        proxies={},
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    with http_server(answer) as address, tempfile.TemporaryDirectory() as folder:
        client = boto3.client(
            "s3",
            endpoint_url=address,
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=settings,
        )
        client.put_object(Bucket="b", Key="k", Body=b"value")
        path = os.path.join(folder, "file")
        # Its transfer manager uses threads.
        client.download_file("b", "k", path)
        with open(path, "rb") as file:
            found = file.read()
    assert found == b"value"
    return found.decode()


@recipe("google-cloud-storage", "google-cloud-storage>=2.14,<4", modules=("google.cloud.storage",))
def google_work() -> object:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    stored: list[bytes] = []

    def answer(method: str, path: str, body: bytes) -> Answer:
        if path.startswith("/upload/"):
            stored.append(body)
            return 200, {"Content-Type": "application/json"}, b'{"name": "n", "bucket": "b", "size": "5"}'
        if "alt=media" in path:
            return 200, {"Content-Type": "text/plain"}, b"value"
        return 200, {"Content-Type": "application/json"}, b'{"name": "n", "bucket": "b", "size": "5"}'

    with http_server(answer) as address:
        client = storage.Client("p", AnonymousCredentials(), client_options={"api_endpoint": address})
        blob = client.bucket("b").blob("n")
        blob.upload_from_string("value", timeout=10)
        found = blob.download_as_bytes(timeout=10, checksum=None)
    assert found == b"value" and b"value" in stored[0]
    return found.decode()


@recipe("grpcio", "grpcio>=1.60,<2", modules=("grpc",))
def grpc_work() -> object:
    import grpc

    def twice(request: bytes, _: object) -> bytes:
        return request * 2

    handler = grpc.method_handlers_generic_handler("test", {"Twice": grpc.unary_unary_rpc_method_handler(twice)})
    server = grpc.server(ThreadPoolExecutor(4), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary("/test/Twice")
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda n: len(call(b"x" * n, timeout=15)), range(1, 9)))
    server.stop(None).wait(10)
    assert found == list(range(2, 18, 2))
    return found


@recipe(
    "protobuf",
    "protobuf>=4.25,<8",
    modules=(
        "google.protobuf.message",
        "google.protobuf.descriptor_pb2",
        "google.protobuf.struct_pb2",
        "google.protobuf.json_format",
    ),
)
def protobuf_work() -> object:
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2

    file = descriptor_pb2.FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
    kind = file.message_type.add(name="Person")
    kind.field.add(name="name", number=1, type=9, label=1)
    kind.field.add(name="scores", number=2, type=5, label=3)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    person_class = message_factory.GetMessageClass(pool.FindMessageTypeByName("a.Person"))
    person = person_class(name="Ada", scores=range(100))
    again = person_class.FromString(person.SerializeToString())
    document = struct_pb2.Struct()
    document.update({"a": [1, "b", {"c": True}]})
    assert again == person and json.loads(json_format.MessageToJson(document)) == {"a": [1.0, "b", {"c": True}]}
    return len(person.SerializeToString())


@recipe("playwright", "playwright>=1.40,<2", modules=("playwright.sync_api", "playwright.async_api"))
def playwright_work() -> object:
    from playwright.sync_api import sync_playwright

    # The driver is a process of its own. Without a browser its own HTTP client is what can be used.
    with http_server(_echo) as address, sync_playwright() as playwright:
        context = playwright.request.new_context(base_url=address)
        found = context.get("/a").json()
        context.dispose()
    assert found["path"] == "/a"
    return found
