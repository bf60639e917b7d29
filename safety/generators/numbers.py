"""Generators of numbers for computing: a program may set their seed."""

from __future__ import annotations

from safety.generators.base import Source, generator


@generator("random", "data", "random")
class Random(Source):
    @staticmethod
    def seed() -> None:
        import random

        random.seed(7)

    @staticmethod
    def draw() -> object:
        import random

        return [random.random(), random.sample(range(10**9), 2)]


class _Legacy(Source):
    """What uses numpy's legacy global generator."""

    @staticmethod
    def seed() -> None:
        import numpy as np

        np.random.seed(7)


@generator("numpy.random.rand", "data", "numpy.random")
class Numpy(_Legacy):
    @staticmethod
    def draw() -> object:
        import numpy as np

        return np.random.rand(3).tolist()


@generator("numpy.random.default_rng()", "data", "numpy.random")
class NumpyDefault(Source):
    @staticmethod
    def draw() -> object:
        import numpy as np

        return np.random.default_rng().random(3).tolist()


@generator("scipy.stats rvs", "data", "scipy.stats")
class Scipy(_Legacy):
    @staticmethod
    def draw() -> object:
        from scipy import stats

        return stats.norm.rvs(size=3).tolist()


@generator("pandas sample", "data", "pandas")
class Pandas(_Legacy):
    @staticmethod
    def draw() -> object:
        import pandas as pd

        return pd.Series(range(10**6)).sample(3).tolist()


@generator("sklearn shuffle", "data", "sklearn.utils")
class Sklearn(_Legacy):
    @staticmethod
    def draw() -> object:
        from sklearn.utils import shuffle

        return [int(number) for number in shuffle(list(range(10**5)))[:3]]


@generator("cv2.randu", "data", "cv2")
class OpenCV(Source):
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


@generator("numba, numpy.random in jitted code", "data", "numba")
class Numba(Source):
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


@generator("tensorflow.random", "data", "tensorflow")
class Tensorflow(Source):
    @staticmethod
    def seed() -> None:
        import tensorflow as tf

        tf.random.set_seed(7)

    @staticmethod
    def draw() -> object:
        import tensorflow as tf

        return [float(number) for number in tf.random.uniform([3])]


@generator("tensorflow.random.get_global_generator()", "data", "tensorflow")
class TensorflowGlobal(Source):
    @staticmethod
    def draw() -> object:
        import tensorflow as tf

        return [float(number) for number in tf.random.get_global_generator().uniform([3])]


@generator("keras.random", "data", "keras")
class Keras(Source):
    @staticmethod
    def seed() -> None:
        import keras

        keras.utils.set_random_seed(7)

    @staticmethod
    def draw() -> object:
        import keras

        return [float(number) for number in keras.random.uniform([3])]


@generator("polars sample", "data", "polars")
class Polars(Source):
    @staticmethod
    def seed() -> None:
        import polars as pl

        pl.set_random_seed(7)

    @staticmethod
    def draw() -> object:
        import polars as pl

        return pl.Series(range(10**6)).sample(3).to_list()


@generator("pyarrow.compute.random", "data", "pyarrow.compute")
class Arrow(Source):
    @staticmethod
    def draw() -> object:
        import pyarrow.compute as pc

        return pc.random(3).to_pylist()


@generator("duckdb random()", "data", "duckdb")
class DuckDB(Source):
    @staticmethod
    def seed() -> None:
        import duckdb

        duckdb.execute("select setseed(0.5)")

    @staticmethod
    def draw() -> object:
        import duckdb

        return list(duckdb.execute("select random(), random()").fetchone() or ())


@generator("torch.rand", "torch", "torch")
class Torch(Source):
    @staticmethod
    def seed() -> None:
        import torch

        torch.manual_seed(7)

    @staticmethod
    def draw() -> object:
        import torch

        return torch.rand(3).tolist()
