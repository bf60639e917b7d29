"""One marked block in sitecustomize.py (or usercustomize.py), so that each start finds Rust extensions.

Invariant: without the block the file is byte for byte what it was before it. The block's first line says what came with
it: the file itself, or an end for a last line that had none.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import site
import subprocess
import sys
import sysconfig
from importlib.util import cache_from_source
from pathlib import Path
from tempfile import mkstemp
from typing import Any

from firehot.errors import FirehotError

_MARK = b"# >>> firehot rust site"
_BLOCK = re.compile(
    rb"^# >>> firehot rust site \((?P<came>[a-z ]+)\)\r?\n.*?^# <<< firehot rust site\r?\n", re.MULTILINE | re.DOTALL
)
_NEW_FILE = b"with the file"
_NEW_LINE = b"with a line break"
_NOTHING = b"alone"
# A firehot that is gone, or half gone, breaks no interpreter.
_TEXT = b"""\
# >>> firehot rust site (%s)
# Made by "firehot rust site install"; "firehot rust site uninstall" takes it out again.
try:
    import firehot.rust as _firehot_rust
    _firehot_rust.install()
    del _firehot_rust
except ImportError:
    pass
# <<< firehot rust site
"""
_QUESTION = """
import sys
names = {type(finder).__module__ for finder in sys.meta_path}
files = [getattr(sys.modules.get(name), "__file__", None) for name in ("sitecustomize", "usercustomize")]
print()
print(repr(("firehot._rust_finder" in names, *files)))
"""


def act(action: str, *, is_user: bool) -> dict[str, Any]:
    """Does `info`, `install` or `uninstall`, and says how it stands then.

    Raises:
        FirehotError: The interpreter would not run the block, and the file was left as it was; or the block is damaged.
        OSError: The file can't be written.
    """
    file = _file(is_user=is_user)
    before = _read(file)
    if action == "install":
        if is_user and not site.ENABLE_USER_SITE:
            reason = "this interpreter does not use the user's packages; in a virtual environment leave out --user"
            raise FirehotError(f"{file} was left as it was: {reason}")
        _write(file, before, _with_block(_without_block(file, before)))
        try:
            _check(file, is_user=is_user)
        except FirehotError:
            _write(file, _read(file), before)
            raise
    elif action == "uninstall":
        _write(file, before, _without_block(file, before))
    now = _read(file)
    is_active, _, _ = _ask(is_user=is_user)
    return {
        "file": str(file),
        "user": is_user,
        "installed": now is not None and _BLOCK.search(now) is not None,
        "active": is_active,
        "changed": now != before,
    }


def words(found: dict[str, Any]) -> str:
    """What `act` has found, for people."""
    text = f"{found['file']}: {'the block is there' if found['installed'] else 'no block'}"
    if found["changed"]:
        text += " now"
    finds = "finds" if found["active"] else "does not find"
    return f"{text}\na new {sys.executable or 'interpreter'} {finds} Rust extensions from its start"


def _file(*, is_user: bool) -> Path:
    if not is_user:
        return Path(sysconfig.get_path("purelib")) / "sitecustomize.py"
    folder = site.getusersitepackages()
    return Path(folder) / "usercustomize.py"


def _with_block(content: bytes | None) -> bytes:
    if content is None:
        return _TEXT % _NEW_FILE
    if content and not content.endswith(b"\n"):
        return content + b"\n" + _TEXT % _NEW_LINE
    return content + _TEXT % _NOTHING


def _without_block(file: Path, content: bytes | None) -> bytes | None:
    while content is not None and (found := _BLOCK.search(content)) is not None:
        before, after = content[: found.start()], content[found.end() :]
        # Whoever has written on below the block needs the line break now.
        if found["came"] == _NEW_LINE and not after:
            before = before[:-1]
        content = before + after
        if found["came"] == _NEW_FILE and not content:
            content = None
    if content is not None and _MARK in content:
        raise FirehotError(f"{file} holds a block of firehot that was edited: take it out by hand")
    return content


def _check(file: Path, *, is_user: bool) -> None:
    """Starts an interpreter: other files of the name come first, a virtual environment may not read the user's."""
    if not sys.executable:
        return
    is_active, read, said = _ask(is_user=is_user)
    if read is None:
        reason = "a new interpreter reads no such file" + (f", or fails in it: {said}" if said else "")
    elif os.path.realpath(read) != os.path.realpath(file):
        reason = f"a new interpreter reads {read} in its place"
    elif not is_active:
        reason = "a new interpreter can't import firehot while it reads that file"
    else:
        return
    raise FirehotError(f"{file} was left as it was: {reason}")


def _ask(*, is_user: bool) -> tuple[bool, str | None, str]:
    """Whether a new interpreter has the finder, which file of the name it has read, and its last complaint."""
    if not sys.executable:
        return False, None, ""
    command = [sys.executable, "-c", _QUESTION]
    finished = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
    lines = finished.stdout.decode("utf-8", "replace").splitlines()
    complaint = finished.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    if finished.returncode or not lines:
        raise FirehotError(f"{sys.executable} does not start: {complaint}")
    is_active, of_site, of_user = ast.literal_eval(lines[-1])
    return is_active, of_user if is_user else of_site, complaint


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _write(file: Path, before: bytes | None, content: bytes | None) -> None:
    """Replaces it in one step; a link stays one."""
    if content == before:
        return
    file = Path(os.path.realpath(file))
    # Python takes bytecode of the same second and size for that of this file.
    with contextlib.suppress(OSError, NotImplementedError):
        os.unlink(cache_from_source(str(file)))
    if content is None:
        file.unlink()
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    number, aside = mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(number, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(number)
            _take_over(file, number)
        os.replace(aside, file)
    except BaseException:
        os.unlink(aside)
        raise


def _take_over(file: Path, number: int) -> None:
    """Owner and mode of the file of before; of a new one, what a new file has."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        mask = os.umask(0o077)
        os.umask(mask)
        os.fchmod(number, 0o666 & ~mask)
        return
    os.fchmod(number, found.st_mode & 0o7777)
    if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(PermissionError):
            os.fchown(number, found.st_uid, found.st_gid)
