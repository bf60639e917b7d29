"""Packages that do strange things to their process, and what is left of the environment afterwards."""

from __future__ import annotations

import pytest
from natives import thread_package
from packages import keeps, value_of
from support import Project, Scripts, needs_proc

ODD = {
    "a module that is no module": """
        import sys
        class Odd:
            def __getattr__(self, name): raise RuntimeError(name)
            __slots__ = ()
        sys.modules["dep_odd_one"] = Odd()
        """,
    "a path on sys.path": "import pathlib, sys\nsys.path.append(pathlib.Path('/nowhere'))\n",
    "another object for os.environ": "import collections, os\nos.environ = collections.ChainMap({}, os.environ)\n",
    "a name that is no text": "import sys, types\nsys.modules[1] = types.ModuleType('one')\n",
    "a path that is no text": "try:\n    open(b'caf\\xe9.txt')\nexcept OSError:\n    pass\n",
    "a relative path in another script": "try:\n    open('\\u6587.txt')\nexcept OSError:\n    pass\n",
    "none for a module": "import sys\nsys.modules['dep_none'] = None\n",
}


@pytest.mark.parametrize("what", ODD)
def test_the_environment_opens_and_works(project: Project, what: str) -> None:
    project.dependency("dep_a.py", ODD[what] + "\n")
    project.dependency("dep_b.py", "VALUE = 'beside'\n")
    project.write("app.py", "import dep_a\nimport dep_b\n")
    with project.open() as environment:
        assert "dep_a" in environment.modules and "dep_b" in environment.modules
        with keeps(environment):
            assert value_of(environment, "dep_b") == "beside"


@pytest.mark.parametrize("name", ["settings.local.py", "settings.txt", "settings.cpython-32-other.so"])
def test_what_can_not_be_imported_is_not_found_again_and_again(project: Project, name: str) -> None:
    project.dependency("dep_a.py", "VALUE = 1\n")
    project.dependency(name, "")
    project.write("app.py", "import dep_a\ntry:\n    import settings\nexcept ImportError:\n    pass\n")
    with project.open() as environment:
        assert "settings" in environment.skipped
        with keeps(environment):
            assert value_of(environment) == 1


def test_a_thread_that_the_interpreters_start_has_brought_blames_nobody(scripts: Scripts, script_package: str) -> None:
    """As `opentelemetry-instrument` and its like do it."""
    scripts.save(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n", "sitecustomize.py"
    )
    finished = scripts.run(
        f"""
        from firehot import isolate_imports
        with isolate_imports({script_package!r}) as environment:
            print(sorted(environment.modules), sorted(environment.skipped), environment.run(abs, -1))
        """,
        env={"PYTHONPATH": str(scripts.folder)},
    )
    assert finished.ok().startswith("['decimal'") or "json" in finished.stdout
    assert finished.stdout.rstrip().endswith("[] 1"), finished.stdout


@needs_proc
def test_native_threads_that_come_back_after_a_fork_blame_nobody(project: Project) -> None:
    """As scipy's FFT pool does, whose own fork handlers end it and start it again."""
    project.dependency("pool/__init__.py")
    project.dependency("pool/part.py")
    thread_package(project, "pool/inner", ends_at_forks=True, returns=True)
    project.dependency("using.py", "import pool.inner\n")
    project.write("app.py", "import pool.part\nimport using\n")
    with project.open() as environment:
        assert {"pool.part", "using"} <= set(environment.modules), environment.verdicts
        assert environment.verdicts["pool"] == "safe, quiesced by its own fork handlers"
        assert environment.run(abs, -1) == 1
