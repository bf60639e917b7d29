"""What the demo runs in children.

These functions are importable by name, so a child imports them from the disk, and the application
through them: it runs what the files say now. The host imports neither application.
"""

import sys


def report() -> str:
    from demopackage.app import report

    return report()


def print_report() -> None:
    print(report())


def customer_of(number: int) -> str:
    from demopackage.orders import Orders

    return Orders().get(number).customer


def crash() -> None:
    import ctypes
    import resource

    # A core file is of no use here.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    print("about to read address 0", file=sys.stderr, flush=True)
    ctypes.string_at(0)


def is_loaded(module: str) -> bool:
    return module in sys.modules


def import_datasette() -> float:
    """Return the seconds that datasette's own modules take."""
    import time

    started = time.perf_counter()
    import datasette.app  # noqa: F401

    return time.perf_counter() - started


def datasette_version() -> str:
    """Ask datasette's ASGI application for its version, as a client would."""
    import asyncio

    from datasette.app import Datasette

    async def ask() -> str:
        response = await Datasette(memory=True).client.get("/-/versions.json")
        response.raise_for_status()
        return str(response.json()["datasette"]["version"])

    return asyncio.run(ask())
