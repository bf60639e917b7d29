"""grimp's import graph of the project, built in a process that has grimp loaded."""

from __future__ import annotations

import time

import grimp

import turns
from turns import Answer


def main() -> None:
    turns.serve(Grimp())


class Grimp:
    def open(self) -> Answer:
        return {}

    def graph(self) -> Answer:
        start = time.perf_counter_ns()
        grimp.build_graph("own", cache_dir=None)
        return {"result": turns.seconds(start)}

    def close(self) -> Answer:
        return {}


if __name__ == "__main__":
    main()
