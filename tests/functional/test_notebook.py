"""`%%hot` and `%hot_status` in a real kernel, driven by nbclient and jupyter_client in a process of their own."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from support import Scripts, is_alive, needs_proc, wait_until

for needed in ("nbclient", "ipykernel"):
    pytest.importorskip(needed, reason=f"{needed} can't be installed for this Python")

# Runs a notebook; prints its outputs. What `!write NAME TEXT` says is done between cells, by another process.
_NOTEBOOK = """
import json
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

cells = json.loads(Path(sys.argv[1]).read_text())
notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
client = NotebookClient(notebook, allow_errors=True, timeout=60, resources={"metadata": {"path": sys.argv[2]}})
with client.setup_kernel():
    for index, cell in enumerate(notebook.cells):
        if cell.source.startswith("!write "):
            _, name, text = cell.source.split(" ", 2)
            Path(sys.argv[2], name).write_text(text)
        else:
            client.execute_cell(cell, index)
print("outputs:" + json.dumps([cell.outputs for cell in notebook.cells]))
"""
# A user at a kernel, who interrupts, and at last kills it.
_KERNEL = """
import sys
from jupyter_client.manager import start_new_kernel

manager, client = start_new_kernel(cwd=sys.argv[1], startup_timeout=60)


def follow(execution, at=None):
    while True:
        message = client.get_iopub_msg(timeout=60)
        kind, content = message["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != execution:
            continue
        if kind == "stream":
            print(content["text"], end="", flush=True)
            if at is not None and at in content["text"]:
                return
        elif kind == "error":
            print("error:", content["ename"], "".join(content["traceback"]), flush=True)
        elif kind == "status" and content["execution_state"] == "idle":
            return


follow(client.execute("%load_ext firehot"))
endless = client.execute("%%hot\\nimport os, time\\nprint('child', os.getpid())\\nprint('up')\\ntime.sleep(1000)")
follow(endless, at="up")
manager.interrupt_kernel()
follow(endless)
follow(client.execute("print('back')"))
ignoring = "import signal, time\\nsignal.signal(2, signal.SIG_IGN)\\nprint('deaf')\\ntime.sleep(1000)"
deaf = client.execute("%%hot\\n" + ignoring)
follow(deaf, at="deaf")
manager.interrupt_kernel()
follow(deaf)
follow(client.execute("%%hot\\nprint('again')\\n"))
follow(client.execute("%%hot\\nimport os, time\\nos.system('sleep 1000 &')\\nprint('up')\\ntime.sleep(1000)"), at="up")
client.stop_channels()
# Killed, as by a restart that does not wait.
manager.shutdown_kernel(now=True)
print("ended", flush=True)
"""


class Lab:
    """A notebook beside a project, `lab`."""

    def __init__(self, folder: Path, scripts: Scripts) -> None:
        self.folder = folder / "lab-folder"
        self._scripts = scripts
        self.write("lab/__init__.py", "from lab import deep\n\ndef answer():\n    return deep.value()\n")
        self.write("lab/deep.py", "def value():\n    return 41\n")
        home = folder / "home"
        home.mkdir()
        self._env = {"HOME": str(home), "IPYTHONDIR": str(home), "JUPYTER_PLATFORM_DIRS": "1", "NO_COLOR": "1"}

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *cells: str) -> list[list[dict[str, Any]]]:
        """The outputs of each cell of a notebook; the first one loads the extension."""
        file = self._scripts.folder / "cells.json"
        file.write_text(json.dumps(["%load_ext firehot", *cells]))
        done = self._scripts.run(_NOTEBOOK, str(file), str(self.folder), env=self._env, timeout=110)
        first, *others = json.loads(done.ok().rpartition("outputs:")[2])
        assert first == []
        return others

    def kernel(self) -> str:
        """What a kernel says that is interrupted, and killed, while a cell runs."""
        return self._scripts.run(_KERNEL, str(self.folder), env=self._env, timeout=110).ok()


@pytest.fixture
def lab(tmp_path: Path, scripts: Scripts) -> Lab:
    return Lab(tmp_path, scripts)


def text_of(outputs: list[dict[str, Any]], name: str = "stdout") -> str:
    return "".join(each["text"] for each in outputs if each["output_type"] == "stream" and each["name"] == name)


def error_of(outputs: list[dict[str, Any]]) -> tuple[str, str]:
    """Name and traceback, without colours."""
    [error] = [each for each in outputs if each["output_type"] == "error"]
    return error["ename"], re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error["traceback"]))


_EVERYTHING = """%%hot --in x,y --out z,own
import os, sys
from IPython.display import HTML, display
print("out", x, "." * 150_000)
display(HTML("<b>shown</b>"))
print("later", end="")
os.system("echo native")
print("err", file=sys.stderr)
import lab
z = lab.answer() + y
class Own:
    def _repr_html_(self):
        return "<i>mine</i>"
own = Own()
own"""


def test_a_cell_runs_in_a_child_with_its_output_value_and_variables(lab: Lab) -> None:
    _, whole, z, own, quiet, status, child, fresh, _, edited = lab.run(
        "import os\nx, y, kernel = [1], 1, os.getpid()",
        _EVERYTHING,
        "z, 'lab' in __import__('sys').modules",
        "own",
        "%%hot\n12;",
        "%hot_status",
        "%%hot --out pid\nimport os; pid = os.getpid()\nx = 2",
        "pid != kernel, x",
        "!write lab/deep.py def value():\n    return 42\n",
        "%%hot\nimport lab\nlab.answer()",
    )
    assert text_of(whole, "stderr") == "err\n"
    kinds = [each["output_type"] for each in whole]
    # What is shown stands between what was printed before and after it, though much was.
    printed = [text_of(whole[: kinds.index("display_data")]), text_of(whole[kinds.index("display_data") :])]
    assert printed == [f"out [1] {'.' * 150_000}\n", "laternative\n"]
    shown = whole[kinds.index("display_data")]
    assert shown["data"]["text/html"] == "<b>shown</b>"
    result = whole[kinds.index("execute_result")]
    assert result["data"]["text/html"] == "<i>mine</i>" and result["execution_count"] == 3
    assert "__main__.Own" in result["data"]["text/plain"]
    assert z[0]["data"]["text/plain"] == "(42, False)"
    assert own[0]["data"]["text/html"] == "<i>mine</i>"
    assert quiet == []
    assert re.match(
        r"lab: template built in [\d.]+ s, 2 runs, the last took [\d.]+ s\n  \d+ imports? preloaded, ", text_of(status)
    )
    assert sys.platform != "linux" or re.search(r", \d+ MB$", text_of(status), re.MULTILINE)
    assert child == []
    assert fresh[0]["data"]["text/plain"] == "(True, [1])"
    assert edited[0]["data"]["text/plain"] == "42"


def test_what_goes_wrong_is_shown_as_the_notebook_shows_it(lab: Lab) -> None:
    raised, syntax, ended, late, missing, unset, what, lost, where, fine = lab.run(
        "%%hot\nimport lab\n\nlab.deep.gone()",
        "%%hot\nx = 1\nif x\n    pass",
        "%%hot\nimport os\nos._exit(3)",
        "%%hot --timeout 0.5\nimport time\ntime.sleep(1000)",
        "%%hot --in nowhere\n1",
        "%%hot --out nowhere\n1",
        "%%hot --nonsense\n1",
        "%%hot --out f\nf = (i for i in '')",
        "%%hot --project no/such/folder\n1",
        "%%hot\n1",
    )
    name, traceback = error_of(raised)
    assert name == "AttributeError"
    assert "Cell In[2], line 4" in traceback and "----> 4 lab.deep.gone()" in traceback
    assert "_hot" not in traceback and "run_cell_magic" not in traceback
    name, traceback = error_of(syntax)
    assert name == "SyntaxError" and "Cell In[3], line 3" in traceback and "if x" in traceback
    assert error_of(ended) == ("ChildExited", "ChildExited: the cell 4 exited with code 3 before it returned\n")
    name, traceback = error_of(late)
    assert name == "TimeoutError" and "ran longer than 0.5 s" in traceback
    assert text_of(missing, "stderr") == "UsageError: %%hot: --in names nowhere, which the notebook has not set\n"
    assert text_of(unset, "stderr") == "UsageError: %%hot: --out names nowhere, which the cell has not set\n"
    assert "unrecognized arguments: --nonsense" in text_of(what, "stderr")
    assert text_of(lost, "stderr").startswith("UsageError: %%hot: --out f can't be sent: cannot pickle ")
    assert "there is no " in text_of(where, "stderr")
    assert fine[0]["data"]["text/plain"] == "1"


def test_what_cannot_travel_is_told_in_the_words_of_the_notebook(lab: Lab) -> None:
    own = "class Own(Exception):\n    def __init__(self, a, b):\n        super().__init__(a)\n\nraise Own('odd', 2)"
    _, given, absent, home, never, raised, stopped = lab.run(
        "f = (i for i in '')",
        "%%hot --in f\n1",
        "%%hot --project absent\n1",
        "%%hot --project ~nobody-of-this-name/lab\n1",
        "%%hot --timeout nan\n1",
        f"%%hot\n{own}",
        "%%hot\nraise KeyboardInterrupt",
    )
    assert text_of(given, "stderr") == "UsageError: %%hot: --in f can't be sent: cannot pickle 'generator' object\n"
    assert text_of(absent, "stderr").startswith("UsageError: %%hot: there is no package 'absent'")
    assert text_of(home, "stderr").startswith("UsageError: %%hot: there is no ")
    assert text_of(never, "stderr").endswith("nan is no time that a cell could run for\n")
    # It can't be made anew here, so that it is told by name.
    name, traceback = error_of(raised)
    assert name == "ChildError" and "Own: odd" in traceback and "----> 6 raise Own" in traceback
    name, traceback = error_of(stopped)
    assert name == "KeyboardInterrupt" and "----> 2 raise KeyboardInterrupt" in traceback


def test_plots_of_matplotlib_come_back_as_pictures(lab: Lab) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib has no wheel for this Python")
    (plotted,) = lab.run("%%hot\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nprint('plotted')")
    [picture] = [each for each in plotted if each["output_type"] == "display_data"]
    assert picture["data"]["image/png"].startswith("iVBORw0KGgo")
    assert text_of(plotted) == "plotted\n"


@needs_proc
def test_an_interrupt_ends_the_cell_and_the_end_of_the_kernel_leaves_nothing(lab: Lab) -> None:
    said = lab.kernel()
    pid = int(re.findall(r"child (\d+)", said)[0])
    assert said.count("error: KeyboardInterrupt") == 2
    # The first one has said where it was, as a cell of the kernel's own would.
    assert "time.sleep" in re.sub(r"\x1b\[[\d;]*m", "", said.partition("back\n")[0])
    assert "back\n" in said and "again\n" in said and said.endswith("ended\n")
    assert wait_until(lambda: not is_alive(pid))


def test_the_project_is_named_or_the_only_one_there(lab: Lab) -> None:
    lab.write("src/other/__init__.py", "name = 'other'\n")
    lab.write("src/other/part.py", "")
    several, by_path, by_name, last, status = lab.run(
        "%%hot\n1",
        "%%hot --project src/other\nimport other\nother.name",
        "%%hot --project lab\nimport lab\nlab.answer()",
        "%%hot\n'lab' in __import__('sys').modules",
        "%hot_status",
    )
    assert "holds lab, other: name the project's with --project PATH" in text_of(several, "stderr")
    assert by_path[0]["data"]["text/plain"] == "'other'"
    assert by_name[0]["data"]["text/plain"] == "41"
    assert last[0]["data"]["text/plain"] == "False"
    names = [line.partition(":")[0] for line in text_of(status).splitlines() if not line.startswith(" ")]
    assert names == ["other", "lab"]
