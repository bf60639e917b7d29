from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor

from firehot.naming import NAME_REGISTRY, NameRegistry


def test_a_name_is_an_adjective_and_a_noun() -> None:
    assert re.fullmatch(r"[a-z]+-[a-z]+", NameRegistry().reserve_random_name())
    assert NAME_REGISTRY.reserve_random_name() != NAME_REGISTRY.reserve_random_name()


def test_no_name_is_given_twice_not_even_when_the_words_are_used_up() -> None:
    registry = NameRegistry()
    count = 25_000
    assert len({registry.reserve_random_name() for _ in range(count)}) == count


def test_names_are_unique_across_threads() -> None:
    registry = NameRegistry()
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: registry.reserve_random_name(), range(4000)))
    assert len(set(names)) == 4000


def test_a_seeded_program_gets_its_own_numbers_and_fresh_names() -> None:
    state = random.getstate()
    try:
        random.seed(7)
        first = NameRegistry().reserve_random_name(), random.random()
        random.seed(7)
        expected = random.random()
        random.seed(7)
        second = NameRegistry().reserve_random_name(), random.random()
    finally:
        random.setstate(state)
    assert first[1] == second[1] == expected
