"""A program that runs in a child is what `python` makes of it: the same words, the same end, nothing below its frames.

Each case runs twice, side by side: by `sys.executable`, and in a child of a template that was started with the same
options. The templates are shared by all tests here, and are driven as the host drives them.
"""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import DEADLINE

from firehot import __version__, _call, _forks, _host, _wire

_ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FIREHOT"))}


class Ended(NamedTuple):
    """How a program ended; addresses in its text are made equal."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Case:
    """A program: what is run, and what is different around it."""

    name: str
    code: str = ""
    kind: str = "code"
    target: str = ""
    args: Sequence[str] = ()
    options: Sequence[str] = ()
    stdin: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    one_pipe: bool = False
    """stdout and stderr are the same pipe: the order counts."""
    more: dict[str, Any] = field(default_factory=dict)

    def command(self) -> list[str]:
        if self.kind == "function":
            module, _, function = self.target.partition(":")
            code = (
                f"import sys; sys.argv[0] = {self.target!r}; from importlib import import_module as m; "
                f"sys.exit(m({module!r}).{function}())"
            )
            what = ["-c", code]
        else:
            what = {"script": [self.target], "module": ["-m", self.target]}.get(self.kind, ["-c", self.code])
        return [sys.executable, *self.options, *what, *self.args]


class Running:
    """A program that runs; its output comes by pipes."""

    def __init__(self, pid: int, outputs: Sequence[int], wait: Callable[[], int]) -> None:
        self.pid = pid
        self._outputs = {fd: b"" for fd in outputs}
        self._wait = wait

    def until(self, text: bytes) -> None:
        """Reads until the program has said this on stdout."""
        first = next(iter(self._outputs))
        while text not in self._outputs[first]:
            assert (data := os.read(first, 1 << 16)), self._outputs
            self._outputs[first] += data

    def hang_up(self) -> None:
        """Closes the reading end of its stdout."""
        os.close(next(iter(self._outputs)))
        self._outputs = {-1: b"", **dict(list(self._outputs.items())[1:])}

    def end(self) -> Ended:
        open_ones = [fd for fd in self._outputs if fd >= 0]
        while open_ones:
            ready, _, _ = select.select(open_ones, [], [], DEADLINE)
            assert ready, f"it neither ends nor says anything: {self._outputs}"
            for fd in ready:
                if data := os.read(fd, 1 << 16):
                    self._outputs[fd] += data
                else:
                    open_ones.remove(fd)
                    os.close(fd)
        status = self._wait()
        texts = [re.sub(r"0x[0-9a-f]{6,}", "0x", data.decode()) for data in self._outputs.values()]
        return Ended(status, texts[0], texts[-1] if len(texts) > 1 else "")


class Warm:
    """A template, and programs in its children."""

    def __init__(self, folder: Path, options: Sequence[str], preload: Sequence[str]) -> None:
        self._folder = folder
        self._options = options
        executable, arguments, *_ = _host.launch()
        bootstrap = arguments[arguments.index("-c") :]
        code = "import sys; print(*sys.path[not sys.flags.isolated :], sep='\\n')"
        asked = subprocess.run(
            [executable, *options, "-c", code], env=_ENVIRON, capture_output=True, text=True, check=True
        )
        self._path = asked.stdout.splitlines()
        self._sock, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [executable, *options, *bootstrap], stdin=theirs, stdout=subprocess.DEVNULL, env=_ENVIRON, cwd=folder
            )
        setup = {"type": "setup", "protocol": _wire.PROTOCOL, "firehot": __version__, "host": os.getpid()}
        setup["launched"] = time.time_ns()
        _wire.send(self._sock.fileno(), setup, _forks.setup(_forks.ForkSettings(), self._path))
        imports = [{"module": name, "names": []} for name in preload]
        _wire.send(self._sock.fileno(), {"type": "preload", "trial": True, "imports": imports})
        while _wire.receive(self._sock.fileno())[0]["type"] != "ready":
            continue

    def close(self) -> None:
        with suppress(BrokenPipeError):
            _wire.send(self._sock.fileno(), {"type": "retire"})
        self._process.wait(DEADLINE)
        self._sock.close()

    def start(self, case: Case, stdio: Sequence[int]) -> tuple[int, Callable[[], int]]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            fork = _wire.encode({"type": "fork", "id": 1, "as": "child", "cloudpickle": None})
            socket.send_fds(self._sock, [fork], [theirs.fileno()])
            pid = self._hear("forked")["pid"]
            program = {
                "kind": case.kind,
                "target": case.target,
                "code": case.code.encode(),
                "argv": list(case.args),
                "options": list(case.options),
                "terminal": None,
            }
            state = {
                "environ": {**_ENVIRON, **case.env},
                "cwd": str(self._folder),
                "umask": 0o022,
                "argv": [],
                "orig_argv": [],
                "path": self._path,
                "ignored_signals": [],
                "main_file": None,
                "main_name": None,
                **{name: value for name, value in case.more.items() if name == "ignored_signals"},
                "program": {**program, **{n: v for n, v in case.more.items() if n != "ignored_signals"}},
            }
            body = _call.pack(state, abs, (), {})
            socket.send_fds(ours, [_wire.encode({"type": "call"}, len(body)) + body], list(stdio))
        return pid, lambda: int(self._hear("exited")["status"])

    def _hear(self, kind: str) -> dict[str, Any]:
        message, _ = _wire.receive(self._sock.fileno())
        assert message["type"] == kind, message
        return message


class Side:
    """Starts cases, cold or warm."""

    def __init__(self, folder: Path, templates: dict[tuple[str, ...], Warm] | None) -> None:
        self._folder = folder
        self._templates = templates

    def start(self, case: Case) -> Running:
        with tempfile.TemporaryFile(dir=self._folder) as stdin:
            stdin.write((case.stdin or "").encode())
            stdin.seek(0)
            pipes = [os.pipe() for _ in range(1 if case.one_pipe else 2)]
            stdio = [stdin.fileno(), pipes[0][1], pipes[-1][1]]
            try:
                pid, wait = self._start(case, stdio)
            finally:
                for _, write in pipes:
                    os.close(write)
        return Running(pid, [read for read, _ in pipes], wait)

    def _start(self, case: Case, stdio: list[int]) -> tuple[int, Callable[[], int]]:
        if self._templates is not None:
            return self._templates[tuple(case.options)].start(case, stdio)
        process = subprocess.Popen(
            case.command(),
            stdin=stdio[0],
            stdout=stdio[1],
            stderr=stdio[2],
            cwd=self._folder,
            env={**_ENVIRON, **case.env},
            start_new_session=True,
        )
        return process.pid, lambda: process.wait(DEADLINE)


@dataclass(frozen=True)
class Both:
    """The two ways."""

    folder: Path
    cold: Side
    warm: Side

    def ends(self, case: Case, meanwhile: Callable[[Running], object] = lambda _: None) -> tuple[Ended, Ended]:
        """How the case ends cold and warm."""
        ended = []
        for side in (self.cold, self.warm):
            running = side.start(case)
            meanwhile(running)
            ended.append(running.end())
        return ended[0], ended[1]


# -- the programs --------------------------------------------------------------------------------

_FILES: dict[str, str | bytes] = {
    "show.py": "import sys\nprint(sys.argv, sys.path, sys.orig_argv, __file__, __name__, __spec__, __package__)\n"
    "print(list(globals()), __loader__, __doc__, __builtins__, sys.modules['__main__'].__dict__ is globals())\n",
    "fails.py": 'def inner(value):\n    return 1 / value\n\n\nprint("before")\ninner(0)\n',
    "syntax.py": "x = '\\d'\ndef f(:\n    pass\n",
    "warns.py": "x = '\\d'\nprint(x)\n",
    "latin.py": b"# coding: latin-1\nprint(ascii('\xe9'))\n",
    "wrong_encoding.py": b"print('\xe9')\n",
    "unknown_encoding.py": "# coding: nonsense\n",
    "bom.py": b"\xef\xbb\xbfprint(__file__)\n",
    "null.py": b"print(1)\n\0\n",
    "crlf.py": b"print(1)\r\nprint('''a\r\nb''')\r\n",
    "empty.py": "",
    "package/__init__.py": "",
    "package/module.py": "import sys\nprint(sys.argv, sys.path, __file__, __name__, __spec__, __package__, __loader__)\n"
    "print(list(globals()), sys.orig_argv)\nfrom . import other\n",
    "package/other.py": "",
    "package/fails.py": "1 / 0\n",
    "package/exits.py": "raise SystemExit(9)\n",
    "package/functions.py": "import sys\ndef main():\n    print(sys.argv, sys.path, __name__)\n    return 4\n"
    "def fails():\n    raise ValueError('no')\n",
    "runnable/__init__.py": "print('package')\n",
    "runnable/__main__.py": "import sys\nprint(sys.argv, __name__, __spec__)\n",
    "broken/__init__.py": "raise RuntimeError('broken')\n",
    "broken/module.py": "",
    "folder/__main__.py": "import sys, beside\nprint(sys.argv, sys.path, __file__, __spec__, __package__)\n1 / 0\n",
    "folder/beside.py": "",
    "folder_without/main.py": "",
    "colorsys.py": "print('the one beside the script')\n",
    "hides.py": "import colorsys\nprint(colorsys.__file__)\n",
    "spawns.py": """
        import multiprocessing, sys
        def double(value):
            return value * 2
        if __name__ == "__main__":
            with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
                print(pool.map(double, [1, 2]))
        """,
    "pickles.py": """
        import dataclasses, inspect, pickle, sys, typing
        @dataclasses.dataclass
        class Point:
            x: int
            y: "Point | None" = None
        print(pickle.loads(pickle.dumps(Point(1))), Point.__module__, typing.get_type_hints(Point))
        print(inspect.getsource(Point), inspect.getmodule(Point), inspect.getsourcefile(Point))
        """,
    "destroys.py": """
        import sys, weakref
        class Loud:
            def __init__(self, name):
                self.name = name
            def __del__(self):
                print("gone", self.name, sys.stdout is not None)
        one = Loud("one")
        _two = Loud("two")
        three = Loud("three")
        three.itself = three
        kept = [Loud("in a list")]
        weakref.finalize(one, print, "finalized")
        file = open("left-open.txt", "w")
        file.write("x" * 10)
        class Fails:
            def __del__(self):
                1 / 0
        fails = Fails()
        """,
}

_SHOW_STACK = (
    "import inspect, sys, traceback; print(sys._getframe().f_back, len(inspect.stack())); traceback.print_stack()"
)
_EXIT_CODES = ("", "None", "0", "3", "-1", "256", "True", "2**70", "-2**70", "'bye'", "(1, 2)", "b'x'", "2.5", "[]")

CASES = [
    Case("nothing", "pass"),
    Case("an empty script", kind="script", target="empty.py"),
    Case(
        "arguments of -c",
        "import sys; print(sys.argv, sys.orig_argv, sys.path, __name__, __loader__)",
        args=["a", "-b"],
    ),
    Case("globals of -c", "print(list(globals()), __spec__, __package__, __doc__)"),
    Case("a script", kind="script", target="show.py", args=["a", "--b", "\udcff"]),
    Case("a script by ./", kind="script", target="./show.py"),
    Case("a script by ..", kind="script", target="package/../show.py"),
    Case("a script by its full path", kind="script", target="{folder}/show.py"),
    Case("a script by a link in another folder", kind="script", target="links/link.py"),
    Case("a script that is not there", kind="script", target="missing.py", args=["a"]),
    Case("a script below a file", kind="script", target="show.py/x.py"),
    Case("a script in an archive", kind="script", target="archive.zip", args=["a"]),
    Case("a compiled script", kind="script", target="compiled.pyc", args=["a"]),
    Case("a folder", kind="script", target="folder", args=["a"]),
    Case("a folder by ./", kind="script", target="./folder/"),
    Case("a folder without __main__", kind="script", target="folder_without"),
    Case("this folder", kind="script", target="."),
    Case("a module", kind="module", target="package.module", args=["a", "b"]),
    Case("a module that fails", kind="module", target="package.fails"),
    Case("a module that exits", kind="module", target="package.exits"),
    Case("a package with __main__", kind="module", target="runnable", args=["x"]),
    Case("a package without __main__", kind="module", target="package"),
    Case("a module that is not there", kind="module", target="package.missing"),
    Case("a top-level module that is not there", kind="module", target="missing"),
    Case("a module named as a file", kind="module", target="show.py"),
    Case("a module of a package that fails", kind="module", target="broken.module"),
    Case("a relative module", kind="module", target=".module"),
    Case("a built-in module", kind="module", target="sys"),
    Case("a preloaded module", kind="module", target="json.tool", args=["--help"]),
    Case("a module of the library", kind="module", target="calendar", args=["2024", "2"]),
    Case("a function", kind="function", target="package.functions:main", args=["a"]),
    Case("a function that fails", kind="function", target="package.functions:fails"),
    Case("a function that is not there", kind="function", target="package.functions:missing"),
    Case("an error in a script", kind="script", target="fails.py"),
    Case("an error in a script, one pipe", kind="script", target="fails.py", one_pipe=True),
    Case("an error in -c, one pipe", "print('before'); 1 / 0", one_pipe=True),
    Case("an error in -m, one pipe", kind="module", target="fails", one_pipe=True),
    Case("a syntax error", kind="script", target="syntax.py"),
    Case("a syntax error in -c", "x = '\\d'\ndef f(:\n"),
    Case("an indented -c", "\n  print(1)\n  print(2)"),
    Case("a warning of the compiler", kind="script", target="warns.py"),
    Case("a warning of the compiler is an error", kind="script", target="warns.py", options=["-O", "-W", "error"]),
    Case("an encoding", kind="script", target="latin.py"),
    Case("no encoding", kind="script", target="wrong_encoding.py"),
    Case("an unknown encoding", kind="script", target="unknown_encoding.py"),
    Case("a byte order mark", kind="script", target="bom.py"),
    Case("a null byte", kind="script", target="null.py"),
    Case("carriage returns", kind="script", target="crlf.py"),
    *(Case(f"exit({code})", f"import sys; sys.exit({code})") for code in _EXIT_CODES),
    Case("exit in a script", "", kind="script", target="exit.py"),
    Case("an exit code that can't be shown", "class C:\n  def __str__(self): 1 / 0\nraise SystemExit(C())"),
    Case("os._exit", "import os; print('lost'); os._exit(7)"),
    Case("abort", "import os; os.abort()"),
    Case("killed", "import os; os.kill(os.getpid(), 9)"),
    Case("KeyboardInterrupt", "raise KeyboardInterrupt"),
    Case("an uncaught StopIteration", "next(iter([]))"),
    Case("an uncaught AttributeError", "import json\njson.dumpz"),
    Case("an AttributeError of its own", "raise AttributeError('x')"),
    Case("a NameError", "prnt(1)"),
    Case("causes and contexts", "try:\n  1 / 0\nexcept Exception as error:\n  raise ValueError('x') from error"),
    Case(
        "no current exception",
        "import sys; print(sys.exc_info(), hasattr(sys, 'last_value'))\ntry: 1 / 0\nfinally: raise KeyError",
    ),
    Case("the stack of -c", _SHOW_STACK),
    Case("the stack of a script", kind="script", target="stack.py"),
    Case("the stack of a module", kind="module", target="stack"),
    Case("a warning above the stack", "import warnings\ndef f(): warnings.warn('x', stacklevel=5)\nf()"),
    Case("a debugger steps out of the end", "breakpoint()\nx = 1", stdin="w\nn\nn\nn\nn\nq\n"),
    Case("a debugger shows the stack", kind="script", target="debugs.py", stdin="w\nu\np value\nc\n"),
    Case("a hook for exceptions", "import sys\nsys.excepthook = lambda *a: print('hook', a[:2])\n1 / 0"),
    Case("a hook that fails", "import sys\ndef hook(*a): 1 / 0\nsys.excepthook = hook\nraise ValueError('x')"),
    Case("a hook that exits", "import sys\nsys.excepthook = lambda *a: sys.exit(5)\nraise ValueError('x')"),
    Case("no hook", "import sys\ndel sys.excepthook\nraise ValueError('x')"),
    Case("exit functions", kind="script", target="at_exit.py"),
    Case("exit functions after exit", kind="script", target="at_exit.py", args=["exit"]),
    Case(
        "a thread that outlives the main one",
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print('done'))).start()\nprint('main')",
    ),
    Case(
        "a daemon thread",
        "import threading, time\nthreading.Thread(target=lambda: time.sleep(60), daemon=True).start()\nprint('main')",
    ),
    Case(
        "an error in a thread",
        "import threading\nt = threading.Thread(target=lambda: 1 / 0, name='t')\nt.start(); t.join()",
    ),
    Case("objects at the end", kind="script", target="destroys.py"),
    Case("objects at the end of -c", "class A:\n  def __del__(self): print('gone')\na = A()\nb = [a]"),
    Case("objects after an error", "class A:\n  def __del__(self): print('gone')\na = A()\ndef f(x): 1 / 0\nf(A())"),
    Case("a suspended generator at the end", "def f():\n  try: yield 1\n  finally: print('closed')\ng = f(); next(g)"),
    Case("objects of imported modules", "import holds; holds.add('x')"),
    Case("an unclosed file", "f = open('show.py')", options=["-X", "dev"]),
    Case("stdout closed by the program", "import sys; print('x'); sys.stdout.close()"),
    Case("stdout closed below", "import os; print('x'); os.close(1)"),
    Case("stdout gone", "import sys; sys.stdout = None; print('x')"),
    Case("stderr gone", "import sys; sys.stderr = None; 1 / 0"),
    Case("the streams", kind="script", target="streams.py", stdin="one\ntwo\nthree\n"),
    Case("the streams, unbuffered", kind="script", target="streams.py", stdin="one\ntwo\n", options=["-u"]),
    Case(
        "what a subprocess finds of stdin",
        "import sys, subprocess; print(input()); subprocess.run(['cat'])",
        stdin="one\n" * 3000,
    ),
    Case("an end of stdin", "input()"),
    Case("isolated", kind="script", target="show.py", options=["-I"]),
    Case("isolated -c", "import sys; print(sys.path, sys.flags, sys.argv)", options=["-I"]),
    Case("optimized", "assert False; print(__debug__)", options=["-O", "-W", "error"]),
    Case(
        "signal handlers",
        "import signal; print([signal.getsignal(n) for n in sorted(signal.valid_signals())], signal.pthread_sigmask(0, []))",
    ),
    Case("the session", "import os; print(os.getsid(0) == os.getpgrp() == os.getpid(), os.getcwd(), oct(os.umask(0)))"),
    Case("a module that the folder hides", kind="script", target="hides.py"),
    Case("classes of __main__", kind="script", target="pickles.py"),
    Case(
        "the source of -c",
        "import inspect, linecache\ndef f(): pass\ntry: print(inspect.getsource(f))\nexcept OSError as e: print(e)\nprint(repr(linecache.getline('<string>', 2)))",
    ),
    Case("multiprocessing by spawn", kind="script", target="spawns.py", args=["spawn"]),
    Case("multiprocessing by fork", kind="script", target="spawns.py", args=["fork"]),
    Case(
        "a fork that falls through the end", "import os\npid = os.fork()\nif pid: os.waitpid(pid, 0)\nprint(pid == 0)"
    ),
    Case("a variable of the caller", "import os; print(os.environ['ONLY_HERE'])", env={"ONLY_HERE": "yes"}),
    Case("text of the C library", "import ctypes; ctypes.CDLL(None).puts(b'from C')"),
    Case("recursion", "def f(n):\n  return f(n + 1)\ntry: f(0)\nexcept RecursionError as error: print(error)"),
]
_OPTIONS = sorted({tuple(case.options) for case in CASES})


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """A folder with the programs, and a template for each set of options."""
    folder = tmp_path_factory.mktemp("programs").resolve()
    for name, content in {**_FILES, **_MORE_FILES}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
    (folder / "links").mkdir()
    (folder / "links/link.py").symlink_to("../show.py")
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", "import sys\nprint(sys.argv, sys.path[0], __file__)\n1 / 0\n")
    code = "import py_compile; py_compile.compile('show.py', 'compiled.pyc', doraise=True)"
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=_ENVIRON, check=True)
    templates = {options: Warm(folder, options, ["json.tool", "colorsys", "calendar"]) for options in _OPTIONS}
    yield Both(folder, Side(folder, None), Side(folder, templates))
    for template in templates.values():
        template.close()


_MORE_FILES: dict[str, str | bytes] = {
    "exit.py": "import atexit, sys\natexit.register(lambda: print(__file__))\nsys.exit(3)\n",
    "stack.py": _SHOW_STACK + "\n",
    "debugs.py": "def f():\n    value = 1\n    breakpoint()\n    return value\n\n\nf()\n",
    "holds.py": """
        class Held:
            def __del__(self):
                print("gone")
        held = []
        def add(name):
            held.append(Held())
        """,
    "at_exit.py": """
        import atexit, sys
        atexit.register(lambda: print("first", "__file__" in globals()))
        @atexit.register
        def fails():
            1 / 0
        @atexit.register
        def exits():
            sys.exit(8)
        if sys.argv[1:]:
            sys.exit(2)
        """,
    "streams.py": """
        import io, os, sys
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            print(stream, stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.newlines)
            print(stream.buffer, getattr(stream.buffer, "raw", None), stream.fileno(), stream.isatty(), stream.mode)
            print(stream.seekable(), stream is getattr(sys, f"__{stream.name[1:-1]}__"))
        print(sys.stdin.readline(), sys.stdin.tell(), sys.stdin.read())
        sys.stdin.seek(0)
        print(sys.stdin.buffer.read(3), sys.stdin.buffer.tell(), os.lseek(0, 0, 1))
        sys.stdout.write("no end of line")
        os.write(1, b"written past it")
        """,
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_program_is_what_python_makes_of_it(both: Both, case: Case) -> None:
    case = Case(**{**vars(case), "target": case.target.replace("{folder}", str(both.folder))})
    cold, warm = both.ends(case)
    assert warm == cold


# -- signals -------------------------------------------------------------------------------------

_WAITS = "import time\ntry:\n  print('ready', flush=True)\n  time.sleep(60)\nfinally:\n  print('left')\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_ends_a_program_as_it_ends_python(both: Both, number: int) -> None:
    def send(running: Running) -> None:
        running.until(b"ready")
        os.kill(running.pid, number)

    cold, warm = both.ends(Case("waits", _WAITS), send)
    assert warm == cold
    assert warm.status == -number


def test_an_interrupt_reaches_the_whole_group_of_a_program(both: Both) -> None:
    code = "import subprocess\nprint('ready', flush=True)\nsubprocess.run(['sleep', '60'])"

    def send(running: Running) -> None:
        running.until(b"ready")
        os.killpg(running.pid, signal.SIGTERM)

    assert both.warm.start(Case("", "import os; print(os.getpgrp() == os.getpid())")).end().stdout == "True\n"
    cold, warm = both.ends(Case("waits for another", code), send)
    assert (warm.status, warm.stdout) == (cold.status, cold.stdout) == (-signal.SIGTERM, "ready\n")


def test_an_interrupt_while_threads_are_waited_for(both: Both) -> None:
    code = "import threading\nwait = threading.Event()\n" + (
        "def work():\n  threading.main_thread().join()\n  print('ready', flush=True)\n  wait.wait(0.5)\n"
        "threading.Thread(target=work).start()\n"
    )

    def send(running: Running) -> None:
        running.until(b"ready")
        os.kill(running.pid, signal.SIGINT)

    cold, warm = both.ends(Case("threads", code), send)
    assert warm == cold
    assert "KeyboardInterrupt" in warm.stderr


def test_a_broken_pipe_at_the_end(both: Both) -> None:
    code = "import sys, os\nsys.stdin.read()\nos.write(2, b'r')\nprint('x' * 10)"

    cold, warm = both.ends(Case("prints", code), Running.hang_up)
    assert warm == cold
    assert warm.status == 120
    assert "BrokenPipeError" in warm.stderr


def test_a_broken_pipe_in_the_middle(both: Both) -> None:
    cold, warm = both.ends(Case("prints", "while True: print('x' * 1000)"), Running.hang_up)
    assert warm == cold
    assert "BrokenPipeError" in warm.stderr


def test_signals_that_the_caller_ignores_or_blocks(both: Both) -> None:
    code = (
        "import signal\nprint(*(signal.getsignal(n) for n in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)),"
        " signal.pthread_sigmask(0, []))"
    )
    more = {"ignored_signals": [signal.SIGINT, signal.SIGHUP], "blocked": [signal.SIGUSR2]}
    shown = both.warm.start(Case("shows", code, more=more)).end().stdout
    ignored = "Handlers.SIG_IGN" if sys.version_info < (3, 11) else "1"
    assert shown.count(ignored) >= 2 and "SIGUSR2" in shown


# -- limits and terminal -------------------------------------------------------------------------


def test_limits_affinity_and_priority_are_the_callers(both: Both) -> None:
    code = "import os, resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.nice(0))"
    if hasattr(os, "sched_getaffinity"):
        code += "; print(len(os.sched_getaffinity(0)))"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = {"RLIMIT_NOFILE": [soft - 1, hard]}
    more = {"limits": limits, "affinity": [min(os.sched_getaffinity(0))], "nice": os.nice(0) + 3}
    if not hasattr(os, "sched_getaffinity"):
        del more["affinity"]
    shown = both.warm.start(Case("shows", code, more=more)).end().stdout.split()
    assert shown[:2] == [str(soft - 1), str(os.nice(0) + 3)]
    assert shown[2:] in ([], ["1"])


def test_a_terminal_is_the_controlling_one(both: Both) -> None:
    ours, theirs = os.openpty()
    try:
        code = "import os, sys; f = open('/dev/tty'); print(os.tcgetpgrp(f.fileno()) == os.getpid(), os.ttyname(0))"
        case = Case("", code, more={"terminal": os.ttyname(theirs)})
        template = both.warm
        read, write = os.pipe()
        try:
            pid, wait = template._start(case, [theirs, write, write])
        finally:
            os.close(write)
        ended = Running(pid, [read], wait).end()
        assert ended == Ended(0, f"True {os.ttyname(theirs)}\n", "")
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_lines_are_written_at_once_to_a_terminal(both: Both, target: int) -> None:
    code = (
        "import sys; print(sys.stdin.line_buffering, sys.stdout.line_buffering, sys.stderr.line_buffering, file=sys.{})"
    )
    shown = []
    for side in (both.cold, both.warm):
        ours, theirs = os.openpty()
        read, write = os.pipe()
        stdio = [write, write, write]
        stdio[target] = theirs
        out = "stderr" if target == 1 else "stdout"
        pid, wait = side._start(Case("", code.format(out)), stdio)
        os.close(write)
        ended = Running(pid, [read], wait).end()
        shown.append(ended)
        os.close(theirs)
        os.close(ours)
    assert shown[0] == shown[1]
    assert shown[0].stdout.split()[:2] == [str(target == 0), str(target == 1)]


def test_the_script_is_read_when_it_runs(both: Both) -> None:
    path = both.folder / "changes.py"
    for number in range(3):
        path.write_text(f"print({number})\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert both.warm.start(Case("", kind="script", target="changes.py")).end() == Ended(0, f"{number}\n", "")


def test_nothing_is_imported_that_python_does_not_load_itself(both: Both) -> None:
    """What a program without imports costs is the fork, not the imports of firehot."""
    code = "import sys; before = set(sys.modules)\nprint(sorted(sys.modules))"
    shown = both.warm.start(Case("", code)).end().stdout
    loaded = set(eval(shown))
    assert not {"runpy", "resource", "fcntl_", "termios_", "textwrap_"} & loaded
