"""Each remedy of `_table.py`, done to packages that behave as the real ones do."""

from __future__ import annotations

from importlib import import_module

import pytest
from natives import openmp_package, thread_package
from support import Project, needs_proc
from templates import preloaded

from firehot import _remedies

VARIABLES = {
    "pyarrow": ("JE_ARROW_MALLOC_CONF", "background_thread:false"),
    "polars": ("_RJEM_MALLOC_CONF", "dirty_decay_ms:500,muzzy_decay_ms:1000,background_thread:false"),
    "onnxruntime": ("ORT_DISABLE_TELEMETRY", "1"),
}


@pytest.mark.parametrize("package", VARIABLES)
def test_a_library_is_kept_quiet_while_it_is_imported(
    project: Project, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    variable, value = VARIABLES[package]
    monkeypatch.delenv(variable, raising=False)
    project.dependency(f"{package}.py", f"import os\nseen = os.environ.get({variable!r})\n")
    project.write("app.py", f"import os\nimport {package}\n")
    project.write(
        "look.py", f"import os, {package}\ndef look():\n    return {package}.seen, os.environ.get({variable!r})\n"
    )
    look = import_module(f"{project.name}.look").look
    with project.open() as environment:
        assert environment.run(look) == (value, None)
    monkeypatch.setenv(variable, "of the user")
    with project.open() as environment:
        assert environment.run(look) == ("of the user", "of the user")


def test_only_what_was_loaded_and_done_is_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.dependency("pyarrow.py")
    project.dependency("polars.py")
    monkeypatch.setenv("_RJEM_MALLOC_CONF", "of the user")
    with preloaded(project, "pyarrow", "polars") as template:
        told = template.census["remedies"]
    assert told == {"pyarrow": "JE_ARROW_MALLOC_CONF=background_thread:false while it is imported"}


@pytest.mark.parametrize(
    ("package", "variable", "bad", "good"),
    [
        ("grpc", "GRPC_ENABLE_FORK_SUPPORT", "0", "1"),
        ("tokenizers", "TOKENIZERS_PARALLELISM", "True", "false"),
    ],
    ids=["grpc", "tokenizers"],
)
def test_a_variable_that_breaks_children_is_warned_about(
    project: Project, monkeypatch: pytest.MonkeyPatch, package: str, variable: str, bad: str, good: str
) -> None:
    project.dependency(f"{package}.py")
    monkeypatch.setenv(variable, bad)
    with preloaded(project, package) as template:
        (warning,) = template.warnings
        assert f"{variable}={bad}" in warning and "leave" in warning
    with preloaded(project, "json") as template:
        assert template.warnings == []
    monkeypatch.setenv(variable, good)
    with preloaded(project, package) as template:
        assert template.warnings == []


@needs_proc
def test_openmp_that_was_used_by_an_import_works_in_children(project: Project) -> None:
    openmp_package(project, "parallel")
    project.write("app.py", "import parallel\ndef count():\n    return parallel.at_import, parallel.native.count()\n")
    count = import_module(f"{project.name}.app").count
    with project.open() as environment:
        assert "parallel" in environment.modules
        for _ in range(3):
            # Without the remedy the child waits forever for threads that only the template had.
            assert environment.exec(count, timeout=20).result() == (2, 2)


@needs_proc
def test_openmp_is_told_for_the_packages_of_the_table(project: Project) -> None:
    openmp_package(project, "sklearn")
    with preloaded(project, "sklearn") as template:
        assert "omp_pause_resource_all" in template.census["remedies"]["sklearn"]


def test_children_of_numpy_draw_different_numbers(project: Project) -> None:
    project.write("app.py", "import numpy.random\ndef draw():\n    return numpy.random.random()\n")
    project.write(
        "seeds.py", "import numpy.random\ndef draw():\n    numpy.random.seed(7)\n    return numpy.random.random()\n"
    )
    draw = import_module(f"{project.name}.app").draw
    seeded = import_module(f"{project.name}.seeds").draw
    with project.open() as environment:
        assert "numpy.random" in environment.modules
        assert len({environment.run(draw) for _ in range(3)}) == 3
        # A seed of the user's own wins.
        assert len({environment.run(seeded) for _ in range(3)}) == 1


@pytest.mark.parametrize(
    ("package", "function"),
    [("torch", "def seed():"), ("cv2", "def setRNGSeed(value):\n    assert 0 <= value < 2**31")],
    ids=["torch", "cv2"],
)
def test_children_get_random_numbers_of_their_own(project: Project, package: str, function: str) -> None:
    project.dependency(f"{package}.py", f"state = [1]\n{function}\n    import os; state[0] = os.urandom(8)\n")
    project.write("app.py", f"import {package}\ndef state():\n    return {package}.state[0]\n")
    state = import_module(f"{project.name}.app").state
    with project.open() as environment:
        assert len({1, *(environment.run(state) for _ in range(2))}) == 3


def test_a_gevent_hub_is_made_anew_in_children(project: Project) -> None:
    text = "import gevent._hub_local\ncalls = []\ndef reinit():\n    calls.append(1)\n"
    project.dependency("gevent/__init__.py", text)
    project.dependency("gevent/_hub_local.py", "hub = None\ndef get_hub_if_exists():\n    return hub\n")
    project.dependency("makes_hub.py", "import gevent._hub_local\ngevent._hub_local.hub = object()\n")
    project.write("app.py", "import gevent\ndef calls():\n    return len(gevent.calls)\n")
    calls = import_module(f"{project.name}.app").calls
    with project.open() as environment:
        assert environment.run(calls) == 0
    with project.open(preload=["makes_hub"]) as environment:
        assert environment.run(calls) == 1


@needs_proc
@pytest.mark.parametrize(
    ("package", "library", "thread"),
    [
        ("pyarrow", "libarrow.so.1800", "jemalloc_bg_thd"),
        ("polars", "polars.abi3.so", "jemalloc_bg_thd"),
        ("ddtrace", "_native.so", "datadog"),
    ],
    ids=["pyarrow", "polars", "ddtrace"],
)
def test_a_thread_of_the_table_is_known_to_be_harmless(
    project: Project, package: str, library: str, thread: str
) -> None:
    thread_package(project, package, ends_at_forks=False, library=library, thread=thread)
    with preloaded(project, package) as template:
        assert template.census["threads"] == []
        text = template.census["harmless"][package]
        assert text.startswith(f"thread {thread} ({library}): children work without it")


@needs_proc
def test_an_effect_of_the_table_is_kept(project: Project) -> None:
    project.dependency("ddtrace/__init__.py", "import ddtrace.internal\n")
    project.dependency("ddtrace/internal.py", "import select\npoll = select.epoll()\n")
    project.dependency("other.py", "import select\npoll = select.epoll()\n")
    with preloaded(project, "ddtrace") as template:
        assert template.kinds() == [("event loop", "ddtrace", "kept")]
        assert template.census["exit"] == "ok"
    with preloaded(project, "other") as template:
        assert template.kinds() == [("event loop", "other", "leave-out")]


def test_each_kind_of_the_table_is_proved_here() -> None:
    assert {entry.kind for entry in _remedies.load()} == set(_remedies.KINDS) - {"left-out"}


def test_a_generator_in_a_default_argument_is_seeded(project: Project) -> None:
    """As aiohttp's websocket writer has one."""
    project.dependency("aiohttp/__init__.py")
    text = """
    import random
    class WebSocketWriter:
        def __init__(self, *, random=random.Random()):
            self.mask = random.random()
    """
    project.dependency("aiohttp/http_websocket.py", text)
    project.write("app.py", "from aiohttp import http_websocket\n")

    def mask() -> float:
        from aiohttp import http_websocket

        return float(http_websocket.WebSocketWriter().mask)

    with project.open() as environment:
        assert "aiohttp.http_websocket" in environment.modules
        assert len({environment.run(mask) for _ in range(3)}) == 3


def test_a_package_that_was_used_by_an_import_leaves_that_out(project: Project) -> None:
    """As numba's parallel code leaves a pool behind."""
    for folder in ("numba", "numba/np", "numba/np/ufunc"):
        project.dependency(f"{folder}/__init__.py")
    project.dependency("numba/np/ufunc/parallel.py", "_is_initialized = False\n")
    project.dependency("computing.py", "from numba.np.ufunc import parallel\nparallel._is_initialized = True\n")
    project.write("app.py", "import numba\nfrom numba.np.ufunc import parallel\nimport computing\n")
    with project.open() as environment:
        assert environment.verdicts["computing"].startswith("left out: ")
        assert "numba" in environment.verdicts["computing"]
        assert environment.verdicts["numba"].startswith("safe")
        assert "numba.np.ufunc.parallel" in environment.modules


def test_the_loop_of_a_hub_blames_nobody(project: Project) -> None:
    """As gevent makes one at the first use, which may be anybody's import."""
    project.dependency("gevent/__init__.py", "def reinit(): pass\n")
    project.dependency("gevent/_hub_local.py", "hub = None\ndef get_hub_if_exists(): return hub\n")
    text = "import select\nfrom gevent import _hub_local\n_hub_local.hub = select.epoll()\n"
    project.dependency("requesting.py", text)
    project.write("app.py", "import gevent\nfrom gevent import _hub_local\nimport requesting\n")
    with project.open() as environment:
        assert "requesting" in environment.modules, environment.verdicts
