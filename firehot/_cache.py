"""The user's own folder for what can be worked out again."""

from __future__ import annotations

import os
import sys


def folder() -> str | None:
    """As the XDG specification and Apple have it; `None` where there is no home."""
    home = os.path.expanduser("~")
    if sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "") or os.path.join(home, ".cache")
    return os.path.join(base, "firehot") if os.path.isabs(base) else None
