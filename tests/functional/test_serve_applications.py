"""`firehot serve` with real frameworks, and with what never ends: WebSockets, event streams."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from daemons import Desk
from serving import Load, Serving, app
from support import DEADLINE, at_terminal, is_alive, wait_until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

MANY = 200

FASTAPI = """
from contextlib import asynccontextmanager
from fastapi import Depends, FastAPI
from pydantic import BaseModel

@asynccontextmanager
async def lifespan(app):
    app.state.pool = ["opened"]
    yield {"value": VALUE}
    app.state.pool.clear()

VALUE = 1
app = FastAPI(lifespan=lifespan)

class Item(BaseModel):
    name: str

def value():
    return VALUE

@app.post("/items/{number}")
def item(number: int, item: Item, value=Depends(value)):
    return {"number": number, "name": item.name, "value": value, "pool": app.state.pool}
"""

STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

VALUE = 1

async def page(request):
    return HTMLResponse(f"<h1>{VALUE}</h1>")

async def parts(request):
    async def some():
        for number in range(3):
            yield f"{number}"
    return StreamingResponse(some())

async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(f"{text} {VALUE}")

app = Starlette(routes=[Route("/", page), Route("/parts", parts), WebSocketRoute("/echo", echo)])
"""

FLASK = """
from flask import Flask, render_template, request

VALUE = 1
app = Flask(__name__)

@app.route("/form", methods=["POST"])
def form():
    return {"name": request.form["name"], "value": VALUE}

@app.get("/page")
def page():
    return render_template("page.html", value=VALUE)
"""

SETTINGS = """
SECRET_KEY = "of a test"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "project.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3"}}
MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", "django.middleware.common.CommonMiddleware"]
USE_TZ = True
"""

DJANGO = {
    "project/__init__.py": "",
    "project/settings.py": SETTINGS,
    "project/asgi.py": """
        import os
        from django.core.asgi import get_asgi_application
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
        application = get_asgi_application()
    """,
    "project/urls.py": """
        from django.urls import path
        from shop import views
        urlpatterns = [path("", views.index)]
    """,
    "shop/__init__.py": "",
    "shop/models.py": """
        from django.db import models
        class Thing(models.Model):
            name = models.CharField(max_length=50)
    """,
    "shop/views.py": """
        from django.http import HttpResponse
        from shop.models import Thing
        VALUE = 1
        def index(request):
            return HttpResponse(f"<h1>{VALUE} {Thing._meta.db_table}</h1>" + "text " * 100)
    """,
}


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def test_fastapi(desk: Desk) -> None:
    desk.write("pkg/__init__.py")
    desk.write("pkg/main.py", FASTAPI)
    with Serving(desk, "pkg.main:app") as served:
        served.until(r"served after")
        for value in (1, 2):
            if value > 1:
                desk.write("pkg/main.py", FASTAPI.replace("VALUE = 1", f"VALUE = {value}"))
                served.until(r"changed; .*served after")
            answer = served.ask("/items/7", "POST", b'{"name": "a"}', content_type="application/json")
            assert json.loads(answer.text) == {"number": 7, "name": "a", "value": value, "pool": ["opened"]}
            assert served.ask("/items/x", "POST", b"{}").status == 422
        desk.write("pkg/main.py", FASTAPI.replace('["opened"]', "[1 / 0]"))
        told = served.until(r"has not started up; the last good code goes on serving")
        assert told.count("ZeroDivisionError") == 1 and "pkg/main.py" in told
        assert desk.json("why")["runs"][0]["warm"]


def test_starlette(desk: Desk) -> None:
    desk.write("app.py", STARLETTE)

    async def talk(port: int) -> None:
        async with connect(f"ws://127.0.0.1:{port}/echo") as one:
            await one.send("a")
            assert await one.recv() == "a 1"
            await asyncio.to_thread(desk.write, "app.py", STARLETTE.replace("VALUE = 1", "VALUE = 2"))
            with pytest.raises(ConnectionClosed) as closed:
                await one.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
        async with connect(f"ws://127.0.0.1:{port}/echo") as one:
            await one.send("b")
            assert await one.recv() == "b 2"

    with Serving(desk) as served:
        served.until(r"served after")
        assert served.ask("/").text == "<h1>1</h1>"
        assert served.ask("/parts").text == "012"
        asyncio.run(talk(served.port))
        served.until(r"changed; .*served after")


def test_flask(desk: Desk) -> None:
    desk.write("shop.py", FLASK)
    desk.write("templates/page.html", "<title>{{ value }}</title>")
    kind = "application/x-www-form-urlencoded"
    with Serving(desk, "shop:app") as served:
        served.until(r"served after")
        assert json.loads(served.ask("/form", "POST", b"name=Ada", content_type=kind).text) == {
            "name": "Ada",
            "value": 1,
        }
        assert served.ask("/page", accept="text/html").text.startswith("<title>1</title><script src=")
        desk.write("shop.py", FLASK.replace("VALUE = 1", "VALUE = 2"))
        served.until(r"changed; .*served after")
        assert served.ask("/page").text == "<title>2</title>"
        assert desk.json("why")["runs"][0]["warm"]


