"""Start large Python projects in milliseconds, over and over, while their code is being edited.

Importing this package loads nothing but this file; each name is loaded when it is first used.
PYTEST_DONT_REWRITE: it has a plug-in of pytest, which warns of what it comes too late for.

Example:
    >>> import firehot
    >>> firehot.__version__
    '0.6.0'
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firehot.context import isolate_imports as isolate_imports
    from firehot.environment import Environment as Environment
    from firehot.errors import CallNotPicklable as CallNotPicklable
    from firehot.errors import ChildError as ChildError
    from firehot.errors import ChildExited as ChildExited
    from firehot.errors import EnvironmentClosedError as EnvironmentClosedError
    from firehot.errors import FirehotError as FirehotError
    from firehot.errors import ForkError as ForkError
    from firehot.errors import PackageNotFoundError as PackageNotFoundError
    from firehot.errors import ResultNotLoadable as ResultNotLoadable
    from firehot.errors import ResultNotPicklable as ResultNotPicklable
    from firehot.errors import RustBuildError as RustBuildError
    from firehot.errors import TemplateError as TemplateError
    from firehot.executor import Executor as Executor
    from firehot.executor import TaskExited as TaskExited
    from firehot.hooks import after_fork_in_child as after_fork_in_child
    from firehot.hooks import before_fork as before_fork
    from firehot.modules import PreloadedModule as PreloadedModule
    from firehot.modules import SkippedModule as SkippedModule
    from firehot.modules import SourceLine as SourceLine
    from firehot.process import IsolatedProcess as IsolatedProcess
    from firehot.watch import ChangeSet as ChangeSet
    from firehot.watch import Watch as Watch

__version__ = "0.6.0"

_HOMES = {
    "isolate_imports": "context",
    "Environment": "environment",
    "PreloadedModule": "modules",
    "SkippedModule": "modules",
    "SourceLine": "modules",
    "IsolatedProcess": "process",
    "CallNotPicklable": "errors",
    "ChildError": "errors",
    "ChildExited": "errors",
    "EnvironmentClosedError": "errors",
    "FirehotError": "errors",
    "ForkError": "errors",
    "PackageNotFoundError": "errors",
    "ResultNotLoadable": "errors",
    "ResultNotPicklable": "errors",
    "RustBuildError": "errors",
    "TemplateError": "errors",
    "Executor": "executor",
    "TaskExited": "executor",
    "after_fork_in_child": "hooks",
    "before_fork": "hooks",
    "ChangeSet": "watch",
    "Watch": "watch",
}


def load_ipython_extension(shell: object) -> None:
    """Gives a notebook `%%hot`, `%hot_status` and `%%rust`: `%load_ext firehot`."""
    from firehot import _hot_magic, _rust_magic

    _hot_magic.load(shell)
    _rust_magic.load(shell)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
