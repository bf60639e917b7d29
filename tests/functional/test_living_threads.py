"""A preloaded package with a thread that lives when the template forks, and hosts that are strict about it.

From CPython 3.12 on `os.fork` warns when the process has threads; 3.15 raises that when warnings are errors, in the
parent, while the child is running already.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support import Scripts

DEPENDENCY = """
import os, threading

alive = []
thread = threading.Thread(target=threading.Event().wait, daemon=True)
thread.start()
os.register_at_fork(before=lambda: alive.append(thread.is_alive()))
"""


@pytest.fixture
def third_party(scripts: Scripts, script_package: str, tmp_path: Path) -> dict[str, str]:
    """`my_package` imports a module that starts a thread; the environment that finds it."""
    folder = tmp_path / "third_party"
    folder.mkdir()
    (folder / "dep_thread.py").write_text(DEPENDENCY, "utf-8")
    scripts.save("import dep_thread\n", "my_package/app.py")
    # A thread that nobody knows is a reason to leave its package out, unless the user says that it is none.
    scripts.save('[tool.firehot.fork]\ndep_thread = "safe"\n', "pyproject.toml")
    return {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize("action", ["error", "always"])
def test_a_host_that_is_strict_about_forks_with_threads_has_its_children(
    scripts: Scripts, third_party: dict[str, str], action: str
) -> None:
    path = scripts.save(
        """
        import warnings
        from firehot import isolate_imports

        def work(value):
            import dep_thread
            caught = None
            try:
                warnings.warn("old", DeprecationWarning)
            except DeprecationWarning as warning:
                caught = str(warning)
            return value * 2, set(dep_thread.alive), caught

        if __name__ == "__main__":
            with isolate_imports("my_package", output="capture") as environment:
                print("dep_thread" in environment.modules)
                processes = [environment.exec(work, value) for value in range(3)]
                for process in processes:
                    print(*process.result(20), process.wait(20))
        """
    )
    # The debug log shows what the template itself writes.
    environment = {**third_party, "FIREHOT_LOG_LEVEL": "debug"}
    finished = scripts.run_command([sys.executable, f"-W{action}::DeprecationWarning", str(path)], env=environment)
    # The children are as strict as the host: what firehot does about its own fork is not theirs.
    caught = "old" if action == "error" else None
    assert finished.ok().splitlines() == ["True", *(f"{value * 2} {{True}} {caught} 0" for value in range(3))]
    assert "multi-threaded" not in finished.stderr


def test_a_child_that_forks_with_threads_is_told_as_in_a_cold_start(
    scripts: Scripts, third_party: dict[str, str]
) -> None:
    path = scripts.save(
        """
        import os, threading
        from firehot import isolate_imports

        def fork_with_a_thread():
            end = threading.Event()
            thread = threading.Thread(target=end.wait)
            thread.start()
            own = os.getpid()
            told = "nothing"
            try:
                os.fork()
            except DeprecationWarning as warning:
                told = str(warning).replace(str(own), "PID")
            if os.getpid() != own:
                os._exit(0)
            os.wait()
            end.set()
            thread.join()
            return told

        if __name__ == "__main__":
            cold = fork_with_a_thread()
            with isolate_imports("my_package", output="capture") as environment:
                print(environment.run(fork_with_a_thread) == cold)
        """
    )
    finished = scripts.run_command([sys.executable, "-Werror::DeprecationWarning", str(path)], env=third_party)
    assert finished.ok().split() == ["True"]
