"""The commands below `firehot rust`, each by its name."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from firehot import _core, _rust_new, _rust_site
from firehot._command import UsageError
from firehot._rust_build import Builder, show, terminal_width
from firehot._rust_quick import cache_folder
from firehot._rust_settings import from_environment
from firehot.errors import FirehotError, RustBuildError

Command = dict[str, Any]


def execute(command: Command) -> int:
    """Executes one; returns the exit status."""
    return _COMMANDS[command["command"]](command)


def new(command: Command) -> int:
    """`firehot rust new`."""
    made = _rust_new.make(Path(command["path"]), is_mixed=command["mixed"])
    print(f"made {made.place}")
    print("\n".join(made.next_steps))
    return 0


def build(command: Command) -> int:
    """`firehot rust build`: all, several at once; one that fails stops no other."""
    builder = Builder()
    if from_environment().prebuilt:
        raise FirehotError("FIREHOT_RUST_PREBUILT is set, so nothing may be built")
    extensions, problems = builder.workshop.survey(_roots(command))
    for _, why in problems:
        print(f"firehot: {why}", file=sys.stderr)
    if not extensions and not problems:
        print("firehot: there is no Rust extension to build", file=sys.stderr)
    failed = len(problems)

    def one(extension: _core.Extension) -> tuple[Path, bool, str]:
        settings = _settings(builder, extension, command)
        return builder.workshop.build(extension, settings, show, terminal_width())

    def tell(extension: _core.Extension, result: Callable[[], tuple[Path, bool, str]]) -> int:
        try:
            file, has_run, _ = result()
        except FirehotError as error:
            print(f"firehot: {_brief(extension, error)}", file=sys.stderr)
            return 1
        print(f"{'built' if has_run else 'fresh'} {extension.module} {extension.place}\n  {file}", flush=True)
        return 0

    if len(extensions) == 1:
        # On this thread Ctrl-C is seen while cargo runs.
        failed += tell(extensions[0], lambda: one(extensions[0]))
    elif extensions:
        with ThreadPoolExecutor(min(len(extensions), os.cpu_count() or 1), "firehot-rust") as pool:
            running = {pool.submit(one, extension): extension for extension in extensions}
            failed += sum(tell(running[done], done.result) for done in as_completed(running))
    if command["release"] and len(extensions) + len(problems) > failed:
        hint = "imports load these with FIREHOT_RUST_RELEASE=1, or release = true in [tool.firehot.rust]"
        print(f"firehot: {hint}", file=sys.stderr)
    if failed:
        print(f"firehot: {failed} of {len(extensions) + len(problems)} failed", file=sys.stderr)
    return min(failed, 1)


def _brief(extension: _core.Extension, error: FirehotError) -> str:
    if isinstance(error, RustBuildError) and error.diagnostics:
        # They were shown as they came.
        return f"{extension.module}: {extension.place} does not build"
    return f"{extension.module}: {error}"


def status(command: Command) -> int:
    """`firehot rust status`."""
    builder = Builder()
    found, broken = builder.workshop.survey(_roots(command))
    problems = [{"place": str(place), "why": why} for place, why in broken]
    extensions = []
    for extension in found:
        try:
            state, file, why = builder.workshop.check(extension, _settings(builder, extension, command))
        except FirehotError as error:
            problems.append({"place": str(extension.place), "why": str(error)})
            continue
        extensions.append(
            {
                "module": extension.module,
                "kind": extension.kind,
                "place": str(extension.place),
                "state": "never built" if state == "missing" else state,
                "why": why,
                "file": None if file is None else str(file),
            }
        )
    if command["json"]:
        _print_json({"cache": str(builder.workshop.cache), "extensions": extensions, "problems": problems})
        return 0
    for each in extensions:
        print(f"{each['module']}: {each['state']}" + (f", {each['why']}" if each["why"] else ""))
        print(f"  place  {each['place']}")
        if each["file"]:
            print(f"  loads  {each['file']}")
    for problem in problems:
        print(f"can't be built: {problem['why']}")
    if not extensions and not problems:
        print("firehot: there is no Rust extension", file=sys.stderr)
    return 0


def show_crate(command: Command) -> int:
    """`firehot rust show`: what cargo is given, ready to be copied."""
    builder = Builder()
    extension = _at(builder, os.path.abspath(command["path"]))
    settings = builder.settings(extension).for_engine()
    (manifest, text), library, is_made, arguments = builder.workshop.shown(extension, settings)
    print(f"# {manifest}" + ("" if is_made else " (your own: nothing is made for it)"))
    print(text.rstrip("\n"))
    if arguments:
        print(f"\n# for rustc: {' '.join(arguments)}")
    if library is not None:
        print(f"\n// {library[0]}")
        print(library[1].rstrip("\n"))
    return 0


def _at(builder: Builder, place: str) -> _core.Extension:
    """What an import would build from there; without the opt-in, what `imp_from_path` would."""
    if not os.path.exists(place):
        raise UsageError(f"there is no {place}")
    is_crate = os.path.isfile(os.path.join(place, "Cargo.toml"))
    is_project = os.path.isfile(os.path.join(place, "pyproject.toml"))
    if not place.endswith(".rs") and not is_crate and not is_project:
        raise UsageError(f"{place} is no .rs file and no folder of a crate")
    found, problems = builder.workshop.survey([place])
    for extension in found:
        if str(extension.place) == place:
            return extension
    for where, why in problems:
        if str(where) == place:
            raise FirehotError(why)
    return builder.workshop.at(Path(place).stem.replace("-", "_"), place)


def cache_info(command: Command) -> int:
    """`firehot rust cache info`."""
    folder = cache_folder(from_environment().cache_dir)
    found = _core.rust_cache_contents(folder)
    if command["json"]:
        _print_json({"folder": folder, **found}, default=str)
        return 0
    print(f"{folder}: {_size(found['size'])}")
    for each in found["extensions"]:
        if "module" in each:
            gone = "" if os.path.exists(each["place"]) else ", which is gone"
            print(f"  {each['module']}: {_size(each['size'])}, of {each['place']}{gone}")
        else:
            print(f"  {each['folder']}: {_size(each['size'])}, without a good build")
    for each in found["targets"]:
        print(f"  {each['folder']}: {_size(each['size'])}, where cargo works")
    return 0


def cache_clear(command: Command) -> int:
    """`firehot rust cache clear`."""
    folder = cache_folder(from_environment().cache_dir)
    freed = _core.rust_cache_clear(folder)
    if command["json"]:
        _print_json({"folder": folder, "freed": freed})
    else:
        print(f"{folder}: {_size(freed)} freed")
    return 0


def site(command: Command) -> int:
    """`firehot rust site ...`."""
    action = command["command"].rpartition(" ")[2]
    found = _rust_site.act(action, is_user=command["user"])
    if command["json"]:
        _print_json(found)
    else:
        print(_rust_site.words(found))
    return 0


def _settings(builder: Builder, extension: _core.Extension, command: Command) -> dict[str, Any]:
    """What counts for one extension; the command line counts most."""
    settings = builder.settings(extension).for_engine()
    if command["release"]:
        settings.update(release=True, profile=None)
    if command.get("force"):
        settings["force"] = True
    if command.get("jobs") is not None:
        settings["jobs"] = command["jobs"]
    return settings


def _roots(command: Command) -> list[str]:
    roots = [os.path.abspath(root) for root in command["roots"]]
    for root in roots:
        if not os.path.exists(root):
            raise UsageError(f"there is no {root}")
    return roots


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _print_json(data: dict[str, Any], default: Callable[[Any], Any] | None = None) -> None:
    print(json.dumps(data, indent=2, default=default))


_COMMANDS: dict[str, Callable[[Command], int]] = {
    "rust new": new,
    "rust build": build,
    "rust status": status,
    "rust show": show_crate,
    "rust cache info": cache_info,
    "rust cache clear": cache_clear,
    "rust site info": site,
    "rust site install": site,
    "rust site uninstall": site,
}
