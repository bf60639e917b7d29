"""The second part: datasette, a real application, installed as anyone would."""

from __future__ import annotations

from contextlib import ExitStack

from demopackage_hotreload import calls
from demopackage_hotreload.measuring import Subject, measure, start
from demopackage_hotreload.project import copy_of
from demopackage_hotreload.screen import claim, heading, say
from demopackage_hotreload.timing import Table, spoken, timed

DATASETTE = Subject(
    package="datasette",
    call=calls.datasette_version,
    constant=("version.py", "__version__", "0.65+edition."),
    imports=("app.py", ("mailbox", "plistlib", "wave", "zipapp", "colorsys")),
    # Its vendored copy of pint would plot, if this were installed: not worth a warning.
    ignored=("matplotlib",),
)


def show(runs: int) -> None:
    """Answer a request from the installed package, then measure on a copy that can be edited."""
    heading("datasette: a real application and what it depends on, as installed by pip")
    with ExitStack() as stack:
        environment, seconds = start(DATASETTE, stack)
        say(f"the environment is ready after {spoken(seconds)}")
        slow = sorted(environment.modules.items(), key=lambda item: -item[1].milliseconds)[:4]
        named = ", ".join(f"{name} ({spoken(module.milliseconds / 1000)})" for name, module in slow)
        say(f"{len(environment.modules)} modules are preloaded; the slowest: {named}")
        version, seconds = timed(lambda: environment.run(calls.datasette_version))
        claim(
            version.startswith("0."),
            f"a child answers GET /-/versions.json after {spoken(seconds)}: datasette {version}",
        )

        own = environment.run(calls.import_datasette)
        say(f"importing datasette's own modules takes {spoken(own)} of each run, so that edits show")

    table = Table()
    with copy_of("datasette") as project, ExitStack() as stack:
        say(f"its sources are copied to {project.path}, to be edited there")
        environment, seconds = start(DATASETTE, stack)
        version = DATASETTE.edit(project, 1)
        answer, seconds = timed(lambda: environment.run(calls.datasette_version))
        claim(answer == version, f"after an edit, the answer after {spoken(seconds)} is {answer}")
        measure(DATASETTE, project, environment, table, runs)
    heading("datasette: times")
    for line in table.lines():
        say(line)
