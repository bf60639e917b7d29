"""The page of `firehot imports --html`, made by a real daemon and looked at in a real browser."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Page, needs_browser, open_page
from daemons import Desk

# The line of an import is the project's own text: it must not end the page's script.
HOSTILE = "import dep_absent  # </script><script>alert(1)</script> \u2028 \udc80 <!-- &amp;".encode(
    "utf-8", "surrogateescape"
)
PROGRAM = b"""import dep_slow
import big.deep.part
def later():
    import dep_quick
import dep_listening
"""


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    """A project whose program imports a distribution of two levels, two modules, and one that is not there."""
    made = Desk(tmp_path)
    made.dependency("dep_slow.py", "import time, dep_inner\ntime.sleep(0.06)\nroom = bytearray(30_000_000)\n")
    made.dependency("dep_inner.py", "import time\ntime.sleep(0.02)\nopen(__file__[:-3] + '.txt').close()\n")
    made.dependency("dep_inner.txt")
    made.dependency("dep_quick.py")
    made.dependency("dep_listening.py", "import socket\nheld = socket.create_server(('127.0.0.1', 0))\n")
    for name in ("big/__init__.py", "big/deep/__init__.py", "big/deep/other.py"):
        made.dependency(name, "import time\ntime.sleep(0.01)\n")
    made.dependency("big/deep/part.py", "import time\nfrom big.deep import other\ntime.sleep(0.04)\n")
    made.dependency("Big_One-1.5.dist-info/METADATA", "Metadata-Version: 2.1\nName: Big.One\nVersion: 1.5\n")
    made.dependency("Big_One-1.5.dist-info/RECORD", "big/__init__.py,,\nbig/deep/part.py,,\n")
    (made.root / "app.py").write_bytes(PROGRAM + HOSTILE + b"\n")
    made.warm("app.py")
    yield made
    made.close()


def made_page(desk: Desk) -> Path:
    """The page of the desk's daemon."""
    path = desk.root / "report.html"
    assert desk.good("imports", "--html", path.name) == "report.html\n"
    return path


def report_of(path: Path) -> dict[str, Any]:
    """The data of a page, read as a browser would: up to the first end of the script."""
    text = path.read_text("utf-8")
    [data] = re.findall(r'<script type="application/json" id="report">(.*?)</script', text, re.DOTALL)
    assert not re.search("[<>&\u2028\u2029]", data)
    found: dict[str, Any] = json.loads(data)
    return found


def test_the_page_holds_what_each_module_costs_and_no_text_of_the_project_ends_its_script(desk: Desk) -> None:
    path = made_page(desk)
    text = path.read_text("utf-8")
    assert not re.search(r"(src|href)=|@import|url\(|https?:", text)
    assert "default-src 'none'" in text
    [template] = report_of(path)["templates"]
    owners = [name for name, _ in template["distributions"]]
    modules = {row[0]: row[1:] for row in template["modules"]}
    names = [row[0] for row in template["modules"]]
    assert owners[modules["big.deep.part"][0]] == owners[modules["big.deep.other"][0]] == "Big.One 1.5"
    assert modules["dep_slow"][1] >= 60 and modules["dep_inner"][1] >= 20
    assert modules["dep_slow"][2] >= 30e6 or sys.platform != "linux"
    # Who asked, and during whose import: big.deep is no part of what its own submodule costs.
    assert names[modules["big.deep.other"][4]] == names[modules["big.deep.other"][5]] == "big.deep.part"
    assert modules["big.deep"][5] == -1
    skipped = {name: lines for name, _, lines in template["skipped"]}
    assert skipped["dep_absent"][0][:2] == ["app.py", 6]
    assert "dep_listening" in skipped


@needs_browser
def test_the_page_is_used_by_mouse_keyboard_and_on_a_phone(desk: Desk) -> None:
    path = made_page(desk)
    with open_page() as page:
        page.size(1200, 900)
        page.prefer("light")
        page.goto(path)
        facts = page.text("#facts")
        assert "of imports, done once" in facts and "0 runs" in facts
        out = page.text("#out")
        assert "ModuleNotFoundError: No module named 'dep_absent'" in out
        assert "app.py:6: import dep_absent # </script>" in out
        assert "socket" in out
        assert "Big.One 1.5" in page.text("#table")
        check_pictures(page)
        check_keys(page)
        check_filter(page)
        check_themes(page)
        page.size(360, 740, phone=True)
        page.wait("document.documentElement.clientWidth === 360")
        for view in ("treemap", "flame"):
            page.click(f"[data-view={view}]")
            assert page.eval("document.documentElement.scrollWidth") <= 360
            assert page.eval("document.querySelectorAll('.tile').length") > 3
        assert page.urls == [path.as_uri()]
        assert page.errors == []


def label(name: str) -> str:
    return f"[...document.querySelectorAll('.tile')].find(e => e.node.name === {json.dumps(name)})"


def focused(page: Page) -> str:
    return str(page.eval("document.activeElement.node ? document.activeElement.node.name : document.activeElement.id"))


