"""A program in a child: what `python [options] TARGET ARGUMENTS` would be, from the target's first line on.

`state["program"]` names it:

- `kind`, `target`: `script` and its path as given, which may be a folder; `module` and its name; `code`; `function` and
  `package.module:function`.
- `code`: the text of `-c`. `argv`: what stands behind the target. `options`: of the interpreter; they are the
  template's as well. `words`: all three and the target as they were typed; may be missing.
- `terminal`: the path of what becomes the controlling terminal, or `None`.
- `descriptors`: the numbers of those that the caller hands down besides the standard ones, which came with the call.
- `saved`: seconds since 1970, where it is to be said how long after that the program began; or `None`.
- `limits`: soft and hard by name, those that differ from the template's; `affinity`; `nice`; `blocked`, signals. Each
  may be missing.

The program's frames have nothing below them: see `_empty_stack`. Whatever keeps a program from starting (no such file,
a syntax error), and what is rare (archives, bytecode), is left to Python itself, which takes this process's place: no
line of the program has run by then.

How a program ends is in `_program_end`. Standard library only.
"""

from __future__ import annotations

import builtins
import io
import os
import signal
import stat
import sys
import time
import types
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib._bootstrap_external import MAGIC_NUMBER
from importlib.machinery import BuiltinImporter, SourceFileLoader
from typing import TYPE_CHECKING, Any, NoReturn

from firehot import _process, _program_end, _program_process
from firehot._empty_stack import Go, Leave

if TYPE_CHECKING:
    from firehot._child import Inherited
    from firehot._learn import Teller

