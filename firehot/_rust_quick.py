"""What the engine has found out, written down beside the builds, so that the next process need not load it.

A note holds an answer with all that it depends on: which folders were asked and how they were, each file and how that
was, and the variables that count. While all of it is as it was, the answer is the same; else, or where anything is odd,
the engine is asked.

Invariant: what is written down was compared with the disk by the engine after its state was taken, and a file that has
just changed is not written down at all. So an edit at any moment shows as a difference.
"""

import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader
from _imp import source_hash
from time import time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from firehot import _core
    from firehot._rust_build import Builder

    Answer = str | dict[str, bool] | None
    State = tuple[int, int, int, int, int]
    Files = list[tuple[str, State | None]]

_COUNTING = (b"CARGO", b"RUST", b"FIREHOT_RUST_", b"CC", b"PYO3_", b"VIRTUAL_ENV", b"XDG_CACHE_HOME", b"HOME", b"PATH")
# A file system's clock ticks every 4 ms (ext4 with 250 Hz) to 10 ms; FAT's is not for source files.
_YOUNG = 20_000_000
_MANY = 400
"""Of more files than so many the engine is asked whether they are as they were: it looks faster, once it is loaded."""


class Note:
    """One answer. It is an import's (the published file) or that of a question like which projects are installed."""

    def __init__(self, *about: str, folders: "Iterable[str]", name: str = "") -> None:
        """Looks at the folders now: before anybody else does. With a name, only what is called so counts there."""
        self._name = name.rpartition(".")[2]
        self._seen: dict[str, list[str]] = {}
        self._folders = {entry: _date(entry) for entry in folders}
        environ = os.environb
        variables = sorted([name + b"=" + environ[name] for name in environ if name.startswith(_COUNTING)])
        texts = (*about, sys.version, sys.executable, sys.prefix, os.getcwd(), *self._folders)
        self._key = b"\0".join([*map(os.fsencode, texts), *variables])
        named = os.environ.get("FIREHOT_RUST_CACHE_DIR") or os.environ.get("FIREHOT_RUST_CACHE") or None
        # Of what importlib checks bytecode by: any other hash is a file to load.
        digest = source_hash(0, self._key).hex()
        self._file = os.path.join(cache_folder(named), "quick", digest)

    def answer(self) -> "Answer":
        """What was found the last time, when all is as it was; else `None`."""
        try:
            found = self._read()
        except Exception:
            # There is none, it is damaged, or a file is gone: it is made again.
            found = None
        if found is None:
            self._seen = {entry: self._called_so(entry) for entry in self._folders}
        return found

    def _read(self) -> "Answer":
        with open(self._file, "rb", 0) as file:
            key, folders, answer, there, absent, manifest = marshal.loads(file.read())
        if key != self._key:
            return None
        for entry, (date, names) in folders.items():
            if date != self._folders[entry] and (not self._name or names != self._called_so(entry)):
                return None
        stat = os.stat
        for path, state in there:
            found = stat(path)
            if state != (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev):
                return None
        access = os.access
        for path in absent:
            if access(path, 0):
                return None
        if manifest is not None:
            from firehot import _core

            answer = _core.unchanged_build(manifest)
        elif type(answer) is str:
            # A published file is never written to again.
            stat(answer)
        kept: Answer = answer
        return kept

    def _called_so(self, entry: str) -> list[str]:
        """What an import of the name may mean in a folder."""
        if not self._name:
            return []
        try:
            return sorted(each for each in os.listdir(entry or ".") if each.partition(".")[0] == self._name)
        except OSError:
            return []

    def keep(self, answer: "Answer", files: "Files", manifest: "str | None" = None) -> None:
        """Writes down what holds now; what can't be written is asked for again.

        Args:
            answer: What it is.
            files: What it depends on.
            manifest: Of a build that depends on more: it is asked for the answer.
        """
        there = [(path, state) for path, state in files if state is not None]
        absent = [path for path, state in files if state is None]
        now = time_ns()
        if any(now - max(state[1:3]) < _YOUNG for _, state in there):
            return
        folders = {}
        for entry, date in self._folders.items():
            names = self._called_so(entry)
            is_sure = _date(entry) == date and now - date > _YOUNG
            if not is_sure and (not self._name or names != self._seen.get(entry)):
                return
            # One that others have just written to is looked into the next time.
            folders[entry] = (date if is_sure else None, names)
        aside = f"{self._file}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(aside), mode=0o700, exist_ok=True)
            with open(aside, "wb") as file:
                marshal.dump((self._key, folders, answer, there, absent, manifest), file)
            os.replace(aside, self._file)
        except (OSError, ValueError):
            return

    def keep_build(self, artifact: str, extension: "_core.Extension", builder: "Builder") -> None:
        """Writes down the build of an import, unless the next one has to ask anyhow."""
        recorded = builder.recorded(extension)
        if recorded is None:
            return
        manifest, files = recorded
        place = str(extension.place)
        folder = place
        deciding = [os.path.join(place, name) for name in (".firehot", ".rustimport", "__init__.py", "pyproject.toml")]
        while folder != os.path.dirname(folder):
            folder = os.path.dirname(folder)
            # Settings of the project.
            deciding.append(os.path.join(folder, "pyproject.toml"))
        for entry, names in self._seen.items():
            if self._name in names:
                # What is in a folder does not show in the folder that it is in.
                deciding += [os.path.join(entry, self._name, each) for each in ("__init__.py", "Cargo.toml")]
        states = [_state(path) for path in deciding]
        if files is None or len(files) > _MANY:
            self.keep(None, states, manifest)
        else:
            self.keep(artifact, [*files, *states])


def spec_of_build(name: str, artifact: str) -> "ModuleSpec":
    """The spec of a module whose published file is known."""
    spec = ModuleSpec(name, ExtensionFileLoader(name, artifact), origin=artifact)
    spec.has_location = True
    return spec


def venv() -> "str | None":
    """The virtual environment that this process works in, in an embedding host the one on its path."""
    if sys.prefix != sys.base_prefix:
        return sys.prefix
    named = os.environ.get("VIRTUAL_ENV")
    if named and os.path.isfile(os.path.join(named, "pyvenv.cfg")):
        return named
    for entry in sys.path:
        if type(entry) is not str:
            continue
        # lib/python3.11/site-packages
        root = os.path.dirname(os.path.dirname(os.path.dirname(entry)))
        if entry.endswith("site-packages") and os.path.isfile(os.path.join(root, "pyvenv.cfg")):
            return root
    return None


def cache_folder(named: "str | None" = None) -> str:
    """Where builds are kept: where a setting says, in the virtual environment, or in the user's cache folder.

    Raises:
        RustBuildError: There is no home.
    """
    if named is not None:
        return os.path.abspath(named)
    inside = venv()
    if inside is not None and os.access(inside, os.W_OK):
        return os.path.join(inside, ".firehot-rust")
    from firehot import _cache

    users = _cache.folder()
    if users is None:
        from firehot.errors import RustBuildError

        raise RustBuildError("there is no home to keep builds in: set FIREHOT_RUST_CACHE to a folder")
    return os.path.join(users, "rust")


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
