"""The helper that other tests look at pages with."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import needs_browser, open_page

_PAGE = """<!doctype html><meta charset="utf-8"><title>a page</title>
<input id="field" autofocus><button id="button" onclick="document.title = field.value">set</button>
<p id="scheme"></p>
<script>
  scheme.textContent = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
</script>
"""


@needs_browser
def test_a_page_is_typed_into_clicked_and_seen_and_what_fails_is_told(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(_PAGE)
    with open_page() as page:
        page.size(360, 640, phone=True)
        page.prefer("dark")
        page.goto(file)
        page.wait("document.activeElement === field")
        page.press("h", "o", "t")
        page.click("#button")
        assert page.wait("document.title !== 'a page' && document.title") == "hot"
        assert page.text("#scheme") == "dark"
        page.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
        assert (page.errors, page.urls) == ([], [file.as_uri()])

        file.write_text("<script>console.error('so bad'); undefined_name;</script>")
        page.goto(file)
        first, second = page.errors
        assert first == "so bad"
        assert "undefined_name is not defined" in second
        with pytest.raises(AssertionError, match="nothing_there"):
            page.eval("nothing_there")
