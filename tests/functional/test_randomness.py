"""Children draw random numbers of their own, as fresh processes do, and a seed that a child sets counts."""

from __future__ import annotations

import os
import random
import secrets
import ssl
import tempfile
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from support import Project

from firehot.environment import Environment

IMPORTS = "import random, secrets, ssl, tempfile, uuid\n"
CHILDREN = 5


def temporary_name() -> str:
    """The name that the process's own generator draws; nothing is left behind."""
    handle, path = tempfile.mkstemp()
    os.close(handle)
    os.unlink(path)
    return path


STANDARD: dict[str, Callable[[], object]] = {
    "random": lambda: random.random(),
    "randrange": lambda: random.randrange(10**9),
    "a generator": lambda: random.Random().random(),
    "uuid1": lambda: uuid.uuid1(),
    "uuid4": lambda: uuid.uuid4(),
    "secrets": lambda: secrets.token_hex(),
    "urandom": lambda: os.urandom(8),
    "OpenSSL": lambda: ssl.RAND_bytes(8),
    "tempfile": temporary_name,
}


@pytest.mark.parametrize("source", STANDARD)
def test_children_differ(project: Project, source: str) -> None:
    project.write("app.py", IMPORTS)
    with project.open() as environment:
        processes = [environment.exec(STANDARD[source]) for _ in range(CHILDREN)]
        drawn = {process.result() for process in processes}
    assert len(drawn) == CHILDREN


def legacy() -> Any:
    import numpy

    return float(numpy.random.random())


def default() -> Any:
    import numpy

    return float(numpy.random.default_rng().random())


@pytest.mark.parametrize("draw", [legacy, default])
def test_children_differ_in_numpy(project: Project, draw: Callable[[], float]) -> None:
    pytest.importorskip("numpy")
    project.write("app.py", "import numpy\nimport numpy.random\n")
    with project.open() as environment:
        assert "numpy.random" in environment.modules
        assert environment.verdicts["numpy"].startswith("safe")
        drawn = {environment.run(draw) for _ in range(CHILDREN)}
    assert len(drawn) == CHILDREN


def seeded() -> tuple[float, float]:
    import numpy

    random.seed(1)
    numpy.random.seed(1)
    return random.random(), float(numpy.random.random())


def test_a_seed_of_the_child_wins(project: Project) -> None:
    numpy = pytest.importorskip("numpy")
    project.write("app.py", "import numpy\nimport numpy.random\nimport random\n")
    with project.open() as environment:
        drawn = {environment.run(seeded) for _ in range(3)}
    expected = (random.Random(1).random(), float(numpy.random.RandomState(1).random_sample()))
    assert drawn == {expected}


def test_a_seed_of_the_host_does_not_travel(env: Environment) -> None:
    state = random.getstate()
    try:
        random.seed(1)
        assert len({env.run(lambda: random.random()) for _ in range(3)}) == 3
    finally:
        random.setstate(state)
