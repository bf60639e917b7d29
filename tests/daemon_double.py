"""A daemon as the client sees one, for tests of the client alone: it runs real interpreters, each started anew.

It is put where the client looks for `firehot/_daemon.py`. What it answers is in `answer` of the project's folder: "run"
(by default), "cold TEXT", "quiet TEXT", "mismatch", "nothing" (takes the request, and says nothing), "end", "ready"
(agrees, and then says nothing).
"""

import array
import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import termios
import threading
import time

_PREFIX = struct.Struct("<II")


def main(tell, path, lock, log, root, facts):
    held = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    for left in range(20, -1, -1):
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if not left:
                os.write(tell, b"0")
                return
            time.sleep(0.005)
    os.ftruncate(held, 0)
    os.pwrite(held, f'{{"pid":{os.getpid()},"started":{time.time()},{facts}'.encode(), 0)
    if os.path.exists(path):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(8)
    os.write(tell, b"1")
    os.close(tell)
    first = os.fstat(0).st_size
    print(f"started with {first} bytes", flush=True)
    while True:
        connection, _ = server.accept()
        threading.Thread(target=_serve, args=(connection, path, root), daemon=True).start()


class _Frames:
    def __init__(self, connection):
        self.connection = connection
        self.bytes = b""
        self.descriptors = []
        self.lock = threading.Lock()

    def read(self):
        """The next frame, or `None` at the end."""
        while True:
            if len(self.bytes) >= _PREFIX.size:
                header, body = _PREFIX.unpack_from(self.bytes)
                end = _PREFIX.size + header + body
                if len(self.bytes) >= end:
                    frame = self.bytes[_PREFIX.size : end]
                    self.bytes = self.bytes[end:]
                    return json.loads(frame[:header]), frame[header:]
            try:
                got, ancillary, _, _ = self.connection.recvmsg(1 << 16, socket.CMSG_SPACE(32 * 4))
            except ConnectionResetError:
                return None
            for level, kind, data in ancillary:
                assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
                found = array.array("i")
                found.frombytes(data)
                self.descriptors += found
            if not got:
                return None
            self.bytes += got

    def send(self, **header):
        text = json.dumps(header).encode()
        with self.lock, contextlib.suppress(OSError):
            self.connection.sendall(_PREFIX.pack(len(text), 0) + text)


def _serve(connection, path, root):
    frames = _Frames(connection)
    hello = frames.read()
    request = frames.read()
    if request is None:
        return
    assert hello[0]["type"] == "hello" and hello[0]["protocol"] == 1, hello
    header, body = request
    kind = header["type"]
    if kind == "stop":
        os.unlink(path)
        frames.send(type="answer", stopped=True)
        os._exit(0)
    if kind != "run":
        frames.send(type="answer", pid=os.getpid(), asked=header)
        return
    try:
        with open(os.path.join(root, "answer")) as file:
            answer, _, reason = file.read().strip().partition(" ")
    except FileNotFoundError:
        answer, reason = "run", ""
    if answer in ("cold", "quiet"):
        frames.send(type="cold", reason=reason, quiet=answer == "quiet")
    elif answer == "mismatch":
        os.unlink(path)
        frames.send(type="mismatch")
        os._exit(0)
    elif answer == "end":
        os._exit(0)
    elif answer == "ready":
        frames.send(type="ready")
        assert frames.read()[0]["type"] == "go"
        open(os.path.join(root, "agreed"), "w").close()
        frames.read()
    elif answer == "nothing":
        frames.read()
    else:
        frames.send(type="ready")
        said = frames.read()
        if said is not None:
            assert said[0] == {"type": "go"}, said
            _run(frames, header, body)
    for descriptor in frames.descriptors:
        os.close(descriptor)
    connection.close()


def _run(frames, header, body):
    strings = body.split(b"\0")
    found = {}
    for name, count in header["sections"]:
        found[name], strings = strings[:count], strings[count:]
    numbers = [0, 1, 2, *header["descriptors"]]
    assert strings == [b""] and len(frames.descriptors) == len(numbers)
    target = found["target"][0]
    what = {
        "script": [target],
        "module": [b"-m", target],
        "code": [b"-c", found["code"][0]],
    }[header["kind"]]
    command = [found["executable"][0], *map(os.fsencode, header["options"]), *what, *found["args"]]
    environ = dict(variable.split(b"=", 1) for variable in found["environ"])
    environ[b"DOUBLE"] = str(os.getpid()).encode()
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setsid()
            if header["terminal"]:
                fd = os.open(header["terminal"], os.O_RDWR)
                fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
                os.close(fd)
            # Out of each other's way first.
            moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 300) for descriptor in (*frames.descriptors, tell)]
            os.closerange(3, 300)
            for number, descriptor in zip(numbers, moved[:-1], strict=True):
                os.dup2(descriptor, number)
            os.umask(header["umask"])
            os.chdir(found["cwd"][0])
            for number in header["ignored"]:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, header["blocked"])
            os.execve(command[0], command, environ)
        finally:
            os._exit(127)
    os.close(tell)
    os.read(told, 1)  # Its end: it leads its group, and has become the program.
    os.close(told)
    # Its ends of them are the only ones that are left.
    for descriptor in frames.descriptors:
        os.close(descriptor)
    frames.descriptors = []
    ended = threading.Event()

    def wait():
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        ended.set()
        frames.send(type="exited", status=status)

    frames.send(type="started", pid=pid)
    threading.Thread(target=wait, daemon=True).start()
    while (said := frames.read()) is not None:
        assert said[0]["type"] == "signal", said
        _send(pid, said[0]["number"])
    if not ended.is_set():
        _send(pid, signal.SIGHUP)
        _send(pid, signal.SIGTERM)
        _send(pid, signal.SIGCONT)
        time.sleep(0.5)
        _send(pid, signal.SIGKILL)


def _send(group, number):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


if sys.platform == "linux":
    import ctypes

    # A test that kills the daemon leaves none of its programs; a template's children die with it, too.
    _libc = ctypes.CDLL(None)
    os.register_at_fork(after_in_child=lambda: _libc.prctl(1, signal.SIGKILL))
