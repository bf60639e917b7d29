"""Says of an import whether the build that it had the last time still holds, with nothing loaded but this.

What the engine has found is written down beside the builds: which folders were asked and how they were, each file that
the build depends on and how that was, and the variables that count. While all of it is as it was, the answer is the
same; else, or where anything is odd, the engine is asked.

Invariant: what is written down was compared with the disk by the engine after it was taken here, and a file that has
just changed is not written down at all. So an edit at any moment shows as a difference.
"""

import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader
from _imp import source_hash

from firehot._rust_places import cache_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    State = tuple[int, int, int, int, int]
    Files = list[tuple[str, State | None]]

_COUNTING = ("CARGO", "RUST", "FIREHOT_RUST_", "CC", "CFLAGS", "PYO3_", "VIRTUAL_ENV", "XDG_CACHE_HOME", "HOME", "PATH")
LIMIT = 400
"""Of more files than so many the engine is asked: it compares them faster, though it has to be loaded."""


class Note:
    """What is written down of one import."""

    def __init__(self, name: str, path: "Sequence[str]", settings: str) -> None:
        """Looks at the folders now: before anybody else does."""
        self._name = name
        variables = [f"{each}={value}" for each, value in sorted(os.environ.items()) if each.startswith(_COUNTING)]
        about = (name, sys.version, sys.executable, sys.prefix, os.getcwd(), settings)
        self._key = (*about, *path, "", *variables)
        self._folders = {entry: _date(entry) for entry in path}
        named = os.environ.get("FIREHOT_RUST_CACHE_DIR") or os.environ.get("FIREHOT_RUST_CACHE") or None
        # Of what importlib checks bytecode by: any other hash is a file to load.
        digest = source_hash(0, chr(0).join(self._key).encode("utf-8", "surrogateescape")).hex()
        self._file = os.path.join(cache_folder(named), "quick", digest)

    def spec(self) -> "ModuleSpec | None":
        """The spec of the build that was found the last time, when all is as it was."""
        try:
            with open(self._file, "rb") as file:
                key, folders, artifact, files = marshal.load(file)
            if key != self._key or folders != self._folders:
                return None
            stat = os.stat
            for path, state in files:
                try:
                    found = stat(path)
                except OSError:
                    if state is not None:
                        return None
                    continue
                if state != (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev):
                    return None
            stat(artifact)
        except Exception:
            # There is none, or it is damaged: it is made again.
            return None
        spec = ModuleSpec(self._name, ExtensionFileLoader(self._name, artifact), origin=artifact)
        spec.has_location = True
        return spec

    def keep(self, artifact: str, place: str, files: "Files") -> None:
        """Writes down what holds now; what can't be written is asked for again."""
        if len(files) > LIMIT or any(_date(entry) != date for entry, date in self._folders.items()):
            return
        folder = place
        while folder != os.path.dirname(folder):
            folder = os.path.dirname(folder)
            # Settings of the project.
            files = [*files, _state(os.path.join(folder, "pyproject.toml"))]
        files = [*files, _state(os.path.join(place, "pyproject.toml")), *map(_state, _markers(place))]
        aside = f"{self._file}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(aside), mode=0o700, exist_ok=True)
            with open(aside, "wb") as file:
                marshal.dump((self._key, self._folders, artifact, files), file)
            os.replace(aside, self._file)
        except (OSError, ValueError):
            return


def _markers(place: str) -> "list[str]":
    return [os.path.join(place, name) for name in (".firehot", ".rustimport", "__init__.py")]


def _state(path: str) -> "tuple[str, State | None]":
    try:
        found = os.stat(path)
    except OSError:
        return path, None
    return path, (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)


def _date(entry: str) -> int:
    try:
        return os.stat(entry or ".").st_mtime_ns
    except OSError:
        return -1
