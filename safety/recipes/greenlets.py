"""gevent and eventlet, with and without their patches."""

from __future__ import annotations

from typing import Any

from safety.loopback import PATIENCE
from safety.recipe import recipes_of

recipe = recipes_of("web")


def _talk(gevent: Any) -> list[Any]:
    from gevent.pool import Pool
    from gevent.server import StreamServer
    from gevent.socket import create_connection
    from gevent.subprocess import check_output

    def answer(connection: Any, _: object) -> None:
        connection.sendall(connection.recv(100) * 2)
        connection.close()

    server = StreamServer(("127.0.0.1", 0), answer)
    server.start()

    def ask(number: int) -> int:
        connection = create_connection(("127.0.0.1", server.server_port))
        connection.sendall(b"x" * number)
        data = connection.recv(100)
        connection.close()
        return len(data)

    lengths = Pool(5).map(ask, range(1, 11))
    server.stop()
    # Threads of its own, and its way to wait for a process.
    total = gevent.get_hub().threadpool.apply(sum, ([1, 2, 3],))
    return [lengths, total, check_output(["echo", "hi"], timeout=PATIENCE).decode()]


@recipe("gevent", "gevent>=24,<27", modules=("gevent", "gevent.pool", "gevent.server", "gevent.subprocess"))
def gevent_work() -> object:
    import gevent

    found = _talk(gevent)
    assert found == [list(range(2, 22, 2)), 6, "hi\n"]
    return found


@recipe(
    "gevent patch_all",
    "gevent>=24,<27",
    "requests>=2.31,<3",
    modules=("patched", "requests"),
    files={"patched.py": "from gevent import monkey\nmonkey.patch_all()\n"},
    alone=True,
)
def gevent_patched_work() -> object:
    import subprocess
    import threading

    import gevent
    from gevent import monkey

    from safety.recipes.clients import requests_work

    assert monkey.is_module_patched("threading") and monkey.is_module_patched("socket")
    found = _talk(gevent)
    event = threading.Event()
    threading.Timer(0.01, event.set).start()
    assert event.wait(PATIENCE) and subprocess.check_output(["echo", "hi"]) == b"hi\n"
    assert found == [list(range(2, 22, 2)), 6, "hi\n"]
    return [found, requests_work()]


@recipe("eventlet", "eventlet>=0.35,<1", modules=("eventlet", "eventlet.tpool", "eventlet.wsgi"))
def eventlet_work() -> object:
    import eventlet
    import eventlet.tpool

    listener = eventlet.listen(("127.0.0.1", 0))

    def answer(connection: Any, _: object) -> None:
        connection.sendall(connection.recv(100) * 2)
        connection.close()

    server = eventlet.spawn(eventlet.serve, listener, answer)

    def ask(number: int) -> int:
        connection = eventlet.connect(listener.getsockname())
        connection.sendall(b"x" * number)
        data = connection.recv(100)
        connection.close()
        return len(data)

    lengths = list(eventlet.GreenPool(5).imap(ask, range(1, 11)))
    server.kill()
    total = eventlet.tpool.execute(sum, [1, 2, 3])
    eventlet.tpool.killall()
    assert lengths == list(range(2, 22, 2)) and total == 6
    return lengths
