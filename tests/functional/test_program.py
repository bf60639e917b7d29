"""A program in a child is what `python` makes of it: the same words, the same end, nothing below its frames."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator

import pytest
from program_files import FILES, SHOW_STACK
from programs import ENVIRON, Both, Case, opened

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
    Case("the stack of -c", SHOW_STACK),
    Case("the stack of a script", kind="script", target="stack.py"),
    Case("the stack of a module", kind="module", target="stack"),
    Case("a warning above the stack", "import warnings\ndef f(): warnings.warn('x', stacklevel=5)\nf()"),
    Case("a debugger steps out of the end", "breakpoint()\nx = 1", stdin="w\nn\nn\nc\n"),
    Case("a debugger shows the stack", kind="script", target="debugs.py", stdin="w\nu\np value\nc\n"),
    Case("a hook for exceptions", "import sys\nsys.excepthook = lambda *a: print('hook', a[:2])\n1 / 0"),
    Case("a hook that fails", "import sys\ndef hook(*a): 1 / 0\nsys.excepthook = hook\nraise ValueError('x')"),
    Case("a hook that exits", "import sys\nsys.excepthook = lambda *a: sys.exit(5)\nraise ValueError('x')"),
    Case("no hook", "import sys\ndel sys.excepthook\nraise ValueError('x')"),
    Case("exit functions", kind="script", target="at_exit.py"),
    Case("exit functions after exit", kind="script", target="at_exit.py", args=["exit"]),
    Case(
        "a thread that outlives the main one",
        "import threading, time\ndef f():\n  time.sleep(0.05); print('done')\n"
        "threading.Thread(target=f).start()\nprint('main')",
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
    Case(
        "cycles at the end, old and young",
        "import gc\nclass A:\n  def __init__(self, n): self.n, self.me = n, self\n  def __del__(self): print(self.n)\n"
        "def f(n):\n  a = A(n); return [a]\nkept = f('old'); gc.collect(1); gc.collect(1); f('young')",
    ),
    Case(
        "cycles that use what modules hold",
        "import json\ndef tell(x): print(json.dumps(x))\nclass A:\n  def __del__(self): tell(['gone'])\n"
        "a = A(); a.me = a; del a",
    ),
    Case(
        "cycles at the end, without a collector",
        "import gc\nclass A:\n  def __del__(self): print('x')\ngc.disable(); a = A(); a.me = a; del a",
    ),
    Case("cycles at the end, young", "class A:\n  def __del__(self): print('gone')\na = A(); a.me = a; del a"),
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
        "import signal; print([signal.getsignal(n) for n in sorted(signal.valid_signals())])\n"
        "print(signal.pthread_sigmask(0, []))",
    ),
    Case("the session", "import os; print(os.getsid(0) == os.getpgrp() == os.getpid(), os.getcwd(), oct(os.umask(0)))"),
    Case("a module that the folder hides", kind="script", target="hides.py"),
    Case("classes of __main__", kind="script", target="pickles.py"),
    Case(
        "the source of -c",
        "import inspect, linecache\ndef f(): pass\ntry: print(inspect.getsource(f))\n"
        "except OSError as e: print(e)\nprint(repr(linecache.getline('<string>', 2)))",
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
    with opened(folder, FILES, _OPTIONS, ["json.tool", "colorsys", "calendar"]) as made:
        (folder / "links").mkdir()
        (folder / "links/link.py").symlink_to("../show.py")
        with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
            archive.writestr("__main__.py", "import sys\nprint(sys.argv, sys.path[0], __file__)\n1 / 0\n")
        code = "import py_compile; py_compile.compile('show.py', 'compiled.pyc', doraise=True)"
        subprocess.run([sys.executable, "-c", code], cwd=folder, env=ENVIRON, check=True)
        yield made


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_program_is_what_python_makes_of_it(both: Both, case: Case) -> None:
    case = Case(**{**vars(case), "target": case.target.replace("{folder}", str(both.folder))})
    cold, warm = both.ends(case)
    if case.name in _LEFT_OVER and sys.version_info[:2] in ((3, 12), (3, 13)):
        # These leave an exception set, and print it when they find that `threading` is not loaded.
        assert cold.stderr.startswith(warm.stderr)
        cold = cold._replace(stderr=warm.stderr)
    assert warm == cold


_LEFT_OVER = ("exit(2**70)", "exit(-2**70)", "an exit code that can't be shown")
