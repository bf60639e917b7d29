"""How a call travels: packed in the host, unpacked in the child.

A `call` body is `u32 length | u32 length | pickle of the host's state | pickle of the host's hooks | pickle of
(function, arguments, keyword arguments)`; the lengths are those of the first two pickles.
What is importable is pickled by name, so that the child runs what is on disk; the rest by value, with cloudpickle,
which only this side of the module imports.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from struct import Struct
from types import FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

T = TypeVar("T")

_LENGTHS = Struct("<II")
MAX_LENGTH = (1 << 32) - 1
"""Bytes that the body of a frame may have: its length is a u32."""
_TEXT = 10_000


class _Loading:
    """Whether this process is a child that is importing what its call names."""

    active = False


LOADING = _Loading()


# -- in the child --------------------------------------------------------------------------------


def split(body: bytes) -> tuple[memoryview, memoryview, memoryview]:
    """State, hooks and call, without copying."""
    view = memoryview(body)
    state, hooks = _LENGTHS.unpack(view[: _LENGTHS.size])
    first = _LENGTHS.size + state
    return view[_LENGTHS.size : first], view[first : first + hooks], view[first + hooks :]


def rehearse(state: dict[str, Any]) -> bytes:
    """A packed call of something that is not there yet and does nothing: see `_rehearsal`."""
    head = pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
    # `firehot._rehearsal.play("a", "b")`, by name: nobody has imported it.
    call = pickle.dumps((_Named(), ("a", "b"), {}), protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTHS.pack(len(head), 0) + head + call


class _Named:
    def __reduce__(self) -> tuple[Any, ...]:
        return resolve, ("firehot._rehearsal", "play")


def is_by_value(body: bytes) -> bool:
    """Whether the packed call, or a hook that goes with it, holds anything by value.

    Names of globals stand in a pickle as they are; a false alarm costs an import.
    """
    state, _ = _LENGTHS.unpack_from(body)
    return body.find(b"cloudpickle", _LENGTHS.size + state) >= 0


def load_hooks(hooks: memoryview) -> list[Callable[[], object]]:
    """The functions that run before the call. Imports the modules that they name."""
    if not hooks:
        return []
    LOADING.active = True
    try:
        functions: list[Callable[[], object]] = pickle.loads(hooks)
    finally:
        LOADING.active = False
    return functions


def load(call: memoryview) -> tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]:
    """Function, arguments and keyword arguments. Imports the modules that they name."""
    LOADING.active = True
    try:
        function, args, kwargs = pickle.loads(call)
    finally:
        LOADING.active = False
    adopt(function)
    return function, args, kwargs


def resolve(module: str, qualname: str) -> object:
    """An importable object: how `__main__`'s own travel under `python -m`."""
    found: object = import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found


def adopt(function: Any) -> None:
    """Puts what came by value from the host's `__main__` into this one.

    Pickle looks for it there when the call starts processes of its own (multiprocessing).
    """
    while isinstance(function, (partial, MethodType)):
        function = function.func if isinstance(function, partial) else function.__func__
    if not isinstance(function, FunctionType) or function.__module__ != "__main__":
        return
    main = sys.modules["__main__"].__dict__
    for name, value in function.__globals__.items():
        main.setdefault(name, value)
    if function.__qualname__.isidentifier():
        main.setdefault(function.__qualname__, function)


def run_after(
    initializer: Callable[..., object],
    initargs: Sequence[Any],
    function: Callable[..., object],
    args: Sequence[Any],
    kwargs: dict[str, Any],
) -> object:
    """A task of an executor that has an initializer."""
    adopt(function)
    initializer(*initargs)
    return function(*args, **kwargs)


def run_chunk(function: Callable[..., T], chunk: Sequence[Sequence[Any]]) -> list[T]:
    """Several tasks of an executor, one after the other."""
    adopt(function)
    return [function(*args) for args in chunk]


# -- in the host ---------------------------------------------------------------------------------


