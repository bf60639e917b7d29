"""The application of a generation: from TARGET to what uvicorn serves, or why there is nothing to serve."""

from __future__ import annotations

import inspect
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any

from firehot._pages import Pages

if TYPE_CHECKING:
    from uvicorn import Config

_OF_APPLICATION = ("http", "http2", "ws", "loop", "lifespan", "env_file", "log_config", "limit_max_requests")
_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep


class NotStartedError(Exception):
    """There is nothing to serve.

    Attributes:
        text: The traceback, or the one line that says it.
        brief: What has happened, to go on "module:attribute ".
    """

    def __init__(self, text: str, brief: str) -> None:
        super().__init__(brief)
        self.text = text
        self.brief = brief


def configure(target: str, settings: dict[str, Any], tell: Callable[[], object]) -> tuple[Config, Pages]:
    """The configuration of uvicorn, with the application in it; and what pages are told.

    Args:
        target: `module:attribute`.
        settings: See `_generation`.
        tell: Called when the application is going to be imported.

    Raises:
        NotStartedError: There is no application.
    """
    try:
        from uvicorn import Config
    except ImportError as error:
        raise NotStartedError(traceback.format_exc(), f"can't be served: {error}") from None
    pages = Pages(settings["id"], overlay=settings["overlay"], live_reload=settings["live_reload"])
    options = dict(settings["uvicorn"])
    if settings["error"] is not None:
        # What keeps an application from being served shall not keep its error page.
        options = {name: value for name, value in options.items() if name not in _OF_APPLICATION}
    try:
        # What it reads from files (environment, logging) is there before the application is imported.
        config = Config(_nothing, **options)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise NotStartedError(text, f"can't be served with these options: {text}") from None
    if settings["error"] is not None:
        pages.error = settings["error"]
        app: Any = pages.error_page
        kind = "asgi3"
    else:
        tell()
        app, kind = _load(target, settings)
    if kind == "wsgi":
        app = _adapted(app)
        config.ws, config.lifespan = "none", "off"
    elif kind == "asgi2":
        from uvicorn.middleware.asgi2 import ASGI2Middleware

        app = ASGI2Middleware(app)
    config.app, config.interface, config.factory = pages.around(app), "asgi3", False
    try:
        config.load()
    except Exception as error:
        raise NotStartedError(f"{type(error).__name__}: {error}", f"can't be served: {error}") from None
    return config, pages


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """Stands for the application until it is imported."""


def _adapted(app: Any) -> Any:
    with warnings.catch_warnings():
        # It is what this uvicorn has; another adapter is the application's own choice.
        warnings.simplefilter("ignore", DeprecationWarning)
        from uvicorn.middleware import wsgi

        adapter: Any = getattr(wsgi, "WSGIMiddleware")  # noqa: B009
        return adapter(app)


def _load(target: str, settings: dict[str, Any]) -> tuple[Any, str]:
    """The application, and what kind it is."""
    # Where that is not the locale's encoding, the interpreter has such bytes in another form.
    folder = os.fsdecode(settings["app_dir"].encode("utf-8", "surrogateescape"))
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    name, _, attributes = target.partition(":")
    try:
        found: Any = import_module(name)
        for attribute in attributes.split("."):
            found = getattr(found, attribute)
        if settings["factory"]:
            found = found()
    except BaseException as error:
        raise _explained(error, name, attributes) from None
    wanted = settings["interface"]
    return found, kind_of(found) if wanted == "auto" else "wsgi" if wanted == "wsgi" else _asgi(found)


def _explained(error: BaseException, name: str, attributes: str) -> NotStartedError:
    own = _own_traceback(error.__traceback__)
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if own is None and missing is not None and f"{name}.".startswith(f"{missing}."):
        return NotStartedError(f"there is no module {missing!r}", f"is not there: no module {missing!r}")
    if own is None and isinstance(error, AttributeError):
        return NotStartedError(f"{name!r} has no {attributes!r}", f"is not there: {name!r} has no {attributes!r}")
    text = "".join(traceback.format_exception(type(error), error, own))
    if isinstance(error, SystemExit):
        return NotStartedError(text, f"asks to exit ({error.code!r}) when it is imported")
    # The front prints no text that is one line.
    return NotStartedError(text, f"can't be imported: {_only_line(text) or type(error).__name__}")


def _only_line(text: str) -> str:
    return "" if "\n" in text.strip() else text.strip()


def _own_traceback(trace: TracebackType | None) -> TracebackType | None:
    """From the first frame of the application on."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        is_import = file.startswith("<frozen ") or file.endswith(os.path.join("importlib", "__init__.py"))
        if not is_import and not file.startswith(_FOLDER):
            return trace
        trace = trace.tb_next
    return None


def kind_of(app: Any) -> str:
    """What it is, by what it takes where it is no coroutine: "asgi3", "asgi2" or "wsgi"."""
    if inspect.isclass(app):
        # A class is ASGI 2, or what its instances await is the whole of version 3.
        return "asgi3" if hasattr(app, "__await__") else "asgi2"
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(getattr(app, "__call__", None)):  # noqa: B004
        return "asgi3"
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return "asgi3"
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    count = sum(one.kind in kinds and one.default is one.empty for one in parameters)
    return {1: "asgi2", 2: "wsgi"}.get(count, "asgi3")


def _asgi(app: Any) -> str:
    kind = kind_of(app)
    return "asgi3" if kind == "wsgi" else kind
