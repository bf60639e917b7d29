"""Asks the engine for builds: for which interpreter, with which settings, on what screen, now or on a thread."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from firehot import _core
from firehot._rust_quick import cache_folder, venv
from firehot._rust_settings import Settings, effective, from_environment
from firehot.errors import RustBuildError

Files = list[tuple[str, "tuple[int, int, int, int, int] | None"]]
Choose = Callable[[str, Path], "Settings | None"]


class Builder:
    """Builds for this interpreter. Safe to use from several threads."""

    def __init__(
        self, settings: Settings | None = None, *, background: bool = False, choose: Choose | None = None
    ) -> None:
        """Loads nothing yet."""
        self._given = settings or Settings()
        self._background = background
        self._choose = choose
        self._workshop: _core.Workshop | None = None
        self._lock = threading.Lock()
        self._running: dict[str, threading.Thread] = {}
        self._failed: dict[str, RustBuildError] = {}
        self._told: dict[str, str] = {}

    @property
    def workshop(self) -> _core.Workshop:
        """The engine's side."""
        if self._workshop is None:
            self._workshop = _core.Workshop(interpreter(), cache_folder(from_environment().over(self._given).cache_dir))
        return self._workshop

    def find(self, name: str, path: Sequence[str]) -> _core.Extension | None:
        """The extension that an import of `name` means, if it is one."""
        return self.workshop.find(name, [os.path.abspath(entry) for entry in path if type(entry) is str])

    def reasons(self, name: str, path: Sequence[str]) -> list[str]:
        """Why a Rust source that is there is not imported."""
        return self.workshop.reasons(name, [os.path.abspath(entry) for entry in path if type(entry) is str])

    def installed(self, sites: Sequence[str]) -> list[_core.Extension]:
        """Projects that are installed editable."""
        return self.workshop.installed(list(sites))

    def settings(self, extension: _core.Extension) -> Settings:
        """What counts for one extension."""
        chosen = self._choose(extension.module, Path(extension.place)) if self._choose is not None else None
        return effective(extension, self._given, chosen)

    def artifact(self, extension: _core.Extension, *, is_reload: bool = False) -> str:
        """The file to load: the newest build, made now where it is stale.

        Raises:
            RustBuildError: It does not build, and nothing else may be used.
        """
        settings = self.settings(extension)
        if settings.prebuilt:
            return self._prebuilt(extension, settings)
        state, found, _ = self.workshop.check(extension, settings.for_engine())
        if state == "fresh" and found is not None and not settings.force:
            self._failed.pop(extension.module, None)
            self._told.pop(extension.module, None)
            return str(found)
        if self._background and found is not None:
            return self._later(extension, settings, str(found), is_reload=is_reload)
        try:
            return self.build(extension, settings)
        except RustBuildError as error:
            if settings.on_build_error != "keep" or found is None:
                raise
            tell_kept(error)
            return str(found)

    def build(self, extension: _core.Extension, settings: Settings | None = None) -> str:
        """Builds what is stale, and says where it is.

        Raises:
            RustBuildError: It does not build.
        """
        settings = settings or self.settings(extension)
        artifact, _, _ = self.workshop.build(extension, settings.for_engine(), show, terminal_width())
        return str(artifact)

    def recorded(self, extension: _core.Extension) -> tuple[str, Files | None] | None:
        """Manifest and files of the last build, for whom it may be written down; `None` where it may not."""
        settings = self.settings(extension)
        if settings.prebuilt or settings.force:
            return None
        state, _, _ = self.workshop.check(extension, settings.for_engine())
        return self.workshop.recorded(extension, settings.for_engine()) if state == "fresh" else None

    def _prebuilt(self, extension: _core.Extension, settings: Settings) -> str:
        found = self.workshop.published(extension, settings.for_engine())
        if found is None:
            raise RustBuildError(
                f"{extension.module} was never built for this interpreter, and FIREHOT_RUST_PREBUILT forbids it now: "
                f"run `firehot rust build` for {extension.place} where there is a toolchain "
                f"(looked into {self.workshop.cache})",
                extension.module,
                extension.place,
            )
        return str(found)

    def _later(self, extension: _core.Extension, settings: Settings, last: str, *, is_reload: bool) -> str:
        """The last build, while a thread makes the next. A reload tells how one has failed; of the same failure, once.

        It is asked for again all the same: what mends it may be a file that only the engine knows of.
        """
        name = extension.module

        def make() -> None:
            try:
                self.build(extension, settings)
                self._failed.pop(name, None)
            except RustBuildError as error:
                self._failed[name] = error

        with self._lock:
            error = self._failed.pop(name, None) if is_reload else None
            running = self._running.get(name)
            is_news = error is not None and self._told.get(name) != str(error)
            if not is_news and (running is None or not running.is_alive()):
                thread = threading.Thread(target=make, name=f"firehot-rust-{name}", daemon=True)
                self._running[name] = thread
                thread.start()
        if error is not None and is_news:
            self._told[name] = str(error)
            if settings.on_build_error != "keep":
                raise error
            tell_kept(error)
        return last


def tell_kept(error: RustBuildError) -> None:
    """Says why an older build goes on; what rustc says was shown when it said it."""
    text = str(error).partition("\n")[0] if error.diagnostics else str(error)
    show(f"firehot: {text}\nfirehot: going on with the last build that was good\n".encode())


def interpreter() -> dict[str, object]:
    """This interpreter; in a host that embeds Python, the one that its library belongs to."""
    import sysconfig

    return {
        "executable": _executable(),
        "suffix": sysconfig.get_config_var("EXT_SUFFIX") or ".so",
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "venv": venv(),
    }


def _executable() -> str:
    """An interpreter for pyo3's build script to run; in an embedding host `sys.executable` is none, or the host."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    inside = venv()
    candidates = [
        sys.executable if os.path.basename(sys.executable or "").lower().startswith(("python", "pypy")) else "",
        os.path.join(inside, "bin", "python") if inside else "",
        os.path.join(sys.base_prefix, "bin", version),
        os.path.join(sys.base_exec_prefix, "bin", "python3"),
    ]
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return os.path.abspath(candidate)
    raise RustBuildError(
        f"no interpreter was found that belongs to this process ({sys.base_prefix}): pyo3 asks it how to build; "
        "set PYO3_PYTHON to one of the same version"
    )


def terminal_width() -> int | None:
    """Columns of the terminal that stderr is; `None` where it is none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else None
    except (AttributeError, OSError, ValueError):
        return None


def show(text: bytes) -> None:
    """Shows what cargo says where this process shows errors: a terminal, a notebook's cell."""
    stream = sys.stderr
    if stream is None:
        return
    raw = getattr(stream, "buffer", None)
    if raw is not None:
        stream.flush()
        raw.write(text)
        raw.flush()
    else:
        stream.write(text.decode("utf-8", "replace"))
        stream.flush()
