"""What an application is, by what it takes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from firehot._generation_app import kind_of


class OfVersion2:
    def __init__(self, scope: Any) -> None:
        pass

    async def __call__(self, receive: Any, send: Any) -> None:
        pass


class Awaited:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        pass

    def __await__(self) -> Any:
        yield


class Asgi:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pass


class Wsgi:
    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        return []


def wsgi(environ: Any, start_response: Any, *, option: int = 1) -> list[bytes]:
    return []


def returns_what_is_awaited(scope: Any, receive: Any, send: Any) -> Any:
    return Asgi()(scope, receive, send)


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    pass


def of_version_2(scope: Any) -> Any:
    return OfVersion2(scope)


def asgi_and_more(scope: Any, receive: Any, send: Any, more: int) -> Any:
    return asgi(scope, receive, send)


@pytest.mark.parametrize(
    ("app", "kind"),
    [
        *(
            (one, "asgi3")
            for one in (asgi, Asgi(), Awaited, returns_what_is_awaited, partial(asgi_and_more, more=1), print)
        ),
        *((one, "asgi2") for one in (OfVersion2, of_version_2)),
        *((one, "wsgi") for one in (wsgi, Wsgi(), Wsgi().__call__)),
    ],
)
def test_what_it_is(app: object, kind: str) -> None:
    assert kind_of(app) == kind
