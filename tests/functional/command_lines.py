"""Command lines for `test_command_line.py`, in the manner of CPython's own test_cmd_line and test_cmd_line_script."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

_VERSION = sys.version_info[:2]


@dataclass(frozen=True)
class Line:
    """What follows `python` or `firehot run`, and what is around it.

    Attributes:
        name: Of the case.
        words: The words.
        stdin: What it reads.
        env: Variables that are set; `None` takes one away.
        shell: How bash starts the command, which is its `"$@"`.
        cold: A part of the reason for which it never runs in a child; "" where none is given: there is no program, or
            this interpreter itself does not start.
        noisy: stderr is about an interpreter's whole life, or the client is an interpreter that tells the same.
    """

    name: str
    words: Sequence[str | bytes]
    stdin: bytes = b""
    env: dict[str, str | None] = field(default_factory=dict)
    shell: str = ""
    cold: str | None = None
    noisy: bool = False


def code(name: str, text: str, *options: str, args: Sequence[str | bytes] = (), **more: object) -> Line:
    """A `-c`. All with the same imports share a template."""
    return Line(name, [*options, "-c", f"import os, sys\n{text}", *args], **more)  # type: ignore[arg-type]


FLAGS = "print(sys.flags, sys.warnoptions, sys._xoptions, sys.orig_argv, sys.path, __debug__, sys.dont_write_bytecode)"
STREAMS = (
    "print([(s.encoding, s.errors, s.line_buffering, s.write_through) for s in (sys.stdin, sys.stdout, sys.stderr)])"
)
UNBUILT = "could not be built"
SHOW = """
import sys
print(sys.argv, sys.path[0], sys.orig_argv, sys.flags, sys.warnoptions, sys._xoptions)
print(__name__, __file__, __spec__, __package__, type(__loader__), sorted(globals()))
"""

FILES: dict[str, str | bytes] = {
    "show.py": SHOW,
    "a b/sh\xf6w \u2713.py": SHOW,
    "folder/__main__.py": SHOW + "import beside\n",
    "folder/beside.py": "print(__file__)\n",
    "no_main/other.py": "",
    "empty.py": "",
    "interrupted.py": "import atexit\natexit.register(print, 'at exit')\nraise KeyboardInterrupt\n",
    "below/__init__.py": "",
    "below/work.py": SHOW + "from . import other\n",
    "below/other.py": "",
    "below/raises.py": "raise RuntimeError('while imported')\n",
    "runs/__init__.py": "",
    "runs/__main__.py": SHOW,
    "raises/__init__.py": "raise RuntimeError('of the package')\n",
    "raises/__main__.py": "",
    "missing_import.py": "import no_such_module\n",
    "caret.py": "print('never')\nx = (1 +\n  2\ny = 3\n",
    "caret_in_import.py": "import caret\n",
    "late.py": "def f(x):\n    return {'a': 1}[x]\n\n\ndef g():\n    print('before')\n    f('b')\n\n\ng()\n",
    "latin.py": b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\nraise ValueError('\xe9')\n",
    "wrong.py": b"print('\xe9')\n",
    "zero.py": b"print(1)\n\0",
    "warns.py": "import warnings\nwarnings.warn('mind')\nwarnings.warn('old', DeprecationWarning)\nx = '\\d'\n1 is 1\n",
    "asserts.py": "'''doc'''\nassert False\n",
    "exits.py": "import atexit\natexit.register(print, 'at exit', flush=True)\nraise SystemExit(3)\n",
    "main_again.py": "import sys\nif __name__ == '__main__':\n    import main_again\n"
    "    print(main_again is sys.modules['__main__'])\n",
    "reads.py": "import sys\nprint(len(sys.stdin.buffer.read()), sys.stdin.isatty(), sys.stdout.isatty())\n",
    "floods.py": "import sys\nfor number in range(40000): print(number, 'x' * 20)\nprint('done', file=sys.stderr)\n",
    "floods_bytes.py": "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 8192)\n",
    "left_behind.py": """
        import sys, threading
        class Loud:
            def __del__(self):
                print("del", sys.stdout is not None)
                1 / 0
        loud = Loud()
        loop = [Loud()]; loop.append(loop)
        def late():
            event.wait()
            print("thread")
            1 / 0
        event = threading.Event()
        threading.Thread(target=late, name="late").start()
        event.set()
        print("main")
        """,
}

_EXITS = ("0", "7", "-1", "256", "2**31", "2**64", "-2**64", "None", "True", "'words'", "'\\udcff'", "(1, 2)", "1.5")

LINES: list[Line] = [
    # -- -c, and the state of the process: one template
    code("arguments", "print(sys.argv, sys.orig_argv, sys.path)", args=["", "a b", "-c", "--", "-m", "\u2713", "*"]),
    code("arguments that are no text", "print(ascii(sys.argv), ascii(sys.orig_argv))", args=[b"\xff\xfe", b"a\x80"]),
    code("flags", FLAGS),
    code("globals", "print(sorted(globals()), __name__, __spec__, __doc__, __loader__, __builtins__)"),
    code("text that is not ascii", "print(ascii('\u2713\xe9'), '\u2713')"),
    Line("code that is no text", ["-c", b"import os, sys\nprint(ascii('\xff'))"]),
    Line("code with an encoding", ["-c", "# coding: latin-1\nimport os, sys\nprint(ascii('\xe9'))"]),
    Line("code with its option in one word", ["-cimport os, sys; print(sys.argv, sys.orig_argv)", "-O"]),
    Line("empty code", ["-c", ""]),
    Line("a syntax error in code", ["-c", "import os, sys\nprint(1\n"]),
    code("an indentation error", "  x = 1\n y = 2"),
    code("an indented text", "if 1:\n  print('yes')"),
    code("a null in text", "exec('1\\0')"),
    code("an exception", "def f(n):\n  return n / 0\nf(1)"),
    code(
        "an exception with a cause and notes", "try:\n  {}['a']\nexcept KeyError as e:\n  raise ValueError('b') from e"
    ),
    code("a group of exceptions", "raise ExceptionGroup('g', [ValueError(1), ExceptionGroup('h', [TypeError(2)])])"),
    code("an exception that can't be shown", "class E(Exception):\n  def __str__(self): 1 / 0\nraise E"),
    code("an exception that is not ascii", "raise ValueError('\u2713 \\udcff')"),
    code("a NameError with a suggestion", "value = 1\nprint(valeu)"),
    code("an ImportError with a suggestion", "from os import pathh"),
    code("recursion", "def f(): f()\nf()"),
    code("a deep recursion that is allowed", "def f(n): return n and f(n - 1)\nprint(f(900), sys.getrecursionlimit())"),
    *(code(f"sys.exit({value})", f"print('x'); sys.exit({value})") for value in _EXITS),
    code("sys.exit in one that has written to stderr", "sys.stderr.write('no end'); sys.exit('words')"),
    code("a subclass of SystemExit", "class E(SystemExit): pass\nraise E(5)"),
    code("a SystemExit with an attribute", "e = SystemExit(); e.code = 9\nraise e"),
    code("KeyboardInterrupt", "raise KeyboardInterrupt"),
    code("KeyboardInterrupt in a hook", "sys.excepthook = lambda *a: print(a[0])\nraise KeyboardInterrupt"),
    code("a subclass of KeyboardInterrupt", "class K(KeyboardInterrupt): pass\nraise K"),
    code("GeneratorExit", "raise GeneratorExit"),
    code("SIGINT to itself", "os.kill(os.getpid(), 2)\nprint('never')"),
    code("SIGTERM to itself", "print('lost'); os.kill(os.getpid(), 15)"),
    code("SIGKILL to itself", "os.kill(os.getpid(), 9)"),
    code("SIGHUP to itself", "os.kill(os.getpid(), 1)"),
    code("SIGPIPE to itself", "os.kill(os.getpid(), 13); print('ignored')"),
    code("SIGSEGV to itself", "os.kill(os.getpid(), 11)"),
    code("os._exit", "print('lost'); os._exit(200)"),
    code("os.abort", "print('lost'); os.abort()"),
    code("an exec of another program", "os.execlp('echo', 'echo', 'echoed')"),
    code("an exec of itself", "os.execv(sys.executable, [sys.executable, '-c', 'import sys; print(sys.argv)', 'x'])"),
    code("a fork", "pid = os.fork()\nif pid: print('parent', os.waitpid(pid, 0)[1])\nelse: os._exit(3)"),
    code("an error in __del__", "class A:\n  def __del__(self): raise ValueError('x')\na = A()\ndel a"),
    code(
        "an error in a hook of unraisable",
        "sys.unraisablehook = lambda *a: 1 / 0\nclass A:\n  def __del__(self): 1/0\nA()",
    ),
    code("an error in excepthook", "sys.excepthook = lambda *a: 1 / 0\nraise ValueError"),
    code("a traceback of none", "sys.tracebacklimit = 0\n1 / 0"),
    code("streams", f"{STREAMS}\nprint(sys.stdin.isatty(), sys.stdout.isatty(), sys.stdout.name)"),
    code("all of stdin", "print(sys.stdin.read())", stdin=b"one\ntwo"),
    code("lines of stdin", "for line in sys.stdin: print(repr(line))", stdin=b"one\r\ntwo\rthree"),
    code("input", "print(input('prompt> ')); input()", stdin=b"one\n"),
    code("stdin that is no text", "print(ascii(sys.stdin.read()))", stdin=b"\xff\xe9\n"),
    code("text that can't be encoded", "print('\\udcff')"),
    code("no newline at the end", "sys.stdout.write('a'); sys.stderr.write('b'); sys.stdout.write('c')"),
    code("stdout closed by it", "sys.stdout.close()"),
    code("stdout detached by it", "sys.stdout.detach()"),
    code("stdout set to nothing", "sys.stdout = None; print('x')"),
    code("descriptor 1 closed by it", "print('x'); os.close(1)"),
    code("descriptor 2 closed by it", "os.close(2); 1 / 0"),
    code("stderr set to nothing", "sys.stderr = None; 1 / 0"),
    code("a full disk", "print('x')", shell='"$@" > /dev/full'),
    code("a full disk, in the midst", "print('x', flush=True)", shell='"$@" > /dev/full'),
    code("a full disk for stderr", "1 / 0", shell='"$@" 2> /dev/full'),
    code("stdout to a reader that is gone", "print('x')", shell='exec 3> >(:); wait $!; exec "$@" >&3 3>&-'),
    code(
        "stdout to a file",
        "print(sys.stdout.seekable(), os.fstat(1).st_size, sys.stdout.tell())",
        shell='echo before > out.txt; "$@" >> out.txt; cat out.txt',
    ),
    code(
        "stdin from a file that others read on",
        "print(sys.stdin.readline())",
        shell='(head -c 4; "$@"; cat) < three.txt',
    ),
    code("both streams in one", "print('out'); sys.stderr.write('err\\n'); print('out'); 1 / 0", shell='"$@" 2>&1'),
    code("stdin closed", "print(sys.stdin); open('made.txt', 'w').close()", shell='"$@" <&-', cold="stdin is closed"),
    code("stdout closed", "print(sys.stdout); print('x', file=sys.stderr)", shell='"$@" >&-', cold="stdout is closed"),
    code("stderr closed", "print(sys.stderr)", shell='"$@" 2>&-', cold=""),
    code(
        "all closed",
        "open('seen.txt', 'w').write(str([sys.stdin, sys.stdout, sys.stderr]))",
        shell='"$@" <&- >&- 2>&-; cat seen.txt',
        cold="",
    ),
    code("stdin write-only", "sys.stdin.read()", shell='"$@" 0> seen.txt'),
    code("stdout read-only", "print('x')", shell='"$@" 1< show.py'),
    code("stdin a folder", "print(sys.stdin); sys.stdin.read()", shell='"$@" < .', cold=""),
    code("umask", "print(oct(os.umask(0)))", shell='umask 027; "$@"'),
    code("a folder below", "print(os.getcwd(), sys.path[0])", shell='cd below; "$@"'),
    code("a folder by a link", "print(os.getcwd(), os.environ['PWD'])", shell='cd linked; "$@"'),
    code(
        "a folder that is gone", "os.getcwd()", shell='mkdir gone; cd gone; rmdir ../gone; "$@"', cold="can't be found"
    ),
    code(
        "limits",
        "import resource as r; print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CORE))",
        shell='ulimit -n 50; ulimit -S -c 0; "$@"',
    ),
    code("a limit of file sizes", "open('made.txt', 'w').write('x' * 9999)", shell='ulimit -f 4; "$@"'),
    code("a limit of time", "import resource as r; print(r.getrlimit(r.RLIMIT_CPU))", shell='ulimit -S -t 99; "$@"'),
    code("a limit of descriptors", "f = [open('show.py') for _ in range(99)]", shell='ulimit -n 40; "$@"'),
    code("a limit of memory", "bytearray(1 << 33)", shell='ulimit -v 4000000; "$@"', cold="RLIMIT_AS"),
    code("a nice value", "print(os.nice(0))", shell='nice -n 5 "$@"'),
    code(
        "SIGINT ignored",
        "import signal; print(signal.getsignal(2)); os.kill(os.getpid(), 2); print('here')",
        shell='trap "" INT; "$@"',
    ),
    code("SIGHUP ignored", "import signal; print(signal.getsignal(1))", shell='nohup "$@" 2>&1'),
    code("SIGPIPE ignored", "import signal; print(signal.getsignal(13))", shell='trap "" PIPE; "$@"'),
    code(
        "SIGPIPE as it was",
        "import signal; signal.signal(13, signal.SIG_DFL); print('x', flush=True)",
        shell='exec 3> >(:); wait $!; exec "$@" >&3 3>&-',
    ),
    code("SIGCHLD ignored", "import signal; print(signal.getsignal(17))", shell='trap "" CHLD; "$@"'),
    code("variables", "print(sorted(os.environ.items()))", env={"EMPTY": "", "TEXT": "a=b\nc \u2713", "HOME": None}),
    code("a variable that is no text", "print(ascii(os.environ['RAW']), os.environb[b'RAW'])", env={"RAW": "a\udcff"}),
    code("PYTHONBREAKPOINT", "breakpoint(); print('after')", env={"PYTHONBREAKPOINT": "0"}),
    code("PYTHONBREAKPOINT that is wrong", "breakpoint()", env={"PYTHONBREAKPOINT": "nonsense"}),
    code("a breakpoint", "x = 5\nbreakpoint()\nx = 6", stdin=b"p x\nn\nq\n"),
    # -- scripts
    Line("a script", ["show.py", "a", "-m", "--", "\u2713"]),
    Line("a script by ./", ["./show.py"]),
    Line("a script by ..", ["below/../show.py"]),
    Line("a script by a link", ["linked/link.py"]),
    Line("a script with options", ["-Werror", "-O", "show.py", "-O"]),
    Line("a script, safe", ["-P", "show.py"], cold=None if _VERSION >= (3, 11) else UNBUILT),
    Line("a script, isolated", ["-I", "show.py"]),
    Line("a script with a strange name", ["a b/sh\xf6w \u2713.py", "x"]),
    Line("a script with a name that is no text", [b"raw\xff.py", "x"]),
    Line("a script without a suffix", ["script"]),
    Line("a script in a folder below", ["../show.py"], shell='cd below; "$@"'),
    Line("a folder", ["folder", "a"]),
    Line("a folder, isolated", ["-I", "folder"]),
    Line("a folder without __main__", ["no_main"]),
    Line("a folder by its dot", ["."], shell='cd folder; "$@"'),
    Line("an archive", ["archive.zip", "a"]),
    Line("an archive with a line in front", ["prefixed.pyz"]),
    Line("bytecode", ["compiled.pyc", "a"]),
    Line("a broken archive", ["broken.zip"]),
    Line("broken bytecode", ["broken.pyc"]),
    Line("no such script", ["missing.py", "a"], cold="no such file"),
    Line("no such folder", ["missing/x.py"], cold="no such file"),
    Line("a script below a script", ["show.py/x"], cold="no such file"),
    Line("a pipe", ["fifo"], shell='(echo "print(__file__)" > fifo &) ; "$@"'),
    Line("an empty script", ["empty.py"]),
    Line("/dev/stdin", ["/dev/stdin"], b"print(__file__)\n"),
    Line("an import that is not there", ["missing_import.py"]),
    Line("a syntax error", ["caret.py"]),
    Line("a syntax error in an import", ["caret_in_import.py"]),
    Line("an exception in a script", ["late.py"]),
    Line("an exception in a script, one stream", ["late.py"], shell='"$@" 2>&1'),
    Line("an encoding", ["latin.py"]),
    Line("a wrong encoding", ["wrong.py"]),
    Line("a null byte", ["zero.py"]),
    Line("warnings", ["warns.py"]),
    Line("warnings that are errors", ["-W", "error", "warns.py"]),
    Line("assertions", ["asserts.py"]),
    Line("an exit", ["exits.py"]),
    Line("__main__ imported again", ["main_again.py"]),
    Line("a large stdin", ["reads.py"], b"x" * 3_000_000),
    Line("a large output", ["floods.py"]),
    Line("a large output that nobody reads", ["floods.py"], shell='"$@" | head -n 2; echo "${PIPESTATUS[@]}"'),
    Line("a large output of bytes", ["floods_bytes.py"]),
    Line("what is left behind", ["left_behind.py"]),
    # -- modules
    Line("a module", ["-m", "below.work", "a", "-m"]),
    Line("a module in one word", ["-mbelow.work"]),
    Line("a module, isolated", ["-I", "-m", "below.work"]),
    Line("a package", ["-m", "runs", "a"]),
    Line("a package without __main__", ["-m", "below"]),
    Line("a package that raises", ["-m", "raises"]),
    Line("a module that raises", ["-m", "below.raises"]),
    Line("a module that is interrupted", ["-m", "interrupted"]),
    Line("a script that is interrupted", ["interrupted.py"]),
    Line("a module in a package that raises", ["-m", "raises.other"]),
    Line("no such module", ["-m", "no_such"]),
    Line("no such module in a package", ["-m", "below.no_such"]),
    Line("no such package", ["-m", "no_such.module"]),
    Line("a module of a module", ["-m", "show.x"]),
    Line("a module named as a file", ["-m", "show.py"]),
    Line("an empty module", ["-m", ""]),
    Line("a relative module", ["-m", ".below"]),
    Line("a builtin module", ["-m", "sys"]),
    Line("a module of the library", ["-m", "calendar", "2024", "2"]),
    Line("a module of the library that reads stdin", ["-m", "json.tool"], b'{"a": [1]}'),
    Line("a module with a syntax error", ["-m", "caret"]),
    Line("a module from another folder", ["-m", "work"], shell='cd below; "$@"'),
]
