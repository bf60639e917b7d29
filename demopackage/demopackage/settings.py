"""Settings with their defaults, from a TOML file where Python can read one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

try:
    import tomllib  # type: ignore[import-not-found]
except ImportError:  # Python 3.10
    READS_TOML = False
else:
    READS_TOML = True


@dataclass(frozen=True)
class Settings:
    currency: str = "EUR"
    discount_percent: int = 0


def load(path: Path) -> Settings:
    if not READS_TOML or not path.exists():
        return Settings()
    return replace(Settings(), **tomllib.loads(path.read_text(encoding="utf-8")))
