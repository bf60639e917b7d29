"""Data frames, columns and the engines below them."""

from __future__ import annotations

import os
import tempfile

from safety.recipe import recipes_of

recipe = recipes_of("data")


@recipe("pandas", "pandas>=2.2,<4", "pyarrow>=15")
def pandas_work() -> object:
    import io

    import numpy as np
    import pandas as pd

    frame = pd.DataFrame({"key": np.arange(10_000) % 7, "value": np.arange(10_000.0)})
    sums = frame.groupby("key").value.sum()
    joined = frame.merge(sums.rename("total"), left_on="key", right_index=True)
    assert len(joined) == 10_000 and joined.value.rolling(5).mean().notna().sum() == 9996
    file = io.BytesIO()
    frame.to_parquet(file)
    assert pd.read_parquet(file).equals(frame)
    assert pd.read_csv(io.BytesIO(frame.to_csv(index=False).encode()), engine="pyarrow").equals(frame)
    assert pd.to_datetime(pd.Series(["2024-01-31"])).dt.month.iloc[0] == 1
    return float(sums.iloc[3])


@recipe(
    "pyarrow",
    "pyarrow>=15",
    modules=("pyarrow", "pyarrow.compute", "pyarrow.csv", "pyarrow.dataset", "pyarrow.parquet"),
)
def pyarrow_work() -> object:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.csv
    import pyarrow.dataset
    import pyarrow.parquet

    table = pa.table({"key": [i % 5 for i in range(50_000)], "value": list(range(50_000))})
    sums = table.group_by("key").aggregate([("value", "sum")])
    with tempfile.TemporaryDirectory() as folder:
        pyarrow.parquet.write_to_dataset(table, folder, partition_cols=["key"])
        again = pyarrow.dataset.dataset(folder, partitioning="hive").to_table()
        assert again.num_rows == 50_000
        path = os.path.join(folder, "plain.csv")
        pyarrow.csv.write_csv(table, path)
        assert pyarrow.csv.read_csv(path).equals(table)
    return [pc.sum(table["value"]).as_py(), sorted(sums["value_sum"].to_pylist())]


@recipe("polars", "polars>=1,<3")
def polars_work() -> object:
    import polars as pl

    frame = pl.DataFrame({"key": [i % 9 for i in range(50_000)], "value": range(50_000)})
    sums = frame.group_by("key").agg(pl.col("value").sum()).sort("key")
    joined = frame.lazy().join(sums.lazy(), on="key").filter(pl.col("value") > 10).collect()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.parquet")
        frame.write_parquet(path)
        scanned = pl.scan_parquet(path).select(pl.col("value").max()).collect(engine="streaming").item()
    assert joined.height == 49_989 and scanned == 49_999
    return sums["value"].to_list()


@recipe("duckdb", "duckdb>=1,<3")
def duckdb_work() -> object:
    import duckdb

    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute("set threads to 2")
        connection.execute("create table t as select i, i % 7 as k from range(200000) r(i)")
        path = os.path.join(folder, "t.parquet")
        connection.execute(f"copy t to '{path}'")
        found = connection.execute(f"select k, sum(i)::bigint from '{path}' group by k order by k").fetchall()
    # The connection of the module, made on first use.
    assert duckdb.sql("select 6 * 7").fetchall() == [(42,)]
    return [list(row) for row in found]


@recipe("dask", "dask[array,dataframe]>=2024", modules=("dask", "dask.array", "dask.bag"))
def dask_work() -> object:
    import dask.array
    import dask.bag

    array = dask.array.arange(200_000, chunks=20_000)
    total = int((array**2).sum().compute(scheduler="threads"))
    words = dask.bag.from_sequence(["a", "b", "a"] * 20, npartitions=2).frequencies()
    counts = dict(words.compute(scheduler="processes", num_workers=2))
    assert counts == {"a": 40, "b": 20}
    return total


@recipe("distributed", "distributed>=2024")
def distributed_work() -> object:
    from distributed import Client, LocalCluster

    found = []
    # Threads that talk in memory, then processes that talk over loopback.
    for options in ({"processes": False}, {"processes": True, "host": "127.0.0.1"}):
        cluster = LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None, **options)
        with cluster, Client(cluster) as client:
            found.append(sum(client.gather(client.map(pow, range(8), [2] * 8), errors="raise")))
    assert found == [140, 140]
    return found
