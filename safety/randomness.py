"""Whether random numbers differ between the children of one template, and whether a seed that a child sets counts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from safety.recipe import Recipe
from safety.trial import Run, opened, run_children


@dataclass(frozen=True, slots=True)
class Generator:
    """A source of random numbers; `seeded` sets a seed first, where there is one to set."""

    name: str
    environment: str
    modules: tuple[str, ...]
    draw: Callable[[], object]
    seeded: Callable[[], object] | None = None


GENERATORS: dict[str, Generator] = {}


def _generator(name: str, environment: str, *modules: str) -> Callable[[type], type]:
    """Makes a generator of a class with `draw` and perhaps `seed`; a seed comes right before a draw."""

    def register(kind: Any) -> type:
        seed = getattr(kind, "seed", None)
        GENERATORS[name] = Generator(name, environment, modules, kind.draw, kind.seeded if seed else None)
        return kind  # type: ignore[no-any-return]

    return register


class _Source:
    @staticmethod
    def draw() -> object:
        raise NotImplementedError

    @classmethod
    def seeded(cls) -> object:
        cls.seed()  # type: ignore[attr-defined]
        return cls.draw()


@_generator("random", "data", "random")
class Random(_Source):
    @staticmethod
    def seed() -> None:
        import random

        random.seed(7)

    @staticmethod
    def draw() -> object:
        import random

        return [random.random(), random.sample(range(10**9), 2)]


class _Legacy(_Source):
    """What uses numpy's legacy global generator."""

    @staticmethod
    def seed() -> None:
        import numpy as np

        np.random.seed(7)


@_generator("numpy.random.rand", "data", "numpy.random")
class Numpy(_Legacy):
    @staticmethod
    def draw() -> object:
        import numpy as np

        return np.random.rand(3).tolist()


@_generator("numpy.random.default_rng()", "data", "numpy.random")
class NumpyDefault(_Source):
    @staticmethod
    def draw() -> object:
        import numpy as np

        return np.random.default_rng().random(3).tolist()


@_generator("scipy.stats rvs", "data", "scipy.stats")
class Scipy(_Legacy):
    @staticmethod
    def draw() -> object:
        from scipy import stats

        return stats.norm.rvs(size=3).tolist()


@_generator("pandas sample", "data", "pandas")
class Pandas(_Legacy):
    @staticmethod
    def draw() -> object:
        import pandas as pd

        return pd.Series(range(10**6)).sample(3).tolist()


@_generator("sklearn shuffle", "data", "sklearn.utils")
class Sklearn(_Legacy):
    @staticmethod
    def draw() -> object:
        from sklearn.utils import shuffle

        return [int(number) for number in shuffle(list(range(10**5)))[:3]]


@_generator("cv2.randu", "data", "cv2")
class OpenCV(_Source):
    @staticmethod
    def seed() -> None:
        import cv2

        cv2.setRNGSeed(7)

    @staticmethod
    def draw() -> object:
        import cv2
        import numpy as np

        values = np.zeros((1, 4), np.int32)
        cv2.randu(values, 0, 2**30)
        return values.tolist()


@_generator("numba, numpy.random in jitted code", "data", "numba")
class Numba(_Source):
    @staticmethod
    def seed() -> None:
        import numba
        import numpy as np

        # Jitted code has a generator of its own.
        numba.njit(lambda: np.random.seed(7))()

    @staticmethod
    def draw() -> object:
        import numba
        import numpy as np

        return list(numba.njit(lambda: (np.random.random(), np.random.random()))())


@_generator("tensorflow.random", "data", "tensorflow")
class Tensorflow(_Source):
    @staticmethod
    def seed() -> None:
        import tensorflow as tf

        tf.random.set_seed(7)

    @staticmethod
    def draw() -> object:
        import tensorflow as tf

        return [float(number) for number in tf.random.uniform([3])]


@_generator("tensorflow.random.get_global_generator()", "data", "tensorflow")
class TensorflowGlobal(_Source):
    @staticmethod
    def draw() -> object:
        import tensorflow as tf

        return [float(number) for number in tf.random.get_global_generator().uniform([3])]


@_generator("keras.random", "data", "keras")
class Keras(_Source):
    @staticmethod
    def seed() -> None:
        import keras

        keras.utils.set_random_seed(7)

    @staticmethod
    def draw() -> object:
        import keras

        return [float(number) for number in keras.random.uniform([3])]


@_generator("polars sample", "data", "polars")
class Polars(_Source):
    @staticmethod
    def seed() -> None:
        import polars as pl

        pl.set_random_seed(7)

    @staticmethod
    def draw() -> object:
        import polars as pl

        return pl.Series(range(10**6)).sample(3).to_list()


@_generator("pyarrow.compute.random", "data", "pyarrow.compute")
class Arrow(_Source):
    @staticmethod
    def draw() -> object:
        import pyarrow.compute as pc

        return pc.random(3).to_pylist()


@_generator("duckdb random()", "data", "duckdb")
class DuckDB(_Source):
    @staticmethod
    def seed() -> None:
        import duckdb

        duckdb.execute("select setseed(0.5)")

    @staticmethod
    def draw() -> object:
        import duckdb

        return list(duckdb.execute("select random(), random()").fetchone() or ())