def pack(
    state: dict[str, Any],
    function: Callable[..., object],
    args: Any,
    kwargs: Any,
    hooks: Sequence[Callable[[], object]] = (),
) -> bytes:
    """The body of a `call`.

    Raises:
        Exception: Whatever pickling an argument or a hook raises.
    """
    head = pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
    pickler = _pickler()
    before = io.BytesIO()
    if hooks:
        pickler(before, protocol=pickle.HIGHEST_PROTOCOL).dump(list(hooks))
    buffer = io.BytesIO()
    buffer.write(_LENGTHS.pack(len(head), before.tell()))
    buffer.write(head)
    buffer.write(before.getvalue())
    pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump((function, args, kwargs))
    return buffer.getvalue()


def pack_program(state: dict[str, Any]) -> bytes:
    """The body of a `call` that runs a program: `state["program"]` says which."""
    head = pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTHS.pack(len(head), 0) + head


def cloudpickle_folder(body: bytes) -> str | None:
    """Where cloudpickle lies, if the packed call holds anything by value."""
    if not is_by_value(body):
        return None
    import cloudpickle

    return os.path.dirname(os.path.abspath(str(cloudpickle.__file__)))


def main_name() -> str | None:
    """The name by which `__main__` can be imported (under `python -m`), or `None`."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    # A folder or zip file runs as a `__main__` that nobody can import; a debugger or profiler puts its own spec there.
    if spec is None or spec.name == "__main__" or spec.origin != getattr(main, "__file__", None):
        return None
    return str(spec.name)


def main_file() -> str | None:
    """The path of the host's script, or `None` in a notebook or under `-c`."""
    file: object = getattr(sys.modules.get("__main__"), "__file__", None)
    return os.path.abspath(file) if isinstance(file, str) else None


def _pickler() -> type[pickle.Pickler]:
    """Cloudpickle's pickler; under `python -m` it knows `__main__` by its real name."""
    from cloudpickle import Pickler

    name = main_name()
    main = sys.modules["__main__"]
    if name is None:
        return Pickler  # type: ignore[no-any-return]

    class NamedMainPickler(Pickler):  # type: ignore[misc]
        def reducer_override(self, value: Any) -> Any:
            if (
                isinstance(value, (FunctionType, type))
                and value.__module__ == "__main__"
                and _lookup(main, value.__qualname__) is value
            ):
                return resolve, (name, value.__qualname__)
            return super().reducer_override(value)

    return NamedMainPickler


def _lookup(module: ModuleType, qualname: str) -> object:
    found: Any = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


class ResultUnpickler(pickle.Unpickler):
    """Rebuilds results in the host, where the module that `python -m` runs is `__main__`."""

    def find_class(self, module: str, name: str) -> Any:
        """As `pickle`, but never imports the running script a second time."""
        if module == main_name():
            module = "__main__"
        return super().find_class(module, name)


def load_result(body: bytes) -> object:
    """The object in a reply's body."""
    return ResultUnpickler(io.BytesIO(body)).load()


class _StandIn:
    """Takes the place of a class that is not to be had here, and shows what its object held."""

    _shown: tuple[object, ...] = ()

    def __new__(cls, *args: object, **kwargs: object) -> _StandIn:
        made = super().__new__(cls)
        made._shown = (*args, *(f"{name}={value!r}" for name, value in kwargs.items()))
        return made

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self._shown = (*self._shown, state)

    def __repr__(self) -> str:
        inside = ", ".join(repr(part) for part in self._shown)
        return f"{type(self).__module__}.{type(self).__qualname__}({inside})"


class _DescribingUnpickler(pickle.Unpickler):
    """Builds stand-ins for everything but the types that Python itself is made of; imports nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "collections", "copyreg", "datetime", "decimal", "uuid"):
            return super().find_class(module, name)
        return type(name.rpartition(".")[2], (_StandIn,), {"__module__": module, "__qualname__": name})


def describe_result(body: bytes) -> str:
    """A result as text, for when it can't be rebuilt."""
    try:
        text = repr(_DescribingUnpickler(io.BytesIO(body)).load())
    except Exception:
        return "an object that can't be shown either"
    return text if len(text) <= _TEXT else text[:_TEXT] + "..."