def test_django(desk: Desk) -> None:
    for name, text in DJANGO.items():
        desk.write(name, text)
    with Serving(desk, "project.asgi:application") as served:
        served.until(r"served after")
        page = served.ask("/", accept="text/html", accept_encoding="gzip")
        assert page.text.startswith("<h1>1 shop_thing</h1>") and "/.firehot/client.js" in page.text
        desk.write("shop/views.py", DJANGO["shop/views.py"].replace("VALUE = 1", "VALUE = 2"))
        served.until(r"shop/views.py changed; .*served after")
        assert served.ask("/").text.startswith("<h1>2 shop_thing</h1>")
        assert desk.json("why")["runs"][0]["warm"]


def test_what_is_opened_at_import_is_the_process_s_own(desk: Desk) -> None:
    body = (
        "import sqlite3, threading\nPOOL = sqlite3.connect('a.db', check_same_thread=False)\nTHREAD = threading.Event()"
    )
    body += "\nthreading.Thread(target=THREAD.wait, daemon=True).start()"
    desk.write("app.py", app(1, body=body))
    with Serving(desk) as served:
        served.until(r"served after")
        served.save(2, body=body)
        owner, process = json.loads(served.ask("/process").text)
        assert owner == process
        if os.path.isdir(f"/proc/{process}/fd"):
            open_files = [os.readlink(f"/proc/{process}/fd/{fd}") for fd in os.listdir(f"/proc/{process}/fd")]
            assert sum(name.endswith("/a.db") for name in open_files) == 1


def test_many_websockets_are_told_and_come_back(desk: Desk) -> None:
    desk.write("app.py", app(1))

    async def listen(port: int, counted: list[int]) -> str:
        async with connect(f"ws://127.0.0.1:{port}/", open_timeout=DEADLINE) as one:
            assert await one.recv() == "1"
            counted.append(1)
            with pytest.raises(ConnectionClosed) as closed:
                await one.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
        async with connect(f"ws://127.0.0.1:{port}/", open_timeout=DEADLINE) as one:
            return str(await one.recv())

    async def talk(served: Serving) -> list[str]:
        counted: list[int] = []
        tasks = [asyncio.create_task(listen(served.port, counted)) for _ in range(MANY)]
        while len(counted) < MANY:
            await asyncio.wait(tasks, timeout=0.05)
        with Load(served.port, steady=2, fresh=2) as load:
            await asyncio.to_thread(served.save, 2)
            found = await asyncio.gather(*tasks)
        load.check()
        return found

    with Serving(desk, "app:app", "--no-access-log") as served:
        served.until(r"served after")
        old = json.loads(served.ask("/process").text)[0]
        assert asyncio.run(talk(served)) == ["2"] * MANY
        assert wait_until(lambda: not is_alive(old), 5.0)


def test_an_event_stream_ends_with_its_code(desk: Desk) -> None:
    desk.write("app.py", app(1))
    with Serving(desk) as served:
        served.until(r"served after")
        old = json.loads(served.ask("/process").text)[0]
        with socket.create_connection(("127.0.0.1", served.port), DEADLINE) as made:
            made.sendall(b"GET /stream HTTP/1.1\r\nhost: a\r\n\r\n")
            stream = made.makefile("rb")
            assert any(line == b"data: 1\n" for line in iter(stream.readline, b""))
            served.save(2)
            # Long before those who may still be answered have to be.
            assert wait_until(lambda: not is_alive(old), 4.0)
            stream.read()
        assert served.ask().text == "2"


def test_a_terminal_is_the_debugger_s_and_is_left_as_it_was(desk: Desk) -> None:
    desk.write("app.py", app(1))
    shell = at_terminal("/bin/sh", cwd=str(desk.root), env={**desk.environment, "PS1": "$ "})
    try:
        shell.sendline("stty -a | md5sum")
        shell.expect(r"[0-9a-f]{32}")
        before = shell.match.group()
        shell.sendline(f"{sys.executable} -m firehot serve app:app --port 0")
        shell.expect(r"http://127.0.0.1:(\d+) .*served after")
        port = int(shell.match.group(1))
        desk.write("app.py", app(2))
        shell.expect("changed; .*served after")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(urllib.request.urlopen, f"http://127.0.0.1:{port}/break", timeout=DEADLINE)
            for line in ("number += 40", "c"):
                shell.expect(r"\(Pdb\) ")
                shell.sendline(line)
            with asked.result() as response:
                assert response.read() == b"42"
        shell.sendintr()
        shell.sendline("echo status $?; stty -a | md5sum")
        shell.expect(r"status (\d+)")
        assert shell.match.group(1) == "0"
        shell.expect(r"[0-9a-f]{32}")
        assert shell.match.group() == before
    finally:
        shell.close(force=True)
