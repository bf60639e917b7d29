"""What imports leave behind that children must not share: seen by the template, and told with who did it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from support import Project, is_alive, needs_proc, wait_until
from templates import only, preloaded

from firehot._forks import ForkSettings


def test_an_import_without_side_effects_has_none(project: Project) -> None:
    project.dependency("quiet.py", "import socket, tempfile, logging, asyncio, subprocess\ns = socket.socket()\n")
    with preloaded(project, "quiet", "numpy", "requests", "concurrent.futures") as template:
        assert template.effects == []
        assert template.loaded[0] == "quiet"


def test_a_listening_socket_is_told_with_address_and_importer(project: Project) -> None:
    project.dependency("serving/__init__.py", "from . import deep\n")
    text = "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
    project.dependency("serving/deep.py", text)
    project.dependency("user.py", "import serving\n")
    with preloaded(project, "user") as template:
        effect = only(template.effects, "listening socket")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", effect["detail"])
    assert (effect["name"], effect["importer"], effect["action"]) == ("user", "serving.deep", "leave-out")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            "connected socket",
            "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
            "client = socket.create_connection(server.getsockname())\n",
        ),
        ("bound socket", "import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\ns.bind(('127.0.0.1', 0))\n"),
        ("listening socket", "import socket\ns = socket.socket(socket.AF_UNIX)\ns.bind(FILE)\ns.listen()\n"),
        ("file open for writing", "file = open(FILE, 'w')\n"),
        ("file open for writing", "import sqlite3\nbase = sqlite3.connect(FILE)\nbase.execute('create table t (x)')\n"),
        ("file open for writing", "import tempfile\nfile = tempfile.TemporaryFile()\n"),
        ("pipe", "import os\nends = os.pipe()\n"),
        ("event loop", "import select\npoll = select.epoll()\n"),
        ("event loop", "import asyncio\nloop = asyncio.new_event_loop()\nasyncio.set_event_loop(loop)\n"),
        ("temporary files", "import atexit, shutil, tempfile\natexit.register(shutil.rmtree, tempfile.mkdtemp())\n"),
    ],
)
@needs_proc
def test_what_children_must_not_share_is_left_out(project: Project, tmp_path: Path, kind: str, text: str) -> None:
    project.dependency("guilty.py", f"FILE = {str(tmp_path / 'file')!r}\n{text}")
    with preloaded(project, "guilty") as template:
        found = [effect for effect in template.effects if effect["kind"] == kind]
        assert found and {effect["importer"] or effect["name"] for effect in found} == {"guilty"}, template.effects
        assert {effect["action"] for effect in found} == {"leave-out"}
        assert {effect["kind"] for effect in template.effects} <= {kind, "listening socket"}
        # Its exit would delete what is still in use, and says nothing of the template that comes next.
        assert template.census["exit"] is None


@pytest.mark.parametrize(
    "text",
    [
        "import socket\ns = socket.socket()\n",
        "file = open(__file__)\n",
        "file = open('/dev/null', 'w')\n",
        "import atexit, tempfile\nfolder = tempfile.TemporaryDirectory()\natexit.register(print)\n",
        "import atexit, os, tempfile\nfolder = tempfile.mkdtemp()\nos.rmdir(folder)\natexit.register(print)\n",
        "import atexit\natexit.register(print)\n",
        "import ctypes\n",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''])\n",
        "import os, time\nos.chdir(os.getcwd())\nos.umask(os.umask(0o77))\n",
    ],
)
def test_what_harms_nobody_is_not_told(project: Project, text: str) -> None:
    project.dependency("innocent.py", text)
    with preloaded(project, "innocent") as template:
        assert template.effects == []
        assert template.census["exit"] == "ok"


def test_a_log_that_is_appended_to_is_kept_and_its_text_written_once(project: Project, tmp_path: Path) -> None:
    log = tmp_path / "log"
    project.dependency("logs.py", f"file = open({str(log)!r}, 'a')\nfile.write('imported\\n')\n")
    project.write("app.py", "import logs\n")
    with preloaded(project, "logs") as template:
        assert template.kinds() == [("append-only file", "logs", "kept")]
        assert log.read_text() == "imported\n"
    log.unlink()
    with project.open() as environment:
        assert [environment.run(abs, -value) for value in (1, 2)] == [1, 2]
    assert log.read_text() == "imported\n"


@needs_proc
def test_a_child_process_is_told_and_ended(project: Project) -> None:
    text = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=-1)\n"
    project.dependency("starts.py", text)
    with preloaded(project, "starts") as template:
        effect = only(template.effects, "child process")
        assert (effect["importer"], effect["action"]) == ("starts", "leave-out")
        pid = int(effect["detail"].rpartition(" ")[2])
        assert wait_until(lambda: not is_alive(pid))


def test_directory_and_umask_are_set_back(project: Project, tmp_path: Path) -> None:
    project.dependency("moves.py", f"import os\nos.chdir({str(tmp_path)!r})\n")
    project.dependency("masks.py", "import os\nos.umask(0o007)\n")
    project.dependency("looks.py", f"import os\nassert os.getcwd() == {os.getcwd()!r}\nassert os.umask(0o22) != 7\n")
    with preloaded(project, "moves", "masks") as template:
        assert template.kinds() == [("working directory", "moves", "undone"), ("umask", "masks", "undone")]
        assert str(tmp_path) in template.effects[0]["detail"]
        assert "007" in template.effects[1]["detail"]
    with preloaded(project, "moves", "looks") as template:
        assert "looks" in template.loaded


def test_what_a_cold_start_would_have_as_well_is_kept(project: Project) -> None:
    text = "import asyncio, signal\nsignal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))\n"
    project.dependency("handles.py", text)
    project.dependency("gevent/__init__.py", "")
    project.dependency("gevent/monkey.py", "saved = {}\n")
    project.dependency("patches.py", "import gevent.monkey\ngevent.monkey.saved['os'] = {'fork': 1}\n")
    with preloaded(project, "handles", "patches") as template:
        assert template.kinds() == [("signal handler", "handles", "kept"), ("monkey-patching", "patches", "kept")]
        assert "SIGTERM" in template.effects[0]["detail"]
        assert template.census["exit"] == "ok"


def test_a_failing_import_is_judged_as_well(project: Project) -> None:
    project.dependency("half.py", "import keeper\nraise ValueError\n")
    project.dependency("keeper.py", "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n")
    with preloaded(project, "half") as template:
        assert template.kinds() == [("listening socket", "keeper", "leave-out")]


def test_a_package_that_the_user_calls_safe_is_not_judged(project: Project, tmp_path: Path) -> None:
    project.dependency("trusted/__init__.py", "from . import inner\n")
    project.dependency("trusted/inner.py", "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n")
    project.dependency("trusted_not.py", f"import trusted, os\nos.chdir({str(tmp_path)!r})\n")
    with preloaded(project, "trusted_not", settings=ForkSettings(words=(("trusted", "safe"),))) as template:
        assert template.kinds() == [("working directory", "trusted_not", "undone")]
