"""How Rust extensions are built: what code, variables and `[tool.firehot.rust]` say, and which of these counts."""

from __future__ import annotations

import os
from pathlib import Path

from firehot.errors import FirehotError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from firehot import _core

_SWITCHES = ("release", "all_features", "no_default_features", "force", "prebuilt")
_LISTS = ("features", "cargo_arguments")
_TEXTS = ("profile", "target_dir", "cargo", "cache_dir", "on_build_error")
_NUMBERS = ("jobs", "lock_timeout")
_ALL = (*_SWITCHES, *_LISTS, *_TEXTS, *_NUMBERS)
_ON_ERROR = ("raise", "keep")
_YES = ("1", "true", "yes", "on")
_NO = ("", "0", "false", "no", "off")


class Settings:
    """How Rust extensions are built. The default is what `cargo build` does. Never changes once it is made.

    A variable `FIREHOT_RUST_...` named after a setting counts before everything else (lists with commas, switches with
    1 or 0). Then come what the code gives for one crate (`settings_for` of `install`),
    `[tool.firehot.rust.crates.NAME]` and `[tool.firehot.rust]` of the nearest pyproject.toml above it, and what
    `install` was given.

    Attributes:
        release: Optimised, cargo's profile `release`.
        profile: Any other profile of cargo.
        features: Features to switch on.
        all_features: All features.
        no_default_features: Not the default ones.
        target_dir: Where cargo works; a folder in the cache by default, never the project's own `target`.
        cargo_arguments: More arguments for cargo.
        cargo: The cargo to use; by default the first of `CARGO`, `PATH`, `CARGO_HOME/bin` and `~/.cargo/bin`.
        cache_dir: Where builds are kept; by default in the virtual environment, else in the user's cache folder.
        jobs: How many jobs cargo runs at once.
        lock_timeout: Seconds to wait for another process that builds the same.
        force: Build though nothing has changed.
        prebuilt: Never build; needs no toolchain.
        on_build_error: `"raise"` a `RustBuildError`, or `"keep"` the last good build and print why.

    Raises:
        TypeError: There is no such setting, or it is something else.
        ValueError: A text that is none of those that are possible.

    Example:
        >>> from firehot.rust import Settings
        >>> Settings(release=True, features=["simd"])
        Settings(release=True, features=('simd',))
    """

    __slots__ = ("_values",)

    def __init__(self, **values: Any) -> None:
        """Takes settings by name."""
        self._values = {name: _checked(name, value) for name, value in values.items() if value is not None}

    def __getattr__(self, name: str) -> Any:
        """One setting."""
        if name.startswith("_") or name not in _ALL:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return self._values.get(name, _default(name))

    def __repr__(self) -> str:
        """What differs from the default."""
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def __eq__(self, other: object) -> bool:
        """Whether both say the same."""
        return isinstance(other, Settings) and all(getattr(self, name) == getattr(other, name) for name in _ALL)

    def __hash__(self) -> int:
        """By all values."""
        return hash(tuple(getattr(self, name) for name in _ALL))

    def over(self, below: Settings) -> Settings:
        """These, and where they say nothing those of `below`."""
        made = Settings()
        made._values = {**below._values, **self._values}
        return made

    @property
    def is_plain(self) -> bool:
        """Whether an import that finds nothing changed has nothing to do, and builds are kept where they are mostly."""
        return not (self.force or self.prebuilt or self.cache_dir)

    def for_engine(self) -> dict[str, Any]:
        """As `_core.Workshop` takes them."""
        taken = ("prebuilt", "on_build_error", "cache_dir")
        return {name: getattr(self, name) for name in _ALL if name not in taken}


def effective(extension: _core.Extension, given: Settings, chosen: Settings | None = None) -> Settings:
    """What counts for one extension: `given` is said for all of them, `chosen` for this one.

    Raises:
        FirehotError: A variable or a pyproject.toml holds something that is no setting.
    """
    below = _from_project(extension).over(given)
    return from_environment().over(chosen.over(below) if chosen is not None else below)


def from_environment() -> Settings:
    """What variables say.

    Raises:
        FirehotError: One of them is no such setting.
    """
    values: dict[str, Any] = {}
    for name in _ALL:
        variable = f"FIREHOT_RUST_{name.upper()}"
        text = os.environ.get(variable)
        if text is None or not text.strip():
            continue
        try:
            values[name] = _from_text(name, text.strip())
        except ValueError as error:
            raise FirehotError(f"{variable} is {text!r}: {error}") from None
    if (folder := os.environ.get("FIREHOT_RUST_CACHE")) and "cache_dir" not in values:
        values["cache_dir"] = folder
    return Settings(**values)


def _from_text(name: str, text: str) -> Any:
    if name in _SWITCHES:
        if text.lower() not in (*_YES, *_NO):
            raise ValueError("1 or 0 is meant")
        return text.lower() in _YES
    if name in _LISTS:
        return [part.strip() for part in text.split(",") if part.strip()]
    if name in _NUMBERS:
        return int(text) if name == "jobs" else float(text)
    return _checked(name, text)


_READ: dict[str, tuple[int, dict[str, Any]]] = {}


def _from_project(extension: _core.Extension) -> Settings:
    place = Path(extension.place)
    for folder in (place, *place.parents):
        file = folder / "pyproject.toml"
        try:
            mtime = os.stat(file).st_mtime_ns
        except OSError:
            continue
        known = _READ.get(str(file))
        if known is None or known[0] != mtime:
            known = _READ[str(file)] = (mtime, _table(file))
        table = dict(known[1])
        crates = table.pop("crates", {})
        own = crates.get(extension.module, {}) if isinstance(crates, dict) else {}
        try:
            return Settings(**own).over(Settings(**table))
        except (TypeError, ValueError) as error:
            raise FirehotError(f"{file}: tool.firehot.rust: {error}") from None
    return Settings()


def _table(file: Path) -> dict[str, Any]:
    content = file.read_bytes()
    if b"firehot" not in content:
        return {}
    from firehot._toml import tomllib

    try:
        table = tomllib.loads(content.decode("utf-8")).get("tool", {}).get("firehot", {}).get("rust", {})
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FirehotError(f"{file} is no valid TOML: {error}") from error
    if not isinstance(table, dict):
        raise FirehotError(f"{file}: tool.firehot.rust is a table, not {table!r}")
    return table


def _default(name: str) -> Any:
    if name in _SWITCHES:
        return False
    if name in _LISTS:
        return ()
    return {"on_build_error": "raise", "lock_timeout": 600.0}.get(name)


def _checked(name: str, value: Any) -> Any:
    if name in _SWITCHES:
        good: bool = isinstance(value, bool)
    elif name in _LISTS:
        good = not isinstance(value, str) and all(isinstance(item, str) for item in value)
        value = tuple(value) if good else value
    elif name in _NUMBERS:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    elif name in _TEXTS:
        good = isinstance(value, (str, os.PathLike))
        value = os.fspath(value) if good else value
    else:
        raise TypeError(f"{name} is no setting; known are {', '.join(_ALL)}")
    if not good:
        kind = "true or false" if name in _SWITCHES else "a list of texts" if name in _LISTS else "something else"
        raise TypeError(f"{name} is {kind}, not {value!r}")
    if name == "on_build_error" and value not in _ON_ERROR:
        raise ValueError(f'on_build_error is "raise" or "keep", not {value!r}')
    return value
