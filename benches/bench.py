"""Measures firehot against cold starts and writes docs/benchmarks.md.

    make bench                      # or: python benches/bench.py [--runs N] [--print]

Every row alternates firehot with what it is compared to, in one run on one machine, so that a machine that grows slower
or faster meanwhile hits both; the ratio is of medians.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from firehot import isolate_imports

ROOT = Path(__file__).resolve().parent.parent
STACKS: dict[str, tuple[str, ...]] = {
    "empty": (),
    "web": ("datasette.app", "httpx", "jinja2", "pydantic", "requests", "sqlite_utils", "uvicorn"),
    "numeric": ("numpy", "numpy.linalg", "numpy.random", "pydantic", "rich.console"),
}
SOURCE = """
{imports}
from own.part import answer

def work():
    return answer()
"""
PART = """
def answer():
    return 42
"""


def clock(work: Callable[[], object]) -> float:
    """Milliseconds that `work` takes."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def write_project(folder: Path, modules: tuple[str, ...]) -> None:
    package = folder / "own"
    package.mkdir(exist_ok=True)
    imports = "\n".join(f"import {module}" for module in modules)
    (package / "__init__.py").write_text("")
    (package / "app.py").write_text(SOURCE.format(imports=imports))
    (package / "part.py").write_text(PART)


def available(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Those that can be imported here: the table says what it measured."""
    code = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError:
        continue
    print(name)
"""
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=True)
    return tuple(done.stdout.split())


def measure(name: str, modules: tuple[str, ...], runs: int) -> list[str]:
    modules = available(modules)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_project(folder, modules)
        sys.path.insert(0, temporary)
        try:
            return _measure(name, folder, modules, runs)
        finally:
            sys.path.remove(temporary)
            for loaded in [module for module in sys.modules if module.split(".")[0] == "own"]:
                del sys.modules[loaded]


def _measure(name: str, folder: Path, modules: tuple[str, ...], runs: int) -> list[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}

    def cold() -> None:
        code = "from own.app import work; assert work() == 42"
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    def cold_imports() -> None:
        code = "\n".join(f"import {module}" for module in modules) or "pass"
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    def ready() -> None:
        with isolate_imports("own"):
            pass

    cold()
    rows = []
    ready_times, import_times = [], []
    for _ in range(max(5, runs // 4)):
        ready_times.append(clock(ready))
        import_times.append(clock(cold_imports))
    rows.append(row(name, "ready", ready_times, "cold import of the same modules", import_times))
    with isolate_imports("own", output="capture") as env:
        count = env.run(_module_count)
        exec_times, cold_times = [], []

        def warm() -> None:
            assert env.run(_work) == 42

        warm()
        for _ in range(runs):
            exec_times.append(clock(warm))
            cold_times.append(clock(cold))
        rows.append(row(name, f"exec to result ({count} modules)", exec_times, "cold `python -c`", cold_times))
        files, checked = check_times(environment, runs)
        rows.append(f"| {name} | the stamp's check in it ({files} files) | {median(checked):.2f} ms | | | |")
        burst = clock(lambda: [p.result() for p in [env.exec(_work) for _ in range(100)]])
        rows.append(f"| {name} | 100 execs at once, each | {burst / 100:.2f} ms | | | |")
    return rows


def check_times(environment: dict[str, str], runs: int) -> tuple[int, list[float]]:
    """On how many files a template depends, and the milliseconds of each check, as the debug log tells them."""
    code = """
from firehot import isolate_imports
with isolate_imports("own") as env:
    for _ in range(RUNS):
        env.run(abs, -1)
"""
    code = code.replace("RUNS", str(runs))
    environment = {**environment, "FIREHOT_LOG_LEVEL": "debug"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found = re.findall(r"(\d+) files are as they were \((\d+) us, (\d+) looked at\)", done.stderr)
    # The first one looks at all of them.
    return int(found[0][0]), [int(microseconds) / 1000 for _, microseconds, _ in found[1:]]


def _work() -> int:
    from own.app import work

    return int(work())


def _module_count() -> int:
    return len(sys.modules)


def row(stack: str, what: str, ours: list[float], rival: str, theirs: list[float]) -> str:
    a, b = median(ours), median(theirs)
    return f"| {stack} | {what} | {a:.2f} ms | {rival} | {b:.2f} ms | **{a / b:.3f}** |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=30, help="counted runs of each row (default 30)")
    parser.add_argument("--print", action="store_true", help="print the table and leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench` (`benches/bench.py`). Each row alternates firehot with its rival in one run;",
        f"times are medians of {options.runs} (ready: {max(5, options.runs // 4)}), the ratio is firehot / rival:",
        "below 1 is faster. The rows without a rival are one measurement each.",
        "",
        f"CPython {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores.",
        "",
        "| stack | what | firehot | rival | rival's time | ratio |",
        "|---|---|---|---|---|---|",
    ]
    for name, modules in STACKS.items():
        lines += measure(name, modules, options.runs)
    lines += ["", "Stacks, as far as they are installed where it ran:", ""]
    lines += [
        f"- `{name}`: {', '.join(available(modules)) or 'no third-party module'}" for name, modules in STACKS.items()
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if not options.print:
        (ROOT / "docs" / "benchmarks.md").write_text(text)


if __name__ == "__main__":
    main()
