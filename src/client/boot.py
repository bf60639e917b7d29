# The start of a daemon, handed to the interpreter as text. Arguments: folder of the package, socket, lock, log, project
# root, and what is to be written into the lock. The process that the client waits for ends when the socket listens.
import os
import sys

for name in os.listdir("/dev/fd"):
    if int(name) > 2:
        try:
            os.close(int(name))
        except OSError:
            pass  # The one that listed them.
told, tell = os.pipe()
if os.fork():
    os.close(tell)
    os._exit(0 if os.read(told, 1) else 1)
os.close(told)
os.setsid()
os.umask(0o077)
os.chdir("/")

import _signal

_signal.pthread_sigmask(_signal.SIG_SETMASK, ())
for number in _signal.valid_signals():
    if number not in (_signal.SIGPIPE, _signal.SIGXFSZ) and _signal.getsignal(number) == _signal.SIG_IGN:
        _signal.signal(number, _signal.SIG_DFL)

import fcntl
import time

import _socket

package, path, lock, log, root, facts = sys.argv[1:]
held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
for left in range(20, -1, -1):
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
    except BlockingIOError:
        # Somebody who lists the daemons holds it for a moment, or the one that this one replaces. Or another one lives.
        if not left:
            os.write(tell, b"0")
            os._exit(0)
        time.sleep(0.005)
os.ftruncate(held, 0)
os.pwrite(held, b'{"pid":%d,"started":%.3f,' % (os.getpid(), time.time()) + os.fsencode(facts), 0)
try:
    os.unlink(path)
except FileNotFoundError:
    pass
listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
listener.bind(path)
listener.listen(128)
os.write(tell, b"1")
os.close(tell)

# Behind the standard library: nothing of what is installed hides a module of it.
sys.path.append(os.path.dirname(package))
from firehot import _daemon

_daemon.main(listener.detach(), held, path, lock, log, root)
