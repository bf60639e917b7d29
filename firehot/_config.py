"""`[tool.firehot]` of the nearest pyproject.toml above a package."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firehot._toml import tomllib
from firehot.errors import FirehotError

_LISTS = ("preload", "ignored_modules", "first_party")
_SWITCHES = ("learn", "warm_first_party", "watch")
_SECONDS = ("import_timeout", "idle_timeout")
_KNOWN = (*_LISTS, *_SECONDS, "spares", *_SWITCHES, "fork", "rust")
_VERDICTS = ("leave-out", "safe")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the project has set; arguments are added to it.

    Attributes:
        preload: Modules to preload that no import names.
        ignored_modules: Modules not to preload.
        first_party: More modules that are the project's own.
        import_timeout: Seconds that the import of one module may take.
        idle_timeout: Seconds after which a daemon that nobody has come to ends.
        spares: How many children are forked ahead.
        fork: Packages, and the user's word for each: `"leave-out"` or `"safe"`.
        learn: Whether what runs import by themselves is preloaded as well, the next time.
        warm_first_party: Whether the project's own modules are imported ahead, too.
        watch: Whether a watcher tells what has changed.
    """

    preload: tuple[str, ...] = ()
    ignored_modules: tuple[str, ...] = ()
    first_party: tuple[str, ...] = ()
    import_timeout: float = 60.0
    idle_timeout: float = 3600.0
    spares: int = 1
    fork: tuple[tuple[str, str], ...] = ()
    learn: bool = True
    warm_first_party: bool = False
    watch: bool = False


def read(location: Path) -> Settings:
    """The settings that count for a package; defaults when there are none.

    Raises:
        FirehotError: The file is no TOML, or holds something that firehot does not know.
    """
    for folder in location.parents:
        file = folder / "pyproject.toml"
        try:
            text = file.read_bytes().decode("utf-8")
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise FirehotError(f"{file} can't be read: {error}") from error
        try:
            table = tomllib.loads(text).get("tool", {}).get("firehot", {})
        except tomllib.TOMLDecodeError as error:
            raise FirehotError(f"{file} is no valid TOML: {error}") from error
        return _settings(file, table)
    return Settings()


def _settings(file: Path, table: Any) -> Settings:
    if not isinstance(table, dict):
        raise FirehotError(f"{file}: tool.firehot is a table, not {table!r}")
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name in _LISTS:
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise FirehotError(f"{file}: tool.firehot.{name} is a list of names, not {value!r}")
            values[name] = tuple(value)
        elif name in _SECONDS:
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not value > 0:
                raise FirehotError(f"{file}: tool.firehot.{name} is a number of seconds, not {value!r}")
            values[name] = float(value)
        elif name in _SWITCHES:
            if not isinstance(value, bool):
                raise FirehotError(f"{file}: tool.firehot.{name} is true or false, not {value!r}")
            values[name] = value
        elif name == "spares":
            values[name] = checked_spares(f"{file}: tool.firehot.{name}", value)
        elif name == "fork":
            values[name] = tuple(_verdicts(file, "", value))
        elif name != "rust":  # That table is read for each extension anew, in `_rust_settings`.
            raise FirehotError(f"{file}: tool.firehot.{name} is unknown; known are {', '.join(_KNOWN)}")
    return Settings(**values)


def checked_spares(option: str, value: object) -> int:
    """How many children to keep ahead.

    Raises:
        FirehotError: It is no number, or below zero.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise FirehotError(f"{option} is a number of processes, 0 or more, not {value!r}")
    return value


def _verdicts(file: Path, prefix: str, table: Any) -> Iterator[tuple[str, str]]:
    """Packages and verdicts. TOML reads a dotted name without quotes as a table in a table: it is meant as the name."""
    if not isinstance(table, dict):
        raise FirehotError(f'{file}: tool.firehot.fork is a table such as "package" = "leave-out", not {table!r}')
    for key, value in table.items():
        name = f"{prefix}{key}"
        if not all(part.isidentifier() for part in name.split(".")):
            raise FirehotError(f"{file}: tool.firehot.fork has {name!r}, which is no name of a package")
        if isinstance(value, dict):
            yield from _verdicts(file, f"{name}.", value)
        elif value in _VERDICTS:
            yield name, value
        else:
            raise FirehotError(f'{file}: tool.firehot.fork."{name}" is "leave-out" or "safe", not {value!r}')
