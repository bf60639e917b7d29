"""Programs written for firehot 0.5 run unchanged, except that a result is the object."""

from __future__ import annotations

from uuid import UUID

import childwork
from support import Project, Scripts

from firehot.context import isolate_imports, resolve_package_metadata
from firehot.environment import Environment, IsolatedProcess
from firehot.naming import NAME_REGISTRY


def test_the_methods_of_firehot_0_5_work(project: Project) -> None:
    with isolate_imports(project.name) as environment:
        assert isinstance(environment, Environment)
        assert isinstance(environment.runner_id, str)
        process = environment.exec(childwork.double, 4, name="x")
        assert isinstance(process, IsolatedProcess)
        assert process.process_name == "x"
        assert isinstance(process.process_uuid, UUID)
        assert environment.communicate_isolated(process) == 8
        blocked = environment.exec(childwork.block, name=NAME_REGISTRY.reserve_random_name())
        assert environment.stop_isolated(blocked) is True
        assert environment.update_environment() is False


def test_a_package_is_located_without_being_imported(project: Project) -> None:
    project.write("__init__.py", "raise RuntimeError('imported')")
    folder, name = resolve_package_metadata(project.name)
    assert (folder, name) == (str(project.package), project.name)


def test_a_program_of_firehot_0_5_runs(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        from os import getpid, getppid
        from time import sleep
        from firehot.context import isolate_imports
        from firehot.naming import NAME_REGISTRY

        def run_with_value(value: int):
            print(f"Running with value: {value}")
            return value

        def main():
            with isolate_imports("my_package") as runner:
                first = runner.exec(run_with_value, 1, name=NAME_REGISTRY.reserve_random_name())
                second = runner.exec(sleep, 1000, name="sleeper")
                print(runner.communicate_isolated(first))
                runner.stop_isolated(second)
                runner.update_environment()

        if __name__ == "__main__":
            main()
        """
    )
    lines = finished.ok().splitlines()
    assert lines[0].endswith("Running with value: 1") and lines[1] == "1"
