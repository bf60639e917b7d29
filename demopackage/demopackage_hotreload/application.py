"""The first part: demopackage, a small application with a slow dependency."""

from __future__ import annotations

from contextlib import ExitStack

from demopackage_hotreload import calls
from demopackage_hotreload.measuring import Subject, measure, start
from demopackage_hotreload.project import Project, copy_of
from demopackage_hotreload.screen import claim, heading, quote, say
from demopackage_hotreload.timing import Table, spoken, timed
from firehot import ChildError, ChildExited
from firehot.environment import Environment

APPLICATION = Subject(
    package="demopackage",
    call=calls.report,
    constant=("reports/text.py", "TITLE", "Open orders, edition "),
    imports=("pricing.py", ("mailbox", "plistlib", "wave", "zipapp", "colorsys")),
)


def show(runs: int) -> None:
    """Show the whole round: run, edit, import, crash, raise; then measure."""
    table = Table()
    heading("demopackage: a small application; importing external_package takes four seconds")
    with copy_of("demopackage") as project, ExitStack() as stack:
        say(f"its sources are copied to {project.path}, to be edited there")
        environment, seconds = start(APPLICATION, stack)
        show_start(environment, seconds)
        show_run(environment)
        show_edit(environment, project)
        show_new_import(environment, project)
        show_crash(environment)
        show_exception(environment)
        measure(APPLICATION, project, environment, table, runs)
    heading("demopackage: times")
    for line in table.lines():
        say(line)


def show_start(environment: Environment, seconds: float) -> None:
    milliseconds = environment.modules["external_package"].milliseconds
    say(f"the environment is ready after {spoken(seconds)}")
    slowest = spoken(milliseconds / 1000)
    say(f"{len(environment.modules)} modules are preloaded; external_package took {slowest}")
    for name, skipped in environment.skipped.items():
        say(f"not preloaded: {name} ({skipped.reason})")


def show_run(environment: Environment) -> None:
    heading("A run, in a process forked from the template")
    process, seconds = timed(lambda: finished(environment))
    say(f"{process} needed {spoken(seconds)}")


def finished(environment: Environment) -> str:
    process = environment.exec(calls.print_report)
    process.result()
    return f"{process.process_name}, pid {process.pid},"


def show_edit(environment: Environment, project: Project) -> None:
    heading("An edit: the title in demopackage/reports/text.py")
    project.set_constant("reports/text.py", "TITLE", "Open orders, by customer")
    text, seconds = timed(lambda: environment.run(calls.report))
    quote(text)
    claim("by customer" in text, f"the next run has the new title, after {spoken(seconds)}")


def show_new_import(environment: Environment, project: Project) -> None:
    module = "external_package.exchange"
    heading(f"A new import: {module}, half a second slow, in demopackage/pricing.py")
    claim(not environment.update_environment(), "before it, update_environment() does nothing")
    project.add_import("pricing.py", module)
    _, seconds = timed(lambda: environment.run(calls.report))
    say(f"a run now imports it itself and takes {spoken(seconds)}")
    rebuilt, seconds = timed(environment.update_environment)
    claim(rebuilt, f"update_environment() replaces the template in {spoken(seconds)}")
    claim(environment.run(calls.is_loaded, module), "a child has the module from its first moment")
    _, seconds = timed(lambda: environment.run(calls.report))
    say(f"a run takes {spoken(seconds)}")


def show_crash(environment: Environment) -> None:
    heading("A crash: a child reads address 0")
    process = environment.exec(calls.crash)
    error, seconds = timed(lambda: process.exception(timeout=10))
    quote(f"{type(error).__name__}: {error}")
    claim(
        isinstance(error, ChildExited) and process.exitcode == -11,
        f"reported after {spoken(seconds)}; the exit code is {process.exitcode}",
    )
    claim(environment.run(calls.customer_of, 7) == "Okafor", "the environment goes on as before")


def show_exception(environment: Environment) -> None:
    heading("An exception: no order has the number 99")
    try:
        environment.run(calls.customer_of, 99)
    except ChildError as error:
        cause = error.__cause__
        quote(f"{type(error).__name__}: {error}")
        quote(str(cause.__cause__ if cause else None).strip())
        claim(
            getattr(cause, "number", None) == 99,
            f"its cause is the {type(cause).__name__} itself, which still knows the number",
        )
    else:
        claim(False, "an exception in a child is raised in the host")
