"""Which tests a change can reach: by the import graph, with those first that have failed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from firehot import _core, _pytest_config, _targets, _test_targets, context
from firehot._request import Request
from firehot.errors import FirehotError

_LAST_FAILED = ".pytest_cache/v/cache/lastfailed"


class Tests:
    """The tests of a command line, and what they import."""

    def __init__(self, request: dict[str, Any], words: Sequence[str], root: str) -> None:
        """Reads what imports what, as it is now."""
        self._words = list(words)
        self._cwd = os.getcwd()
        self._root = root
        self._request = Request(
            kind=request["kind"],
            target=request["target"],
            code=b"",
            args=tuple(words),
            options=(),
            words=(),
            executable=sys.executable,
            cwd=self._cwd,
            environ=dict(os.environ),
            path=tuple(request["path"]),
            header={"asked": "pytest"},
            is_ascii=False,
        )
        self._reached = self._graph()

    def choose(self, changed: list[Path]) -> tuple[list[str] | None, str]:
        """The words for pytest after a change, `None` when no test is concerned, and why these."""
        if any(path.suffix != ".py" or path.name == "conftest.py" for path in changed):
            return self._words, "all tests, since configuration has changed"
        before, self._reached = self._reached, self._graph()
        if before is None or self._reached is None:
            return self._words, "all tests, since it can't be told which import that"
        paths = set(map(str, changed))
        affected = [
            test for test, files in self._reached.items() if not paths.isdisjoint(files | before.get(test, set()))
        ]
        failed = [name for name in self._failed() if name.partition("::")[0] not in affected]
        chosen = [*failed, *self._named(affected)]
        if not chosen:
            return None, "no test imports that"
        counts = [f"{len(failed)} that failed"] if failed else []
        counts += [f"{len(affected)} of {len(self._reached)} test files"] if affected else []
        options = [word for word in self._words if word not in self._positional()]
        first = [] if "--ff" in options or "--failed-first" in options else ["--failed-first"]
        return [*options, *first, *chosen], " and ".join(counts)

    def _positional(self) -> list[str]:
        return list(_test_targets.positional(self._words, self._cwd))

    def _named(self, files: list[str]) -> Iterator[str]:
        """Of these files what the command line has asked for."""
        asked = self._positional()
        for file in files:
            parts = [word for word in asked if "::" in word and self._place(word) == file]
            whole = not asked or any(Path(file).is_relative_to(self._place(word)) for word in asked if "::" not in word)
            yield from [os.path.relpath(file, self._cwd)] if whole else parts

    def _place(self, word: str) -> str:
        return os.path.normpath(os.path.join(self._cwd, word.partition("::")[0]))

    def _failed(self) -> list[str]:
        """The tests that have failed last, each with the path of its file."""
        found = _pytest_config.find(self._cwd, self._root)
        folders = [os.path.dirname(found)] if found is not None else [self._cwd, self._root]
        for folder in folders:
            try:
                names = json.loads(Path(folder, _LAST_FAILED).read_bytes())
            except (OSError, ValueError):
                continue
            named = [os.path.join(folder, name) for name in names]
            files = {name: name.partition("::")[0] for name in named}
            asked = {name for file in set(files.values()) for name in self._named([file]) if os.path.isfile(file)}
            return [name for name in named if os.path.relpath(files[name], self._cwd) in asked]
        return []

    def _graph(self) -> dict[str, set[str]] | None:
        """Each test file with all files of the project that it comes to; `None` where nobody knows."""
        path = [*_targets.first_entry(self._request), *self._request.path]
        try:
            tests = _test_targets.additions(self._request, self._root, path)
            entries = [os.path.join(self._cwd, entry) for entry in [*tests["folders"], *path]]
            links = _core.import_links(
                {
                    "package": _targets.MAIN,
                    "locations": [__file__],
                    "own_folders": [self._root],
                    "only_reached": True,
                    "modules": tests["modules"],
                    "first_party": [],
                    "ignored": [],
                    "preload": [],
                    "watched": [],
                    **context.interpreter(entries),
                }
            )
        except (FirehotError, OSError):
            return None
        named = {str(file): [str(target) for target in targets] for file, targets in links}
        files = [file for _, file in tests["modules"]]
        plugins = [file for file in files if file not in tests["tests"] and os.path.basename(file) != "conftest.py"]
        return {test: _closure([test, *_around(test, files), *plugins], named) for test in tests["tests"]}


def _around(test: str, files: list[str]) -> list[str]:
    """The conftest.py files that a test sees."""
    folder = Path(test).parent
    conftests = (file for file in files if os.path.basename(file) == "conftest.py")
    return [file for file in conftests if folder.is_relative_to(Path(file).parent)]


def _closure(files: list[str], links: dict[str, list[str]]) -> set[str]:
    found: set[str] = set()
    left = list(files)
    while left:
        file = left.pop()
        if file not in found:
            found.add(file)
            left += links.get(file, ())
    return found
