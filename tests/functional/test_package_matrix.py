"""The part of `make safety` whose packages are installed for the tests: real work in children, as in a cold process."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import Scripts

ROOT = Path(__file__).resolve().parents[2]
if find_spec("safety") is None:
    # firehot was installed from a wheel, and the checkout is not on the path.
    sys.path.append(str(ROOT))

from safety.randomness import GENERATORS, compare  # noqa: E402
from safety.recipes import RECIPES  # noqa: E402
from safety.trial import try_recipe  # noqa: E402

PACKAGES = ("httpx", "jinja2", "numpy", "pydantic", "requests", "rich", "uvicorn")
SOURCES = (
    "random",
    "numpy.random.rand",
    "numpy.random.default_rng()",
    "sqlite3 random()",
    "secrets, os.urandom",
    "ssl.RAND_bytes",
    "uuid.uuid1",
    "uuid.uuid4",
    "tempfile names",
)


def need(*modules: str) -> None:
    """Skips where a package of the tests has no wheel for this interpreter."""
    for module in modules:
        if find_spec(module.partition(".")[0]) is None:
            pytest.skip(f"{module} is not installed here")


@pytest.mark.parametrize("name", PACKAGES)
def test_work_in_children_is_as_in_a_cold_process(name: str, scripts: Scripts) -> None:
    need(*RECIPES[name].modules)
    out = scripts.folder / "cold.json"
    scripts.run_command([sys.executable, "-m", "safety.case", "cold", name, str(out)], cwd=ROOT).ok()
    cold = json.loads(out.read_text())
    assert "error" not in cold
    trial = try_recipe(RECIPES[name])
    assert not trial.left_out
    assert not trial.errors
    assert [run.value for run in trial.runs] == [cold["value"]] * 4


def test_random_numbers_differ_between_children_and_a_seed_counts() -> None:
    need("numpy")
    rows = compare([GENERATORS[name] for name in SOURCES])
    assert [row["name"] for row in rows if not row["preloaded"] or row["errors"]] == []
    assert [row["name"] for row in rows if not row["differ"]] == []
    assert [row["name"] for row in rows if row["seed_wins"] is False] == []
    assert {row["name"] for row in rows if row["seed_wins"]} == {"random", "numpy.random.rand"}


def test_a_recipe_that_fails_in_a_child_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "failing_recipe.py").write_text(
        "from safety.recipe import Recipe\n"
        "def work():\n    raise ValueError('wrong')\n"
        "recipe = Recipe('failing', '', (), ('colorsys', 'no_such_module'), work)\n"
    )
    import failing_recipe  # type: ignore[import-not-found]

    trial = try_recipe(failing_recipe.recipe)
    assert list(trial.left_out) == ["no_such_module"]
    assert [error.partition(" [")[0] for error in trial.errors] == ["ValueError: wrong"]
