"""Rust extensions: what a hook costs while nothing changes, and from an edit of Rust to its result."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benches import environments, rust_projects
from benches.bench import NOW, Bench, say
from benches.runner.interleave import Contestant, Figures, Measured, interleave
from benches.runner.process import Rival
from benches.runner.table import Row, row
from benches.rust_projects import RustProject

PLAIN = "no hook"
CARGO = "cargo alone"
RUSTIMPORT = "rustimport"
HOOK = "maturin-import-hook"
IN_PROCESS = "firehot, reload in one process"
_PROBE = Path(__file__).resolve().parent.parent / "rivals" / "rust_probe.py"
_ROUNDS = 20
_GROWTH = 100
_NUMBERS = itertools.count(1)


def measure(bench: Bench) -> list[Row]:
    say("Rust extensions")
    projects = rust_projects.make(bench.folder / "rust-projects")
    rows = _cost_of_the_hook(bench, projects["single file"])
    for project in projects.values():
        rows += _nothing_changed(bench, project)
    for project in projects.values():
        rows += _edits(bench, project)
    return rows + _growth(bench, projects["single file"])


def _cost_of_the_hook(bench: Bench, project: RustProject) -> list[Row]:
    rows = []
    for what, text in (("load", "the hook is loaded"), ("unrelated", "an unrelated import, added")):
        contestants = [Contestant(tool, partial(_probe, project, tool, what)) for tool in ("firehot", RUSTIMPORT, HOOK)]
        found = interleave(contestants, bench.rounds(_ROUNDS))
        mine, others = _against(found, "firehot", what)
        rows.append(row("rust", "any", text, mine, others, unit="ms" if what == "load" else "us"))
    return rows


def _nothing_changed(bench: Bench, project: RustProject) -> list[Row]:
    say(f"import with nothing changed, {project.subject}")
    tools = [tool for tool in project.tools if tool != HOOK or "." in project.module]
    for tool in tools:
        _probe(project, tool, "import")
    contestants = [Contestant(tool, partial(_probe, project, tool, "import")) for tool in tools]
    plain = _published(project)
    contestants.append(Contestant(PLAIN, partial(_probe, project, PLAIN, "import", plain)))
    found = interleave(contestants, bench.rounds(_ROUNDS), warm_up=1)
    mine, others = _against(found, "firehot", "import")
    return [row("rust", project.subject, "import with nothing changed", mine, others)]


def _edits(bench: Bench, project: RustProject) -> list[Row]:
    say(f"edit to result, {project.subject}")
    alone = rust_projects.copy_for_cargo(project)
    made = bench.project(f"rust-{alone.root.name}", ())
    (made.source / "own" / "rusty.py").write_text(
        "def answer(name):\n    import importlib\n\n    return importlib.import_module(name).answer()\n"
    )
    python = environments.of_rust()
    with ExitStack() as opened:
        lives = {}
        for name, inside in ((NOW, True), (IN_PROCESS, False)):
            rival = Rival("rust_live", python, (*made.paths, project.path), (), log=bench.folder / "rivals.log")
            lives[name] = opened.enter_context(rival)
            rival.ask("begin", module=project.module, in_environment=inside)
        contestants = [
            *(Contestant(name, partial(_edit_live, project, rival)) for name, rival in lives.items()),
            Contestant(CARGO, partial(_edit_with_cargo, alone)),
            *(
                Contestant(tool, partial(_edit_and_start, project, tool), 1 if bench.quick else 5)
                for tool in project.tools
                if tool != "firehot"
            ),
        ]
        found = interleave(contestants, bench.rounds(_ROUNDS), warm_up=1)
    ours = {name: found.pop(name) for name in lives}
    others = {name: (each.of("result"), None) for name, each in found.items()}
    rows = []
    for name, each in ours.items():
        what = "edit to result, in an environment" if name == NOW else "edit to result, reload in one process"
        rows.append(row("rust", project.subject, what, each.of("result"), others))
    return rows


def _growth(bench: Bench, project: RustProject) -> list[Row]:
    """Resident memory per edit, over a hundred; nothing is ever unloaded in one process."""
    say(f"memory over {_GROWTH} edits")
    made = bench.project("rust-growth", ())
    (made.source / "own" / "rusty.py").write_text(
        "def answer(name):\n    import importlib\n\n    return importlib.import_module(name).answer()\n"
    )
    count = 3 if bench.quick else _GROWTH
    grown: dict[bool, float] = {}
    for inside in (True, False):
        paths = (*made.paths, project.path)
        with Rival("rust_live", environments.of_rust(), paths, (), log=bench.folder / "rivals.log") as rival:
            rival.ask("begin", module=project.module, in_environment=inside)
            _edit_live(project, rival)
            before: float = rival.ask("resident")["resident"]
            for _ in range(count):
                _edit_live(project, rival)
            grown[inside] = max(0.0, rival.ask("resident")["resident"] - before) / count
    note = f"resident memory of the host, over {count} edits; the rival is a reload in one process"
    theirs = {IN_PROCESS: ({0: grown[False]}, None)}
    return [
        row("rust", "single file", "memory per edit, in an environment", {0: grown[True]}, theirs, unit="MB", note=note)
    ]


def _against(
    found: dict[str, Measured], mine: str, what: str
) -> tuple[dict[int, float], dict[str, tuple[dict[int, float], float | None]]]:
    others: dict[str, tuple[dict[int, float], float | None]] = {
        name: (each.of(what), None) for name, each in found.items() if name != mine
    }
    return found[mine].of(what), others


def _probe(project: RustProject, tool: str, what: str, folder: Path | None = None) -> Figures:
    python = environments.of_rust()
    paths = (project.path,) if folder is None else (folder,)
    # Without a hook the file is imported from where it was published; that is less than the import of a package.
    module = project.module if folder is None else project.module.rpartition(".")[2]
    done = subprocess.run(
        [python, _PROBE, tool, what, module],
        env=rust_projects.variables(python, paths),
        cwd=project.root,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise RuntimeError(f"{tool} could not {what} {project.module}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _published(project: RustProject) -> Path:
    """The folder of the newest build that firehot has published."""
    last = project.module.rpartition(".")[2]
    venv = environments.of_rust().parent.parent
    built = (venv / ".firehot-rust").glob(f"{last}-*/*/*/{last}.*")
    return max(built, key=lambda file: file.stat().st_mtime).parent


def _edit_live(project: RustProject, rival: Rival) -> Figures:
    number = next(_NUMBERS)
    found = rival.ask("edit", file=str(project.lib), text=project.text(number), number=number)
    return {"result": found["result"]}


def _edit_and_start(project: RustProject, tool: str) -> Figures:
    number = next(_NUMBERS)
    return _timed(lambda: project.write(number), lambda: _expect(_probe(project, tool, "import"), number))


def _edit_with_cargo(project: RustProject) -> Figures:
    python = environments.of_rust()
    variables = rust_projects.variables(python, ()) | {"PYO3_PYTHON": str(python), "PYO3_BUILD_EXTENSION_MODULE": "1"}

    def build() -> None:
        command = ["cargo", "rustc", "--lib", "--quiet", "--manifest-path", str(project.root / "Cargo.toml")]
        subprocess.run(command, check=True, cwd=project.root, env=variables)

    return _timed(lambda: project.write(next(_NUMBERS)), build)


def _timed(first: Callable[[], object], then: Callable[[], object]) -> Figures:
    start = time.perf_counter()
    first()
    then()
    return {"result": time.perf_counter() - start}


def _expect(found: Figures, number: int) -> None:
    if found["answer"] != number:
        raise RuntimeError(f"{found['answer']} is not {number}")
