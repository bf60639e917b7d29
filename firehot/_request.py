"""What a client asks of the daemon: the header and the body of its frame, as one object. Decides nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from firehot.errors import FirehotError

_UTF8 = ("utf-8", "utf8")
_PLAIN = ("", "c", "posix")
_NEEDED = ("umask", "ignored", "blocked", "limits", "affinity", "nice", "places", "terminal", "descriptors", "saved")


@dataclass(frozen=True)
class Request:
    """A program that a client wants to run, and the state that it shall find.

    Attributes:
        kind: "script", "module", "code" or "function".
        target: The script as given, the module, "-c", or "package.module:function".
        code: The text of `-c`.
        args: `sys.argv[1:]`.
        options: Python's own, each as it would stand on the command line.
        words: All that stood behind `python`, as it was typed; empty where python has no such words for it.
        executable: The interpreter.
        cwd: The working directory.
        environ: The whole environment.
        path: `sys.path` without the folder of the script; empty where the options change it.
        header: The rest, as it came: `umask`, `ignored`, `blocked`, `limits`, `affinity`, `nice`, `places`, `terminal`,
            `asked`, `saved`.
        is_ascii: Whether no text of it depends on an encoding.
    """

    kind: str
    target: str
    code: bytes
    args: tuple[str, ...]
    options: tuple[str, ...]
    words: tuple[str, ...]
    executable: str
    cwd: str
    environ: dict[str, str]
    path: tuple[str, ...]
    header: dict[str, Any]
    is_ascii: bool

    @classmethod
    def parse(cls, header: dict[str, Any], body: bytes) -> Request:
        """Reads a request.

        Raises:
            FirehotError: It is none.
        """
        try:
            for name in _NEEDED:
                header[name]
            sections = dict(_sections(header["sections"], body))
            text = {name: tuple(os.fsdecode(item) for item in items) for name, items in sections.items()}
            variables = (item.partition("=") for item in text["environ"])
            return cls(
                kind=header["kind"],
                target=text["target"][0],
                code=sections["code"][0],
                args=text["args"],
                options=tuple(header["options"]),
                words=text["words"],
                executable=text["executable"][0],
                cwd=text["cwd"][0],
                environ={name: value for name, found, value in variables if found},
                path=text["path"],
                header=header,
                is_ascii=body.isascii(),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise FirehotError(f"a client has sent a request that is none: {error!r}") from error

    @property
    def argv(self) -> list[str]:
        """`sys.argv` of the program."""
        return ["-c" if self.kind == "code" else self.target, *self.args]

    @property
    def orig_argv(self) -> list[str]:
        """`sys.orig_argv`, as of the cold program."""
        if self.words:
            return [self.executable, *self.words]
        selected = {"code": ["-c", os.fsdecode(self.code)], "module": ["-m", self.target]}.get(self.kind, [self.target])
        return [self.executable, *self.options, *selected, *self.args]

    @property
    def title(self) -> str:
        """The target as the user knows it; a path that is no text is made one."""
        if self.header.get("asked") == "pytest":
            return "pytest"
        if self.header.get("asked") == "serve":
            return f"serve {self.args[0]}"
        if (program := self.debugged()) is not None:
            return f"{program.title} (debugpy)"
        title = {"code": "-c ...", "module": f"-m {self.target}"}.get(self.kind, self.target)
        return os.fsencode(title).decode(errors="backslashreplace")

    def debugged(self) -> Request | None:
        """The program that debugpy is to run, as if it were asked for itself; `None` where none is debugged."""
        if self.header.get("asked") != "debugpy":
            return None
        words = self.args[3:]  # --listen PORT --wait-for-client
        kind = {"-m": "module", "-c": "code"}.get(words[0], "script")
        target = words[0] if kind != "module" else words[1]
        return replace(
            self,
            kind=kind,
            target=target,
            code=os.fsencode(words[1]) if kind == "code" else b"",
            args=words[1:] if kind == "script" else words[2:],
            words=(),
            header={**self.header, "asked": "run"},
        )

    def has_option(self, letters: str) -> bool:
        """Whether one of python's one-letter options is among those given."""
        found = (option for option in self.options if option.startswith("-") and option[1:2] not in ("X", "W", "-"))
        return any(letter in option for option in found for letter in letters)

    def is_other_text(self) -> bool:
        """Whether the program's interpreter would read its texts in another encoding than this one."""
        locale = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := self.environ.get(name))), "")
        encoding = locale.partition("@")[0].partition(".")[2].lower()
        if locale.lower() in _PLAIN:
            # There Python takes UTF-8, unless it is told not to.
            return not self.is_ascii and ("-Xutf8=0" in self.options or self.environ.get("PYTHONUTF8") == "0")
        return not self.is_ascii and encoding not in _UTF8


def _sections(counts: list[tuple[str, int]], body: bytes) -> Iterator[tuple[str, list[bytes]]]:
    items = body.split(b"\0")
    at = 0
    for name, count in counts:
        yield name, items[at : at + count]
        at += count
    if at != len(items) - 1:
        raise ValueError(f"{at} texts announced, {len(items) - 1} came")


def decode_header(header: bytes) -> dict[str, Any]:
    """A frame's header.

    Raises:
        FirehotError: It is none.
    """
    try:
        found = json.loads(header)
        if isinstance(found, dict) and isinstance(found["type"], str):
            return found
    except (ValueError, KeyError, RecursionError):
        pass
    raise FirehotError("a client has sent a message that is none")
