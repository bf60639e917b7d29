"""`firehot serve` in a real browser: errors over the page, pages that follow each save."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import needs_browser, open_page
from daemons import Desk
from serving import Serving, app

OVERLAY = "document.querySelector('firehot-overlay')?.shadowRoot.textContent ?? ''"
HEADING = "document.querySelector('h1')?.textContent"


pytestmark = needs_browser


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.write("app.py", app(1))
    yield made
    made.close()


def test_an_error_lies_over_the_page_until_the_next_good_save(desk: Desk) -> None:
    with Serving(desk) as served, open_page() as page:
        served.until(r"served after")
        page.goto(f"http://127.0.0.1:{served.port}/page")
        assert page.eval(HEADING) == "value 1"
        page.eval("window.untouched = true")
        desk.write("app.py", app(2, body="raise ValueError('<b>not</b> yet')"))
        page.wait(f"({OVERLAY}).includes('ValueError: <b>not</b> yet')")
        # Whoever comes now sees it as well.
        page.goto(f"http://127.0.0.1:{served.port}/page?again")
        page.wait(f"({OVERLAY}).includes('ValueError')")
        page.eval("window.untouched = true")
        served.save(3)
        page.wait(f"({OVERLAY}) === ''")
        # Nobody has asked for a reload.
        assert page.eval("window.untouched") is True
        assert page.eval(HEADING) == "value 1"


def test_pages_follow_each_save_with_live_reload(desk: Desk) -> None:
    with Serving(desk, "app:app", "--live-reload") as served, open_page() as page:
        served.until(r"served after")
        page.goto(f"http://127.0.0.1:{served.port}/page")
        page.wait(f"{HEADING} === 'value 1'")
        served.save(2)
        page.wait(f"{HEADING} === 'value 2'")
        desk.write("app.py", "1 / 0\n")
        page.wait(f"({OVERLAY}).includes('ZeroDivisionError')")
        served.save(3)
        page.wait(f"{HEADING} === 'value 3' && ({OVERLAY}) === ''")
        # A template counts, too.
        desk.write("templates/page.html", "<p>")
        served.until(r"page.html changed; .*served after")
        page.wait("document.readyState === 'complete'")


def test_the_error_page_goes_when_the_application_is_mended(desk: Desk) -> None:
    desk.write("app.py", "import nothing_of_the_kind\n")
    with Serving(desk) as served, open_page() as page:
        served.until(r"waiting for a change")
        page.goto(f"http://127.0.0.1:{served.port}/page")
        page.wait(f"({OVERLAY}).includes('nothing_of_the_kind')")
        served.save(2)
        page.wait(f"{HEADING} === 'value 2'")
