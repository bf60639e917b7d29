# ruff: noqa: D100, E402, SIM105
# The start of a daemon, handed to the interpreter as text. Arguments: folder of the package, socket, lock, log, project
# root, what is to be written into the lock, and "wait" where the process that the client waits for ends when the socket
# listens; else it ends at once.
import os
import sys

try:
    held = [int(name) for name in os.listdir("/dev/fd")]
except OSError:
    held = list(range(1024))  # There is no /proc.
for number in held:
    if number > 2:
        try:
            os.close(number)
        except OSError:
            pass  # The one that listed them.
package, path, lock, log, root, facts, wait = sys.argv[1:]
told, tell = os.pipe()
if os.fork():
    os.close(tell)
    if not wait:
        os._exit(0)
    import select

    # One that hangs as it starts, as on a disk that does not answer, is not waited for without end.
    os._exit(0 if select.select([told], (), (), 10)[0] and os.read(told, 1) else 1)
if wait:
    os.close(told)  # Else it stays, so that who tells is not killed for it.
os.setsid()
os.umask(0o077)
os.chdir("/")

import _signal

_signal.pthread_sigmask(_signal.SIG_SETMASK, ())
for number in _signal.valid_signals():
    if number not in (_signal.SIGPIPE, _signal.SIGXFSZ) and _signal.getsignal(number) == _signal.SIG_IGN:
        _signal.signal(number, _signal.SIG_DFL)

# Behind the standard library: nothing of what is installed hides a module of it.
sys.path.append(os.path.dirname(package))
from firehot import _daemon

_daemon.main(tell, path, lock, log, root, facts)