@_generator("sqlite3 random()", "data", "sqlite3")
class SQLite(_Source):
    @staticmethod
    def draw() -> object:
        import sqlite3

        return list(sqlite3.connect(":memory:").execute("select random(), random()").fetchone())


@_generator("secrets, os.urandom", "data", "secrets")
class Secrets(_Source):
    @staticmethod
    def draw() -> object:
        import secrets

        return secrets.token_hex(16)


@_generator("ssl.RAND_bytes", "data", "ssl")
class OpenSSL(_Source):
    @staticmethod
    def draw() -> object:
        import ssl

        return ssl.RAND_bytes(16).hex()


@_generator("uuid.uuid1", "data", "uuid")
class UUID1(_Source):
    @staticmethod
    def draw() -> object:
        import uuid

        return str(uuid.uuid1())


@_generator("uuid.uuid4", "data", "uuid")
class UUID4(_Source):
    @staticmethod
    def draw() -> object:
        import uuid

        return str(uuid.uuid4())


@_generator("tempfile names", "data", "tempfile")
class Tempfile(_Source):
    @staticmethod
    def draw() -> object:
        import tempfile

        with tempfile.NamedTemporaryFile() as file:
            return file.name


@_generator("cryptography (its own OpenSSL)", "web", "cryptography.hazmat.primitives.asymmetric.ec")
class Cryptography(_Source):
    @staticmethod
    def draw() -> object:
        from cryptography.hazmat.primitives.asymmetric import ec

        return str(ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value)


@_generator("fastuuid, uuid_utils (Rust)", "web", "fastuuid", "uuid_utils")
class RustUUID(_Source):
    @staticmethod
    def draw() -> object:
        import fastuuid
        import uuid_utils

        return [str(fastuuid.uuid4()), str(uuid_utils.uuid4()), str(uuid_utils.uuid7()), str(uuid_utils.uuid1())]


@_generator("bson ObjectId", "web", "bson")
class ObjectId(_Source):
    @staticmethod
    def draw() -> object:
        import bson

        return str(bson.ObjectId())


@_generator("ddtrace ids", "web", "ddtrace.trace")
class DdtraceIds(_Source):
    @staticmethod
    def draw() -> object:
        from ddtrace.trace import tracer

        with tracer.trace("outer") as outer, tracer.trace("inner") as inner:
            return [outer.trace_id, outer.span_id, inner.span_id]


@_generator("aiohttp websocket masks", "web", "aiohttp")
class AiohttpMasks(_Source):
    @staticmethod
    def draw() -> object:
        import asyncio
        from unittest.mock import Mock

        import aiohttp.http_websocket as websocket

        async def writer() -> Any:
            return websocket.WebSocketWriter(Mock(), Mock(), use_mask=True)

        # Its default argument is a generator made while it is imported.
        return [asyncio.run(writer()).get_random_bits() for _ in range(2)]


@_generator("opentelemetry ids", "web", "opentelemetry.sdk.trace")
class OpentelemetryIds(_Source):
    @staticmethod
    def draw() -> object:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        return RandomIdGenerator().generate_trace_id()


@_generator("torch.rand", "torch", "torch")
class Torch(_Source):
    @staticmethod
    def seed() -> None:
        import torch

        torch.manual_seed(7)

    @staticmethod
    def draw() -> object:
        import torch

        return torch.rand(3).tolist()


def compare(generators: Sequence[Generator]) -> list[dict[str, Any]]:
    """Four draws of each generator, two after one another and two at once, and two draws after the same seed."""
    modules = tuple(dict.fromkeys(module for one in generators for module in one.modules))
    quiet = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
    recipe = Recipe("random", "", (), modules, lambda: None, variables=quiet)
    rows = []
    with opened([recipe]) as (env, _):
        left_out = [name for name in modules if name in env.skipped]
        for one in generators:
            draws: list[Run] = []
            for count in (1, 1, 2):
                draws += run_children(env, [one.draw] * count)
            seeded = run_children(env, [one.seeded] * 2) if one.seeded else []
            values = [json.dumps(run.value) for run in draws]
            row: dict[str, Any] = {"name": one.name, "preloaded": not set(left_out) & set(one.modules)}
            row["differ"] = _pieces_differ([run.value for run in draws])
            row["errors"] = sorted({run.error for run in (*draws, *seeded) if run.error})
            row["seed_wins"] = None
            if seeded:
                cold = [_cold(one)]
                row["seed_wins"] = len({json.dumps(run.value) for run in seeded} | set(cold)) == 1
            row["sample"] = values[:2]
            rows.append(row)
    return rows


def _pieces_differ(values: list[Any]) -> bool:
    """Whether no two children drew the same, in any of several numbers."""
    rows = [value if isinstance(value, list) else [value] for value in values]
    return all(len({json.dumps(piece) for piece in pieces}) == len(rows) for pieces in zip(*rows, strict=True))


def _cold(one: Generator) -> str:
    code = (
        "import json, sys; from safety.randomness import GENERATORS\n"
        f"print(json.dumps(GENERATORS[{one.name!r}].seeded()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return done.stdout.strip().rpartition("\n")[2]
