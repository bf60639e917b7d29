"""The exceptions that firehot raises; all of them derive from `FirehotError`.

Time limits raise the built-in `TimeoutError`, and a system that refuses descriptors or memory an `OSError`.
"""

from __future__ import annotations

__all__ = [
    "CallNotPicklable",
    "ChildError",
    "ChildExited",
    "EnvironmentClosedError",
    "FirehotError",
    "ForkError",
    "PackageNotFoundError",
    "RemoteTraceback",
    "ResultNotLoadable",
    "ResultNotPicklable",
    "RustBuildError",
    "TemplateError",
]


class FirehotError(Exception):
    """Base of everything that firehot raises by itself."""


class PackageNotFoundError(FirehotError, ImportError):
    """The package to isolate is not on `sys.path`, or has no source files."""


class TemplateError(FirehotError, RuntimeError):
    """No template could be started; the message says what it did last."""


class ForkError(FirehotError, RuntimeError):
    """The system refused another process, or the template died each time."""


class EnvironmentClosedError(FirehotError, RuntimeError):
    """The environment was closed before."""


class CallNotPicklable(FirehotError, TypeError):
    """The function or an argument can't be sent to another process."""


class ChildError(FirehotError, RuntimeError):
    """The function raised in the child; `__cause__` is what it raised.

    Example:
        >>> from firehot import ChildError
        >>> try:
        ...     raise ChildError("quiet-otter: ValueError: no") from ValueError("no")
        ... except ChildError as error:
        ...     print(type(error.__cause__).__name__)
        ValueError
    """


class ChildExited(ChildError):
    """The child ended before the function returned: exit, signal, crash.

    Attributes:
        exitcode: Its exit code, or the negative number of the signal that ended it; `None` when nobody can tell.
        signal: Name of that signal, such as `"SIGSEGV"`, or `None`.
        stderr: The last lines that the child wrote to stderr, where they passed through the host.
    """

    def __init__(
        self,
        message: str,
        exitcode: int | None = None,
        signal: str | None = None,
        stderr: str = "",
    ) -> None:
        """Makes one; users only catch it."""
        super().__init__(message)
        self.exitcode = exitcode
        self.signal = signal
        self.stderr = stderr


class ResultNotPicklable(ChildError):
    """The function returned something that can't be sent back; the message names its type."""


class ResultNotLoadable(ChildError):
    """The result can't be rebuilt with the host's modules, which may be older than the child's."""


class RemoteTraceback(Exception):
    """The child's traceback as text, shown as the cause of the exception that it belongs to."""

    def __init__(self, text: str) -> None:
        """Keeps the formatted traceback."""
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        """The traceback, on lines of its own, quoted as `concurrent.futures` does."""
        return f'\n"""\n{self.text}"""'


class RustBuildError(FirehotError, ImportError):
    """A Rust extension does not build; the message ends with what rustc says.

    Attributes:
        name: The module that was to be imported.
        path: The `.rs` file, or the folder of the crate or project, where it is about one.
        diagnostics: What rustc and cargo say, with colours where stderr is a terminal; empty when they were not asked
            (no cargo, a cache that can't be written).

    Example:
        >>> from firehot import RustBuildError
        >>> RustBuildError("fast.rs does not build", "fast", "fast.rs", "error: ...").diagnostics
        'error: ...'
    """

    def __init__(self, message: str, module: str | None = None, place: object = None, diagnostics: str = "") -> None:
        """Makes one; users only catch it."""
        super().__init__(message, name=module, path=None if place is None else str(place))
        self.diagnostics = diagnostics

    def __reduce__(self) -> tuple[object, ...]:
        """Travels from a child with all that it says."""
        return type(self), (str(self), self.name, self.path, self.diagnostics)
