"""The output of a fork that runs tests, where pytest captures descriptors.

pytest captures into one file, and takes what is there after each phase. Forks need a file each; the object in
`sys.stdout` stays, since others hold it.
"""

from __future__ import annotations

import faulthandler
import os
import tempfile
from typing import Any, BinaryIO

import pytest


class Output:
    """The files of one fork, made before it: when it dies, what it wrote last can be read here."""

    def __init__(self, config: pytest.Config) -> None:
        """Copies what the phase has written so far."""
        manager: Any = config.pluginmanager.getplugin("capturemanager")
        capturing: Any = getattr(manager, "_global_capturing", None)
        both: list[Any] = [getattr(capturing, name, None) for name in ("out", "err")]
        self._captures = [one for one in both if hasattr(one, "targetfd") and hasattr(one, "tmpfile")]
        self._files: list[BinaryIO] = []
        for capture in self._captures:
            file: BinaryIO = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by close()
            size = os.fstat(capture.tmpfile.fileno()).st_size
            if size:
                file.write(os.pread(capture.tmpfile.fileno(), size, 0))
            self._files.append(file)

    def enter_fork(self) -> None:
        """In the fork, while pytest captures."""
        for capture, file in zip(self._captures, self._files, strict=True):
            os.dup2(file.fileno(), capture.tmpfile.fileno(), inheritable=False)
            os.dup2(file.fileno(), capture.targetfd)
            if capture.targetfd == 2 and faulthandler.is_enabled():
                # So that the report has it, and not a terminal full of other things.
                faulthandler.enable(capture.targetfd)
        self.close()

    def rest(self) -> list[tuple[str, str]]:
        """What a fork that died has written in its last phase: key and text, as pytest has it in its sections."""
        texts = []
        for capture, file in zip(self._captures, self._files, strict=True):
            size = os.fstat(file.fileno()).st_size
            text = os.pread(file.fileno(), size, 0).decode("utf-8", "replace")
            texts.append(({1: "stdout"}.get(capture.targetfd, "stderr"), text))
        return [(key, text) for key, text in texts if text]

    def close(self) -> None:
        """In the process that reports."""
        for file in self._files:
            file.close()
        self._files = []
