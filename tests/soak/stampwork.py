"""Ways of changing a module on the disk, and what a child finds in each module. Standard library only."""

from __future__ import annotations

import importlib
import itertools
import mmap
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

MODULES = ("dep_plain", "dep_link", "dep_folder", "dep_hard")

# Writes what it is told in one line, and says when it is done.
WRITER = """
import sys
path = sys.argv[1]
for line in sys.stdin:
    with open(path, "w") as file:
        file.write(line.strip())
    print("done", flush=True)
"""


def look() -> tuple[int, dict[str, int | None]]:
    """The template, and the value in each module; None for one that is not there."""
    found: dict[str, int | None] = {}
    for name in MODULES:
        try:
            found[name] = importlib.import_module(name).VALUE
        except ModuleNotFoundError:
            found[name] = None
    return os.getppid(), found


def source(number: int) -> str:
    return f"VALUE = {number}"


class Modules:
    """Four modules in a folder; each step changes one of them, in one of many ways."""

    def __init__(self, site: Path, aside: Path, moments: random.Random) -> None:
        self.plain = site / "dep_plain.py"
        self.link = site / "dep_link.py"
        self.folder = site / "dep_folder"
        self.hard = site / "dep_hard.py"
        self._aside = aside
        self._moments = moments
        # All of one length, so that no size tells.
        self._numbers = itertools.count(1_000_000)
        self.values: dict[str, int | None] = {}
        aside.mkdir()
        for way in (self.in_place, self.link_elsewhere, self.another_folder, self.by_a_late_link):
            way()
        self._writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(self.plain)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ways: tuple[Callable[[], None], ...] = (
            *(self.in_place, self.by_one_byte, self.replaced, self.mapped, self.by_another_process),
            *(self.removed, self.link_elsewhere, self.target_of_the_link, self.another_folder),
            *(self.by_the_other_name, self.by_a_late_link),
        )

    def change(self) -> str:
        """One step; its name."""
        way = self._moments.choice(self.ways)
        way()
        return way.__name__

    def close(self) -> None:
        self._writer.communicate()

    def _next(self, module: str) -> int:
        self.values[module] = number = next(self._numbers)
        return number

    # -- a plain file --------------------------------------------------------------------------------

    def in_place(self) -> None:
        self.plain.write_text(source(self._next("dep_plain")))

    def by_one_byte(self) -> None:
        """Appended, with its date put back."""
        if not self.plain.exists():
            self.in_place()
            return
        status = self.plain.stat()
        with self.plain.open("a") as file:
            file.write("0")
        os.utime(self.plain, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.values["dep_plain"] = int(self.plain.read_text().split()[-1])

    def replaced(self) -> None:
        fresh = self._aside / "fresh"
        fresh.write_text(source(self._next("dep_plain")))
        os.utime(fresh, (10**9, 10**9))
        os.replace(fresh, self.plain)

    def mapped(self) -> None:
        if not self.plain.exists():
            self.in_place()
            return
        text = source(self._next("dep_plain")).encode()
        os.truncate(self.plain, len(text))
        with self.plain.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            memory[:] = text

    def by_another_process(self) -> None:
        assert self._writer.stdin is not None and self._writer.stdout is not None
        self._writer.stdin.write(source(self._next("dep_plain")) + "\n")
        self._writer.stdin.flush()
        assert self._writer.stdout.readline() == "done\n"

    def removed(self) -> None:
        if not self.plain.exists():
            self.in_place()
            return
        self.plain.unlink()
        self.values["dep_plain"] = None

    # -- links and folders ---------------------------------------------------------------------------

    def link_elsewhere(self) -> None:
        target = self._aside / f"link{next(self._numbers)}" / "module.py"
        target.parent.mkdir()
        target.write_text(source(self._next("dep_link")))
        old = self.link.readlink().parent if self.link.is_symlink() else None
        fresh = self._aside / "link"
        fresh.symlink_to(target)
        os.replace(fresh, self.link)
        if old is not None:
            shutil.rmtree(old)

    def target_of_the_link(self) -> None:
        """The folder that the link leads through is another one."""
        folder = self.link.readlink().parent
        fresh, old = self._aside / "fresh", self._aside / "old"
        fresh.mkdir()
        (fresh / "module.py").write_text(source(self._next("dep_link")))
        folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old)

    def another_folder(self) -> None:
        fresh, old = self._aside / "fresh", self._aside / "old"
        fresh.mkdir()
        (fresh / "__init__.py").write_text(source(self._next("dep_folder")))
        if self.folder.exists():
            self.folder.rename(old)
        fresh.rename(self.folder)
        shutil.rmtree(old, ignore_errors=True)

    # -- hard links ----------------------------------------------------------------------------------

    def by_the_other_name(self) -> None:
        """Written through a name that it had already when it was imported."""
        (self._aside / "hard").write_text(source(self._next("dep_hard")))

    def by_a_late_link(self) -> None:
        """Written through a name that it gets now, in a folder of which nobody knows."""
        if not self.hard.exists():
            self.hard.write_text("VALUE = 0")
            os.link(self.hard, self._aside / "hard")
        folder = self._aside / f"late{next(self._numbers)}"
        folder.mkdir()
        os.link(self.hard, folder / "late")
        (folder / "late").write_text(source(self._next("dep_hard")))
        shutil.rmtree(folder)
