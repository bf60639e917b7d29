"""What `firehot doctor` looks at besides packages: folders, limits, variables, versions, tools. Changes nothing."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from firehot import __version__, _config, _core, _daemons, _run
from firehot._doctor_finding import Finding
from firehot._surroundings import OWN_INTERPRETER
from firehot.errors import FirehotError

_FILES = 256
"""Descriptors that a process should be allowed: a daemon with four templates and a dozen runs comes to some hundred."""
_MEMORY = 512 << 20
_NEAR = 0.8
"""The part of a limit that is near it."""
_EACH_ITS_TEMPLATE = (
    *("PYTHONHOME", "PYTHONPATH", "PYTHONHASHSEED", "PYTHONOPTIMIZE", "PYTHONDEVMODE", "PYTHONMALLOC", "PYTHONUTF8"),
    *("PYTHONWARNINGS", "PYTHONTRACEMALLOC", "PYTHONFAULTHANDLER", "PYTHONSAFEPATH", "PYTHONNOUSERSITE"),
)


def runtime_folder() -> tuple[dict[str, str] | None, list[Finding]]:
    """Where the project's daemon is, and what is wrong with that folder."""
    try:
        place = _daemons.place()
    except (FirehotError, OSError) as error:
        way_out = "make it yours alone (chmod 700), remove it, or set XDG_RUNTIME_DIR to a folder of yours"
        return None, [Finding("problem", str(error), "without it there is no daemon, and every run is cold", way_out)]
    folder = os.path.dirname(place["socket"])
    way_out = "set XDG_RUNTIME_DIR to a folder of yours on a local disk"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        what = f"files in {folder} can't be written and locked: {error.strerror}"
        return place, [Finding("problem", what, "without that there is no daemon, and every run is cold", way_out)]
    return place, []


def root_without_place() -> str:
    """The project's folder where there is none for its daemon: the working directory has to do."""
    return os.getcwd()


def settings(root: str) -> tuple[_config.Settings | None, list[Finding]]:
    """The project's settings, and what is wrong with them."""
    try:
        return _config.read(Path(root, "pyproject.toml")), []
    except FirehotError as error:
        return None, [Finding("problem", str(error), "no template is built until it is mended", "mend that file")]


def environment() -> list[Finding]:
    """Everything that is no matter of one project."""
    checks: list[Callable[[], Iterator[Finding]]] = [_variables, _files, _memory, _inotify, _versions]
    return [finding for check in checks for finding in check()]


def _variables() -> Iterator[Finding]:
    if _run.is_disabled():
        yield Finding("note", "FIREHOT_DISABLE is set", "every run is cold", "unset FIREHOT_DISABLE")
    for name in OWN_INTERPRETER:
        if os.environ.get(name):
            why = "it is about the start or the end of an interpreter, which a forked run does not have"
            yield Finding("problem", f"{name} is set", why, f"unset {name}, or run python itself")
    given = [name for name in _EACH_ITS_TEMPLATE if os.environ.get(name)]
    if given:
        why = "runs with another value need another template; a shell or an editor without it does not share this one"
        yield Finding("note", f"set here: {', '.join(given)}", why, "set it everywhere, or nowhere")
    locale = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(name))), "")
    encoding = locale.partition("@")[0].partition(".")[2].lower().replace("-", "")
    if locale.lower() not in ("", "c", "posix") and encoding != "utf8":
        why = "runs whose arguments, variables or paths are not ASCII are cold"
        yield Finding("note", f"the locale is {locale}", why, "use one that ends in .UTF-8")


def _files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        what = f"a process may open {soft} files only"
        why = "the daemon, and runs of it, have one for each pipe and socket; when there are none left, runs are cold"
        most = "" if hard == resource.RLIM_INFINITY or hard >= 1024 else f" (at most {hard} without the administrator)"
        yield Finding("problem", what, why, f"ulimit -n 1024{most}, then firehot restart")


def _memory() -> Iterator[Finding]:
    facts = {}
    for line in _text("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        facts[name] = int(value.split()[0]) << 10 if value.split() else 0
    if "MemAvailable" not in facts or "MemTotal" not in facts:
        return
    if facts["MemAvailable"] < min(_MEMORY, facts["MemTotal"] // 10):
        what = f"{facts['MemAvailable'] / 1e6:,.0f} MB of memory are left"
        why = "no process is forked ahead while memory is short, and templates may be killed"
        yield Finding("problem", what, why, "firehot stop --all, or end something else")


def _inotify() -> Iterator[Finding]:
    """Watching takes one watch for each folder, and an instance for each watcher, of what the user may have."""
    used = {"instances": 0, "watches": 0}
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            if folder.stat().st_uid != os.geteuid():
                continue
            names = [fd.name for fd in folder.iterdir() if os.readlink(fd) == "anon_inode:inotify"]
        except OSError:
            continue  # It has ended, or is not ours to look at.
        used["instances"] += len(names)
        used["watches"] += sum(_text(str(folder.parent / "fdinfo" / name)).count("inotify wd:") for name in names)
    for kind, count in used.items():
        limit = _text(f"/proc/sys/fs/inotify/max_user_{kind}").strip()
        if limit.isdigit() and count >= _NEAR * int(limit):
            what = f"{count:,} of {int(limit):,} inotify {kind} are used"
            way_out = f"sudo sysctl fs.inotify.max_user_{kind}={max(4 * int(limit), 1024)}"
            yield Finding("problem", what, "without more, --watch looks at every file again and again", way_out)


def _versions() -> Iterator[Finding]:
    """Clients of different versions end each other's daemon."""
    way_out = "use one installation for each environment; firehot restart"
    with_other = [place for place in _living() if place["python"] == sys.executable and place["firehot"] != __version__]
    for place in with_other:
        what = f"the daemon of {place['root']} is firehot {place['firehot']}, this is {__version__}"
        yield Finding("problem", what, "the next run replaces it, and is cold", way_out)
    found = shutil.which("firehot")
    if found is None:
        return
    try:
        done = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return
    version = done.stdout.split()[-1:] or ["?"]
    if version[0] != __version__:
        what = f"`firehot` in the PATH is {found}, version {version[0]}; this is {__version__}"
        yield Finding("problem", what, "the two have different daemons, and templates of their own", way_out)


def _living() -> list[dict[str, str]]:
    try:
        return _core.client_places()
    except FirehotError:
        return []  # Told with the folder.


def cargo(root: str) -> Iterator[Finding]:
    """Whether the project's Rust extensions can be built."""
    from firehot import _rust_build
    from firehot._rust_settings import from_environment

    try:
        if from_environment().prebuilt:
            return
        extensions, problems = _rust_build.Builder().workshop.survey([root])
    except FirehotError as error:
        yield Finding("problem", str(error), "Rust extensions can't be built", "mend that setting")
        return
    for where, why in problems:
        yield Finding("problem", f"the Rust extension in {where} can't be built", str(why), "firehot rust build")
    if extensions and not _has_cargo():
        what = f"the project has Rust extensions ({extensions[0].module}), and there is no cargo"
        yield Finding("problem", what, "an edit of them can't be built", "install Rust from rustup.rs")


def _has_cargo() -> bool:
    """Where the engine looks: see `src/rust_ext/cargo.rs`."""
    home = os.path.expanduser("~")
    folders = [os.path.join(os.environ.get("CARGO_HOME") or os.path.join(home, ".cargo"), "bin"), f"{home}/.cargo/bin"]
    path = os.pathsep.join([os.environ.get("PATH", ""), *folders])
    return bool(os.environ.get("CARGO")) or shutil.which("cargo", path=path) is not None


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