def check_pictures(page: Page) -> None:
    """Areas and widths are as the costs, in each view and measure; a part tells who imports it."""
    area = f"(e => (e.offsetWidth + 2) * (e.offsetHeight + 2))({label('dep_slow')})"
    small = f"(e => (e.offsetWidth + 2) * (e.offsetHeight + 2))({label('dep_inner')})"
    assert page.eval(area) / page.eval(small) > 1.5
    page.eval(f"{label('dep_inner')}.click()")
    detail = page.text("#detail")
    assert re.search(
        r"Who imports it\s+dep_inner\s+dep_slow\s+import dep_slow\s+app\.py:1\s+import dep_slow", detail
    ), detail
    if sys.platform == "linux":
        page.click("[data-metric=memory]")
        assert page.eval(area) > 10 * page.eval(f"({label('dep_inner')} || {{}}).offsetWidth || 1")
        page.click("[data-metric=time]")
    page.click("[data-view=flame]")
    box = "(e => [e.offsetLeft, e.offsetLeft + e.offsetWidth, e.offsetTop])"
    left, right, top = page.eval(f"{box}({label('dep_slow')})")
    inner_left, inner_right, inner_top = page.eval(f"{box}({label('dep_inner')})")
    assert left <= inner_left and inner_right <= right + 1 and inner_top > top
    page.click("[data-view=treemap]")


def check_keys(page: Page) -> None:
    """All of the picture is reached without a mouse; one stop of the tab key is enough for it."""
    page.eval("document.querySelector('#filter').focus()")
    page.press("Tab")
    first = focused(page)
    assert page.eval("document.activeElement.className").startswith("tile")
    page.press("ArrowRight")
    assert focused(page) != first
    page.press("ArrowLeft")
    assert focused(page) == first
    while focused(page) != "Big.One 1.5":
        before = focused(page)
        page.press("ArrowRight")
        assert focused(page) != before, "Big.One is not reached"
    page.press("Enter")
    assert page.text("#path").startswith("all imports / Big.One 1.5")
    inside = "[...document.querySelectorAll('.tile')].every(e => e.node.name.startsWith('big'))"
    assert page.eval(inside)
    assert focused(page).startswith("big")
    page.press("Escape")
    assert page.text("#path") == "all imports"
    assert focused(page) == "Big.One 1.5"
    page.press("/")
    assert focused(page) == "filter"


def check_filter(page: Page) -> None:
    page.press("i", "n", "n", "e", "r")
    assert page.text("#matches").startswith("1 module, ")
    assert page.text("#table tbody").startswith("dep_inner")
    assert page.eval(f"{label('Big.One 1.5')}.classList.contains('off')")
    assert not page.eval(f"{label('dep_inner')}.classList.contains('off')")
    page.press("Escape")
    assert page.text("#matches") == ""
    assert not page.eval("document.querySelector('.tile.off')")


def check_themes(page: Page) -> None:
    """The system's wish is followed until the switch is used; text is legible in both."""
    papers = []
    for theme in ("light", "dark"):
        page.prefer(theme)
        assert page.wait(f"document.documentElement.dataset.theme === '{theme}'")
        papers.append(page.eval("getComputedStyle(document.body).backgroundColor"))
        assert page.eval(CONTRAST) >= 4.5
    assert papers[0] != papers[1]
    page.click("#theme")
    assert page.eval("document.documentElement.dataset.theme") == "light"


# The least contrast (WCAG 2) of a label to its tile; colours are asked of a canvas, which knows every notation.
CONTRAST = """(() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const light = colour => {
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const all = [...document.querySelectorAll(".tile span")].map(text => {
    const pair = [getComputedStyle(text).color, getComputedStyle(text.parentElement).backgroundColor].map(light);
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  });
  return Math.min(...all);
})()"""


def test_a_dash_writes_the_page_to_stdout_in_any_locale(desk: Desk) -> None:
    desk.write("über.py", "import decimal\n")
    desk.warm("über.py")
    desk.variables |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    with desk.popen("imports", "--html", "-") as process:
        assert process.stdout is not None and process.stderr is not None
        page, told = process.stdout.buffer.read(), process.stderr.read()
    assert (process.returncode, told) == (0, "")
    assert page.startswith(b"<!doctype html>") and page.rstrip().endswith(b"</html>")
    assert not (desk.root / "-").exists()
    path = desk.root / "report.html"
    path.write_bytes(page)
    assert "über.py" in [template["target"] for template in report_of(path)["templates"]]


def test_a_page_that_can_t_be_written_is_one_line(desk: Desk) -> None:
    done = desk.run("imports", "--html", "no/such/folder.html")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "no/such/folder.html" in done.stderr
    assert desk.run("imports", "--html", "x.html", "--json").returncode == 2
    desk.good("stop")
    done = desk.run("imports", "--html", "x.html")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("firehot: no daemon runs for this project")
    assert not (desk.root / "x.html").exists()
