"""What every command says of itself, and of arguments that make no sense."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import firehot

PAGE = Path(__file__).resolve().parents[2] / "docs/commands.md"
COMMANDS = [
    "",
    "run",
    "pytest",
    "serve",
    "shell",
    "warm",
    "imports",
    "why",
    "doctor",
    "status",
    "stop",
    "restart",
    "logs",
    "completion",
    "rust",
    "rust new",
    "rust build",
    "rust status",
    "rust show",
    "rust cache",
    "rust cache info",
    "rust cache clear",
    "rust site",
    "rust site info",
    "rust site install",
    "rust site uninstall",
]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firehot", *words]
    env = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def help_of(command: str, option: str = "--help") -> str:
    done = run(*command.split(), option)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def code_blocks() -> list[str]:
    return re.findall(r"^```text\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_fits_on_a_screen_and_is_in_the_docs(command: str) -> None:
    text = help_of(command)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    # A line is the prompt's.
    assert len(lines) <= 23
    assert "\x1b" not in text
    assert f"$ {' '.join(['firehot', *command.split(), '--help'])}\n{text.rstrip()}\n" in code_blocks()
    assert help_of(command, "-h") == text
    for option in re.split(r"\n(?=  -|      --)", text.partition("Options:")[2]):
        if option.strip() and not re.match(r"\s*(-h|-V)", option):
            assert "[default: " in " ".join(option.split())


def test_no_help_is_missing_in_this_test() -> None:
    found = [""]
    for command in found:
        listed = re.findall(r"^  (\w+) +[A-Z]", help_of(command).partition("Commands:")[2], re.MULTILINE)
        found += [f"{command} {name}".strip() for name in listed]
    assert sorted(found) == sorted(COMMANDS)


def test_each_command_has_a_section_in_the_docs() -> None:
    sections = re.findall(r"^## (.*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    named = {name for section in sections for name in re.findall(r"`firehot ([\w ]+)`", section)}
    assert {command for command in COMMANDS if command and command.count(" ") < 2} - {"rust"} <= named


def test_the_version_is_told() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"firehot {firehot.__version__}\n")


@pytest.mark.parametrize(
    "line",
    [
        *("", "nonsense", "warm", "status --all", "stop project", "imports --nonsense", "completion", "completion csh"),
        *("rust", "rust bild", "rust new", "rust build --jobs 0", "rust show"),
    ],
)
def test_what_is_no_command_ends_with_status_2(line: str) -> None:
    done = run(*line.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert "--help" in done.stderr or "Usage: firehot" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_names_every_command(shell: str) -> None:
    done = run("completion", shell)
    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert not command or command.split()[-1] in done.stdout
    # What only firehot itself calls.
    assert "generation" not in done.stdout
