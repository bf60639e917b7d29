"""What the row groups share: how often to measure, where to write, and rivals started over a project."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benches import environments, project
from benches.project import Project
from benches.runner.process import Rival
from benches.stacks import OLD, Stack

NOW = "firehot"
NOW_SPARE = "firehot, spares=1"
BARE = "bare `os.fork()`"
BARE_ENDED = "bare `os.fork()` and `waitpid`"
FORKSERVER = "stdlib forkserver"
COLD = "cold `python`"
OLD_FIREHOT = f"firehot {OLD}"
_RUNNERS: dict[str, tuple[str, dict[str, object]]] = {
    NOW: ("firehot_now", {"spares": 0}),
    NOW_SPARE: ("firehot_now", {"spares": 1}),
    BARE: ("bare_fork", {}),
    FORKSERVER: ("forkserver", {}),
    OLD_FIREHOT: ("firehot_old", {}),
    COLD: ("cold", {}),
}


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the benchmark.

    Attributes:
        folder: A temporary folder for projects and logs.
        quick: Three rounds of everything.
        stacks: What is measured.
    """

    folder: Path
    quick: bool
    stacks: tuple[Stack, ...]

    def rounds(self, count: int) -> int:
        """How often to measure what is worth that many rounds."""
        return 3 if self.quick else count

    def project(self, name: str, modules: Sequence[str], *, compiled: bool = True) -> Project:
        """A project over these modules, in a folder of its own."""
        made = project.make(self.folder / name, modules)
        if compiled:
            made.compile()
        return made

    def rival(
        self,
        script: str,
        stack: Stack,
        over: Project,
        modules: Sequence[str] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> Rival:
        """Starts a script of `benches/rivals`; its modules are the stack's unless others are given."""
        python = environments.of_old(stack) if script == "firehot_old" else environments.of_stack(stack)
        names = stack.modules if modules is None else modules
        return Rival(script, python, over.paths, names, settings=settings, log=self.folder / "rivals.log")

    @contextmanager
    def runners(
        self,
        stack: Stack,
        project: Project,
        names: Sequence[str] = tuple(_RUNNERS),
        modules: Sequence[str] | None = None,
        *,
        each: Mapping[str, Project] | None = None,
    ) -> Iterator[dict[str, Rival]]:
        """Those who run the project's function, open and by name.

        Args:
            stack: Whose interpreter and modules.
            project: What is run.
            names: Who; all by default. Firehot is among them twice: without spares and with one.
            modules: What is preloaded by those who can't find out, when it is not what the stack says.
            each: Projects of their own, for some.
        """
        with ExitStack() as opened:
            rivals = {}
            for name in names:
                script, settings = _RUNNERS[name]
                over = (each or {}).get(name, project)
                if script == "firehot_now" and (missing := self._missing(stack, over, settings)):
                    if name != NOW:
                        say(f"this firehot has no {', '.join(missing)}: {name} is left out")
                        continue
                    settings = {key: value for key, value in settings.items() if key not in missing}
                rival = opened.enter_context(self.rival(script, stack, over, modules, settings))
                rival.ask("open")
                if script == "firehot_now":
                    rival.ask("settle")
                rivals[name] = rival
            yield rivals

    def _missing(self, stack: Stack, over: Project, settings: Mapping[str, object]) -> list[str]:
        """What this checkout's firehot does not take yet: older checkouts are measured too."""
        with self.rival("firehot_now", stack, over, settings=settings) as rival:
            found: list[str] = rival.ask("missing")["missing"]
            return found


def say(line: str) -> None:
    """Tells whoever waits what happens; the table goes to stdout."""
    print(line, file=sys.stderr, flush=True)
