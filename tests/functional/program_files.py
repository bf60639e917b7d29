"""The programs of `test_program.py`, by file name."""

from __future__ import annotations

SHOW_STACK = (
    "import inspect, sys, traceback; print(sys._getframe().f_back, len(inspect.stack())); traceback.print_stack()"
)

FILES: dict[str, str | bytes] = {
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
    "package/module.py": "import sys\nprint(sys.argv, sys.path, __file__, __name__, __spec__, __package__)\n"
    "print(list(globals()), __loader__, sys.orig_argv)\nfrom . import other\n",
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
    "exit.py": "import atexit, sys\natexit.register(lambda: print(__file__))\nsys.exit(3)\n",
    "stack.py": SHOW_STACK + "\n",
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
