"""A template that falls silent after its last import. Its limit is 30 seconds: longer than a test may take."""

from __future__ import annotations

import pytest
from scale import SCALE
from support import Project, skipped


@pytest.mark.skipif(SCALE < 1, reason="takes 40 s: run by make soak")
def test_an_import_that_stops_the_template_after_it_is_found_and_left_out(project: Project) -> None:
    text = "import gc, threading\nclass Stops:\n    def __del__(self):\n        threading.Event().wait()\n"
    project.dependency("stops.py", text + "made = Stops()\nmade.itself = made\ndel made\n")
    project.dependency("quiet.py")
    project.write("app.py", "import quiet\nimport stops\n")
    with project.open() as environment:
        assert "did not answer" in skipped(environment)["stops"]
        assert "quiet" in environment.modules