_ZIP_END = b"PK\5\6"
_ZIP_TAIL = 22 + (1 << 16)
"""Bytes at the end of a file in which an archive's directory is announced."""
_VERSION = sys.version_info[:2]
SIGNALS = frozenset(int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def run(
    state: dict[str, Any],
    enter: Callable[[], None],
    inherited: Inherited,
    teller: Teller | None,
    descriptors: list[int],
) -> NoReturn:
    """Makes this process what the program expects, and runs it.

    `enter` takes over the caller's state; `descriptors` are the caller's above the standard ones.
    """
    program = state["program"]
    _program_end.begin()
    finish = partial(_program_end.finish, inherited.modules, teller)
    mask = set(program.get("blocked", inherited.mask))
    unblock = partial(_process.plain_signal.pthread_sigmask, int(signal.SIG_SETMASK), mask)
    try:
        _program_process.take_terminal(program["terminal"])
        _program_process.apply_limits(program)
        _program_process.restore_signals(state["ignored_signals"], inherited.ignored)
        enter()
        is_free = _program_process.hand_down(program.get("descriptors", []), descriptors)
        # What Ctrl-C interrupts from here on is the program: it waits until the first line.
        _process.plain_signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    except BaseException as error:
        _process.set_mask(inherited.mask)
        failed = error
    else:
        # No name of it stays in this frame, which the traceback of the exception keeps alive.
        become_python = partial(_become_python, state, mask)
        if not is_free:
            become_python()
        raise Leave(unblock, *_prepare(program, inherited.at_start, become_python), finish)
    finish([failed.with_traceback(None) if isinstance(failed, KeyboardInterrupt) else failed], own_file=False)


def enter(program: dict[str, Any]) -> None:
    """The part of the caller's state that is the program's own: arguments, path, `__main__`, standard streams."""
    kind, target = program["kind"], program["target"]
    first = {"script": target, "module": "-m"}.get(kind, "-c")
    sys.argv[:] = [first, *program["argv"]]
    sys.orig_argv[:] = _command(program)
    for fd, stream in enumerate((sys.__stdin__, sys.__stdout__, sys.__stderr__)):
        if type(stream) is io.TextIOWrapper:
            _reopen(fd, stream)
    _tell_of_warnings([option[2:] for option in program["options"] if option.startswith("-W")])
    isolated = sys.flags.isolated or getattr(sys.flags, "safe_path", False)
    if kind == "script":
        path = _absolute(target)
        if os.path.isdir(path):
            sys.path.insert(0, path)
        elif not isolated:
            sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    elif not isolated:
        sys.path.insert(0, os.getcwd() if kind == "module" else "")
    main = types.ModuleType("__main__")
    main.__loader__ = BuiltinImporter
    if _VERSION < (3, 14):
        main.__annotations__ = {}
    main.__dict__["__builtins__"] = builtins
    _process.set_main(main)


def _tell_of_warnings(options: list[str]) -> None:
    """Says which `-W` make no sense, as an interpreter does when it starts: the template had nobody to say it to.

    Of PYTHONWARNINGS the client's interpreter has told already.
    """
    if options:
        import warnings

        with warnings.catch_warnings():
            warnings._processoptions(options)  # type: ignore[attr-defined]


def _reopen(fd: int, stream: io.TextIOWrapper) -> None:
    """Makes a standard stream anew, as the start of an interpreter does, for what is open there now.

    In its place, since imports may have kept it. Whether it can seek, is a terminal, and how much is read at once is
    asked when it is made, and the template had other files there.
    """
    encoding, errors, unbuffered = stream.encoding, stream.errors, stream.write_through
    buffer: Any = stream.buffer
    raw: Any = io.FileIO(fd, "w" if fd else "r", closefd=False)
    raw.name = stream.name
    if isinstance(buffer, io.FileIO):
        buffer = raw
    else:
        size = raw._blksize
        buffer.__init__(raw, size if _VERSION < (3, 14) else max(min(size, 8 << 20), io.DEFAULT_BUFFER_SIZE))
    lines = not unbuffered and (fd == 2 or raw.isatty())
    stream.__init__(buffer, encoding, errors, "\n", lines, unbuffered)  # type: ignore[misc]


# -- what to run ---------------------------------------------------------------------------------


def _prepare(
    program: dict[str, Any], at_start: frozenset[str], become_python: Callable[[], NoReturn]
) -> tuple[Go, bool]:
    """What runs the program, no function of Python's own, and whether `__file__` is to be taken away after it."""
    found = _find(program, at_start, become_python)
    if (saved := program.get("saved")) is not None:
        _tell_beginning(time.time() - saved)
    return found


def _tell_beginning(seconds: float) -> None:
    """Says that the first line runs. After it, this could come between the parts of a line that the program prints."""
    took = f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    with suppress(OSError):
        os.write(2, f"firehot: first line after {took}\n".encode())


def _find(program: dict[str, Any], at_start: frozenset[str], become_python: Callable[[], NoReturn]) -> tuple[Go, bool]:
    kind, target = program["kind"], program["target"]
    main = sys.modules["__main__"].__dict__
    if kind == "module":
        return _module(target, at_start), False
    if kind == "script":
        path = _absolute(target)
        if os.path.isdir(path):
            return _runpy("__main__", False), False
        source = _read(path)
        code = None if source is None else _compile(source, path)
        if code is None:
            become_python()
        main["__file__"] = path
        if _VERSION < (3, 15):
            main["__cached__"] = None
        main["__loader__"] = SourceFileLoader("__main__", path)
        return partial(exec, code, main), True
    text = _text(program) + "\n"
    if _VERSION >= (3, 14) and text[:1].isspace():
        import textwrap

        text = textwrap.dedent(text)
    code = _compile(text, "<string>")
    if code is None:
        become_python()
    if _VERSION >= (3, 13):
        import linecache

        key: Any = code if hasattr(linecache, "_interactive_cache") else "<string>"
        linecache._register_code(key, text, "<string>")  # type: ignore[attr-defined]
    return partial(exec, code, main), False


def _text(program: dict[str, Any]) -> str:
    if program["kind"] == "function":
        module, _, function = program["target"].partition(":")
        return (
            f"import sys; sys.argv[0] = {program['target']!r}; from importlib import import_module as m; "
            f"sys.exit(m({module!r}).{function}())"
        )
    code = program["code"]
    return os.fsdecode(code)


def _absolute(path: str) -> str:
    """As the interpreter makes a script's path absolute: nothing is resolved in it."""
    if os.path.isabs(path):
        return path
    cwd = os.getcwd()
    return cwd if path == "." and _VERSION >= (3, 11) else os.path.join(cwd, path)


def _read(path: str) -> bytes | None:
    """The source of a script; `None` for what is none (an archive, bytecode, a pipe), or can't be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with io.open_code(path) as file:
            source = file.read()
    except OSError:
        return None
    is_bytecode = path.endswith(".pyc") or source[:2] == MAGIC_NUMBER[:2]
    return None if is_bytecode or _ZIP_END in source[-_ZIP_TAIL:] else source


def _compile(source: str | bytes, name: str) -> types.CodeType | None:
    """The code; `None` for what can't be compiled, of which nothing is said then, not even a warning."""
    more: dict[str, Any] = {} if _VERSION < (3, 15) else {"module": "__main__"}
    shown, sys.stderr = sys.stderr, io.StringIO()
    try:
        code: types.CodeType = compile(source, name, "exec", dont_inherit=True, **more)
        text = sys.stderr.getvalue()
    except (Exception, RecursionError):
        return None
    finally:
        sys.stderr = shown
    if text:
        shown.write(text)
    return code


def _module(name: str, at_start: frozenset[str]) -> Go:
    # Preloaded, it would be run a second time, with a warning.
    for known in (name, f"{name}.__main__"):
        module = sys.modules.get(known)
        if module is not None and known not in at_start and not hasattr(module, "__path__"):
            del sys.modules[known]
            parent, _, last = known.rpartition(".")
            if parent in sys.modules:
                vars(sys.modules[parent]).pop(last, None)
    return _runpy(name, True)


def _runpy(name: str, alter_argv: bool) -> Go:
    import runpy

    return partial(runpy._run_module_as_main, name, alter_argv)  # type: ignore[attr-defined]


# -- Python in the place of this process ----------------------------------------------------------


def _command(program: dict[str, Any]) -> list[str]:
    if words := program.get("words"):
        return [sys.executable, *words]
    kind, target = program["kind"], program["target"]
    what = {"script": [target], "module": ["-m", target]}.get(kind) or ["-c", _text(program)]
    return [sys.executable, *program["options"], *what, *program["argv"]]


def _become_python(state: dict[str, Any], mask: set[int]) -> NoReturn:
    """Python itself says what is wrong with the program, in its own words."""
    _process.flush_streams()
    # Ignored signals stay ignored; Python ignores these two only for itself.
    for number in _program_process.IGNORED_BY_PYTHON.difference(state["ignored_signals"]):
        _process.set_handler(number, signal.SIG_DFL)
    _process.set_mask(mask)
    command = _command(state["program"])
    os.execve(command[0], command, state["environ"])
