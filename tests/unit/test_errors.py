from __future__ import annotations

import pickle

import pytest

import firehot
from firehot import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_derives_from_firehot_error(name: str) -> None:
    if name == "RemoteTraceback":
        # The text of a traceback, never raised.
        assert issubclass(errors.RemoteTraceback, Exception)
        return
    assert issubclass(getattr(errors, name), errors.FirehotError)
    assert getattr(firehot, name) is getattr(errors, name)


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("PackageNotFoundError", ImportError),
        ("TemplateError", RuntimeError),
        ("ForkError", RuntimeError),
        ("EnvironmentClosedError", RuntimeError),
        ("CallNotPicklable", TypeError),
        ("ChildError", RuntimeError),
        ("ChildExited", errors.ChildError),
        ("ResultNotPicklable", errors.ChildError),
        ("ResultNotLoadable", errors.ChildError),
    ],
)
def test_an_error_can_be_caught_as_what_users_expect(name: str, base: type) -> None:
    assert issubclass(getattr(errors, name), base)


def test_an_exit_carries_what_is_known_of_it() -> None:
    error = errors.ChildExited("text", -9, "SIGKILL", "last words")
    assert (str(error), error.exitcode, error.signal, error.stderr) == (
        "text",
        -9,
        "SIGKILL",
        "last words",
    )


def test_errors_can_be_pickled() -> None:
    """A child may open an environment of its own, and its error travels."""
    error = pickle.loads(pickle.dumps(errors.ChildExited("text", -9, "SIGKILL", "last words")))
    assert (str(error), error.exitcode, error.signal, error.stderr) == (
        "text",
        -9,
        "SIGKILL",
        "last words",
    )
    remote = pickle.loads(pickle.dumps(errors.RemoteTraceback("Traceback ...")))
    assert remote.text == "Traceback ..."


def test_a_remote_traceback_is_quoted_as_concurrent_futures_does() -> None:
    assert str(errors.RemoteTraceback("Traceback ...\n")) == '\n"""\nTraceback ...\n"""'
