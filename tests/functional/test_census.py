"""What a template says of itself when it is ready: threads and whose they are, and whether a child can exit."""

from __future__ import annotations

import os

from natives import thread_package
from support import Project, needs_proc
from templates import preloaded

from firehot._forks import ForkSettings


def test_a_quiet_template_has_nothing_to_say(project: Project) -> None:
    with preloaded(project, "json", "email") as template:
        census = template.census
        assert census.pop("exit_ms") < 5000
        assert census == {
            "threads": [],
            "quiesced": {},
            "harmless": {},
            "remedies": {},
            "hook_errors": {},
            "exit": "ok",
            "children": 0,
            "sockets": 0,
            "fds": 0,
        }
        assert template.warnings == []


@needs_proc
def test_a_native_thread_is_told_with_the_library_and_package_that_run_it(project: Project) -> None:
    thread_package(project, "worker", ends_at_forks=False)
    project.dependency("uses_worker.py", "import worker\n")
    with preloaded(project, "json", "uses_worker", "email") as template:
        assert template.census["threads"] == [
            {
                "name": "busy_worker",
                "library": "native.so",
                "package": "worker",
                "item": "uses_worker",
                "importer": None,
            }
        ]
        assert template.census["quiesced"] == {}


@needs_proc
def test_a_thread_that_its_own_fork_handler_ends_is_quiesced(project: Project) -> None:
    thread_package(project, "polite", ends_at_forks=True)
    with preloaded(project, "polite") as template:
        assert template.census["threads"] == []
        assert template.census["quiesced"] == {"polite": "thread busy_worker (native.so) ends at a fork"}
        assert template.census["exit"] == "ok"


@needs_proc
def test_the_threads_of_numpy_end_at_a_fork(project: Project) -> None:
    with preloaded(project, "numpy") as template:
        assert template.census["threads"] == []
        # OpenBLAS starts none on a machine of one processor.
        assert os.cpu_count() == 1 or list(template.census["quiesced"]) == ["numpy"]


def test_a_python_thread_does_not_survive_a_fork(project: Project) -> None:
    text = """
    import threading
    event = threading.Event()
    def wait():
        event.wait()
    threading.Thread(target=wait, name="watcher", daemon=True).start()
    """
    project.dependency("watching/__init__.py", "import watching.deep\n")
    project.dependency("watching/deep.py", text)
    with preloaded(project, "watching") as template:
        assert template.census["threads"] == [
            {
                "name": "watcher",
                "library": "python",
                "package": "watching",
                "item": "watching",
                "importer": "watching.deep",
            }
        ]


def test_a_python_thread_of_the_standard_library_is_its_importers(project: Project) -> None:
    text = """
    from concurrent.futures import ThreadPoolExecutor
    pool = ThreadPoolExecutor(1, thread_name_prefix="pool")
    pool.submit(int).result()
    """
    project.dependency("pools.py", text)
    project.dependency("above.py", "import pools\n")
    with preloaded(project, "above") as template:
        (thread,) = template.census["threads"]
        assert (thread["name"], thread["package"], thread["importer"]) == ("pool_0", "pools", "pools")


def test_a_python_thread_that_is_started_again_in_children_is_quiesced(project: Project) -> None:
    text = """
    import os, threading
    event = threading.Event()
    def start():
        threading.Thread(target=event.wait, name="reporter", daemon=True).start()
    start()
    os.register_at_fork(after_in_child=start)
    """
    project.dependency("reports.py", text)
    with preloaded(project, "reports") as template:
        assert template.census["threads"] == []
        assert template.census["quiesced"] == {"reports": "thread reporter (python) is started again in each child"}


def test_the_threads_of_a_package_that_the_user_calls_safe_are_no_matter(project: Project) -> None:
    text = """
    import threading
    threading.Thread(target=threading.Event().wait, name="mine", daemon=True).start()
    """
    project.dependency("trusted.py", text)
    with preloaded(project, "trusted", settings=ForkSettings(words=(("trusted", "safe"),))) as template:
        assert template.census["threads"] == []
        assert "[tool.firehot.fork]" in template.census["harmless"]["trusted"]


def test_a_child_that_dies_in_its_exit_is_told(project: Project) -> None:
    project.dependency("aborts.py", "import atexit, os\natexit.register(os.abort)\n")
    with preloaded(project, "aborts") as template:
        assert template.census["exit"] == "was killed by SIGABRT"


def test_a_child_that_hangs_in_its_exit_is_told(project: Project) -> None:
    # The thread that would end this wait runs in the template alone.
    text = """
    import atexit, os, threading
    lock = threading.Lock()
    lock.acquire()
    atexit.register(lambda: lock.acquire() if os.getpid() != template else None)
    template = os.getpid()
    """
    project.dependency("hangs.py", text)
    with preloaded(project, "hangs") as template:
        assert template.census["exit"] == "hangs"
        assert template.census["exit_ms"] >= 10_000


def test_an_exit_code_of_an_exit_function_is_no_failure(project: Project) -> None:
    project.dependency("codes.py", "import atexit, os\natexit.register(lambda: os._exit(3))\n")
    with preloaded(project, "codes") as template:
        assert template.census["exit"] == "ok"


def test_what_is_left_is_counted(project: Project) -> None:
    project.dependency("opens.py", "import socket\na, b = socket.socket(), open(__file__)\n")
    with preloaded(project, "opens") as template:
        assert (template.census["sockets"], template.census["fds"], template.census["children"]) == (1, 2, 0)
