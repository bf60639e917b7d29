"""Frames on a socket, as the template and the child read and write them: the Python half of `src/protocol`.

`u32 header length | u32 body length | JSON header | raw body`, little-endian. The primitives are taken from `posix`
and `json` at import, before any package had a chance to replace them.
"""

from __future__ import annotations

import _socket
import io
import re
import sys
from collections.abc import Callable
from json import dumps as _dumps
from json import loads as _loads
from posix import read as _read
from posix import write as _write
from struct import Struct
from typing import Any

PROTOCOL = 3
"""Must be `PROTOCOL` in `src/protocol/mod.rs`."""

_PREFIX = Struct("<II")
_MAX_HEADER = 16 << 20
_MAX_BODY = (1 << 32) - 1
_CHUNK = 1 << 20
_FIRST = 1 << 16
_INT_SIZE = 4


class BadFrame(Exception):
    """A stream that holds no frames; it can't be read further."""


def encode(header: dict[str, Any], body_length: int = 0) -> bytes:
    """Prefix and header of a frame; its body follows on the wire."""
    text = _json(header)
    if len(text) > _MAX_HEADER:
        raise BadFrame(f"header of {len(text)} bytes, at most {_MAX_HEADER} allowed")
    if body_length > _MAX_BODY:
        raise BadFrame(f"body of {body_length} bytes, at most {_MAX_BODY} allowed")
    return _PREFIX.pack(len(text), body_length) + text


def _json(header: dict[str, Any]) -> bytes:
    text = _dumps(header, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        # File names that are no UTF-8 come as lone surrogates, which JSON does not have: they are shown.
        return re.sub("[\ud800-\udfff]", lambda found: f"\\\\u{ord(found[0]):04x}", text).encode()


def decode(read_exactly: Callable[[int], bytes]) -> tuple[dict[str, Any], bytes]:
    """The next frame of a stream that gives as many bytes as it is asked for.

    Raises:
        BadFrame: What comes is no frame.
    """
    header_length, body_length = _PREFIX.unpack(read_exactly(_PREFIX.size))
    if header_length > _MAX_HEADER:
        raise BadFrame(f"header of {header_length} bytes, at most {_MAX_HEADER} allowed")
    text = read_exactly(header_length)
    try:
        header: object = _loads(text)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"header that is no JSON: {error}") from None
    if not isinstance(header, dict):
        raise BadFrame(f"header that is no object: {text[:80]!r}")
    return header, read_exactly(body_length)


def send(fd: int, header: dict[str, Any], body: bytes = b"") -> None:
    """Writes a whole frame to a blocking descriptor; a small one at once, so that its reader wakes once."""
    start = encode(header, len(body))
    for part in (start + body,) if len(body) < _FIRST else (start, body):
        view = memoryview(part)
        while view:
            view = view[_write(fd, view[:_CHUNK]) :]


def receive(fd: int) -> tuple[dict[str, Any], bytes]:
    """Reads one frame from a blocking descriptor.

    Raises:
        EOFError: The other side has closed.
    """

    def read_exactly(count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            piece = _read(fd, min(count - len(parts), _CHUNK))
            if not piece:
                raise EOFError("the other side has closed")
            parts += piece
        return bytes(parts)

    return decode(read_exactly)


def rehearse(body: bytes) -> bytes:
    """A frame with this body, written and read."""
    stream = io.BytesIO(encode({"type": "call"}, len(body)) + body)
    return decode(stream.read)[1]


def receive_with_descriptors(stream: Any, count: int) -> tuple[dict[str, Any], bytes, list[int]]:
    """Reads one frame from a blocking socket, and up to `count` descriptors that come with its first bytes.

    Raises:
        EOFError: The other side has closed.
    """
    first, ancillary, _, _ = stream.recvmsg(_FIRST, _socket.CMSG_SPACE(count * _INT_SIZE))
    if not first:
        raise EOFError("the other side has closed")
    rest = memoryview(first)

    def read_exactly(count: int) -> bytes:
        nonlocal rest
        parts, rest = bytearray(rest[:count]), rest[count:]
        while len(parts) < count:
            piece = stream.recv(min(count - len(parts), _CHUNK))
            if not piece:
                raise EOFError("the other side has closed")
            parts += piece
        return bytes(parts)

    header, body = decode(read_exactly)
    return header, body, descriptors(ancillary)


def descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """What came by SCM_RIGHTS."""
    found: list[int] = []
    for level, kind, content in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            whole = len(content) - len(content) % _INT_SIZE
            found.extend(
                int.from_bytes(content[at : at + _INT_SIZE], sys.byteorder) for at in range(0, whole, _INT_SIZE)
            )
    return found
