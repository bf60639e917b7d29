"""Where builds are kept, and for which virtual environment. Loaded with the finder: imports next to nothing."""

import os
import sys


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
