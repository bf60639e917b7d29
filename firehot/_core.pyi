"""The engine of firehot, compiled from Rust: scans, starts templates, forks children, collects outcomes.

Use `firehot.isolate_imports` and `firehot.Environment`; this module is what they stand on and may change with them.
All waits give up the GIL and look after signals at least every 100 ms.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias, final

__all__ = [
    "Connection",
    "Engine",
    "Extension",
    "Listener",
    "Pump",
    "Stdio",
    "Ticket",
    "Watch",
    "Workshop",
    "__version__",
    "client_ask",
    "client_build",
    "client_cold",
    "client_place",
    "client_places",
    "client_run",
    "client_surroundings",
    "client_warm",
    "configure_logging",
    "import_links",
    "imports_of",
    "parse_command",
    "rust_cache_clear",
    "rust_cache_contents",
    "rust_name_problem",
    "signal_name",
    "unchanged_build",
    "watch_folder",
]
_Changes: TypeAlias = tuple[list[Path], list[Path], list[Path]]
_Launch: TypeAlias = tuple[str, list[str], list[tuple[str, str]], str, list[str]]

__version__: str
"""Version of the compiled part; equal to `firehot.__version__`."""

@final
class Engine:
    """One package's scanner and template, and the thread that owns them.

    Args:
        scan: What to scan: `package` (dotted name), `locations` (its folders, or its one file), `own_folders` (what
            lies in one and is not installed is first-party), `only_reached` (whether only the locations and what their
            imports reach is scanned, not all of a package's folder), `modules` (more files to scan, each with the name
            that it is imported by), `first_party`, `ignored`, `preload` (names),
            `sys_path`, `site_folders` (absolute folders), `builtin_modules`, `stdlib_modules` (names).
        policy: How templates are judged: `import_timeout` (seconds that the import of one module may take),
            `native_variables` (names of environment variables that C code reads, `*` for any end), `leave_out` (pairs
            of a module that must not be in a template and the reason), `safe` (modules that are not judged), `python`
            (implementation and version, which verdicts are about), `spares` (how many children are forked ahead),
            `cache` (folder for verdicts and for what was learned, or `None`), `learn` (whether what children import
            themselves is preloaded from then on), `warm_first_party` (whether the project's own modules are imported
            ahead), `watch` (whether a watcher tells the scan what has changed), `must_poll` (whether it polls where the
            system could tell).
        setup: Called before each start of a template, with its `sys.path`; makes the body of `setup`.
        launch: What to start the template with: executable, arguments, environment, working directory, `sys.path`.

    Raises:
        TemplateError: The template can't be started.
        FirehotError: No location can be read.
        OSError: No descriptors, threads or processes are left.
    """

    def __new__(
        cls,
        scan: dict[str, Any],
        policy: dict[str, Any],
        setup: Callable[[list[str]], bytes],
        launch: _Launch,
    ) -> Engine: ...
    def differs(self, launch: _Launch) -> str:
        """What of `launch` the template has read while it was otherwise, in words; empty if nothing is."""

    def exec_if_warm(
        self, name: str, call: bytes, stdio: Stdio, host: _Launch
    ) -> tuple[Ticket, Literal["runs"], str] | tuple[None, Literal["differs", "stale", "missing"], str]:
        """Forks a child for a program if there is a template for it now; builds none, and waits for the fork only.

        The child leads a process group of its own, which gets the signals of `Ticket.signal` and `stop`.

        Args:
            name: For messages.
            call: Body of the `call` message, from `firehot._call.pack_program`.
            stdio: What becomes its stdin, stdout and stderr.
            host: What the program shall find, and its template must have been started with where imports have read it.

        Returns:
            The ticket; or `None`, what stands in the way, and the reason in words: the caller `"differs"` from what the
            template was started with, the template is `"stale"`, or it is `"missing"` (not ready yet, or dead).

        Raises:
            ForkError: The system refused another process.
            EnvironmentClosedError: The engine is closed.
        """

    def update(self, launch: _Launch) -> bool:
        """Scans again and builds a new template when the import set, or anything the template has read, has changed.

        Returns:
            True when the template was replaced.

        Raises:
            TemplateError: It can't be started; the old one stays.
        """

    def exec(
        self,
        name: str,
        call: bytes,
        mode: str,
        timeout: float | None,
        cloudpickle: str | None,
        host: _Launch,
        own: _Launch | None,
    ) -> Ticket:
        """Forks a child and gives it its call; waits for the fork, not for the call.

        A template that is not true any more is replaced first.

        Args:
            name: For messages and prefixes.
            call: Body of the `call` message, from `firehot._call.pack`.
            mode: `"prefix"`, `"inherit"` or `"capture"`.
            timeout: Seconds that the child may run.
            cloudpickle: Folder of cloudpickle when the call needs it.
            host: What a template of the host as it is would be started with.
            own: The same with the call's own variables and directory, when it has any.

        Raises:
            ForkError: The system refused another process.
            EnvironmentClosedError: The engine was closed.
            OSError: No descriptors are left.
        """

    def stop(self, ticket: Ticket, grace: float) -> None:
        """Sends SIGTERM, and SIGKILL after `grace` seconds; does not wait."""

    def report(
        self, patience: float | None = None
    ) -> tuple[list[tuple[str, int, bool]], list[tuple[str, str, list[tuple[str, int, str]]]], dict[str, str]]:
        """What is preloaded, what is not, and what is said of each package.

        Args:
            patience: Seconds to wait for what is being built; when they are over, it is what was preloaded before.

        Returns:
            (Name, microseconds, whether it was learned) of each; (name, reason, [(file, line, text)]) of each; verdicts
            by package.
        """

    def imports(
        self, patience: float | None = None
    ) -> list[
        tuple[
            str,
            list[tuple[str, int]],
            int | None,
            bool,
            list[tuple[str, int, str]],
            list[tuple[str, str | None, str | None, int, int, int, str | None]],
            list[str],
            list[tuple[str, str, str]],
        ]
    ]:
        """What the template was asked to import, in order, for users.

        Returns:
            Of each: the module's name; it and the submodules that were asked for by name, with the microseconds that
            each took with what came with it; by how many bytes the template has grown (`None` where the system does
            not tell); whether it was learned; where the project imports it (file, line, text); what came into
            `sys.modules`: name, file, the module whose code asked for it where that is known, microseconds without and
            with what it imported first, bytes that the template has grown by, the module during whose import its own
            began; other files that were read; side effects: kind, detail, the module that had it.
        """

    def levels(self) -> list[int]:
        """The templates that stand on each other and serve now, the lowest first: each has a number of its own."""

    def last_rebuild(self, patience: float | None = None) -> str | None:
        """Why the template was last replaced; `None` when it never was. Waits as `report` does."""

    def watch(self) -> Watch:
        """A new reader of what changes in the folders that the scan covers; told of all that comes after this call.

        Raises:
            EnvironmentClosedError: The engine was closed.
            OSError: No threads are left.
        """

    def pump(self) -> Pump:
        """For the output thread, which must not hold the engine itself."""

    def close(self, grace: float) -> None:
        """Starts to stop everything: SIGTERM, SIGKILL after `grace` seconds; does not wait."""

    def wait_closed(self, timeout: float) -> bool:
        """Waits until everything has ended, at most `timeout` seconds; True when it has."""

@final
class Pump:
    """The way of children's output to the thread that writes it."""

    def next_task(self) -> tuple[int, str, int | None, bytes] | None:
        """Waits for the next task of the output thread; `None` when the engine has ended.

        Returns:
            Id and name of a child, 1 or 2 for where to write the lines that follow, or `None` when those who asked
            about the child are to be told. Asking for the next task says that the last one is done.
        """

@final
class Stdio:
    """A client's stdin, stdout, stderr and further descriptors, as they came."""

    def close(self) -> None:
        """Lets them go: a child that has them keeps them."""

@final
class Connection:
    """The socket to one client of this user. One thread may read while another writes."""

    def receive(self) -> tuple[bytes, bytes] | None:
        """Header and body of the next frame, waiting for it; `None` when the client is gone.

        Raises:
            OSError: What comes is no frame.
        """

    def take_stdio(self, count: int) -> Stdio | None:
        """The descriptors that came with what was received; `None` when there were not so many."""

    def send(self, header: bytes, body: bytes = ...) -> None:
        """Sends a frame.

        Raises:
            OSError: The client is gone.
        """

    def close(self) -> None:
        """Ends the connection, and the wait of a thread in `receive`."""

@final
class Listener:
    """What a daemon listens on, and the lock that says that it is the daemon."""

    @staticmethod
    def open(socket: str, lock: str, told: bytes) -> Listener | None:
        """Takes the lock and listens; `None` when another process has the lock.

        Args:
            socket: Where clients connect.
            lock: The file that is locked; its holder is the daemon.
            told: What is left in that file for those who list daemons.

        Raises:
            OSError: The system says no.
        """

    def wait(self, timeout: float | None = None) -> Connection | None:
        """The next client; `None` when it was rung, a signal came, or `timeout` seconds are over."""

    def waker(self) -> int:
        """A byte written to this descriptor ends a wait: for `signal.set_wakeup_fd`."""

    def ring(self) -> None:
        """Ends a wait, from another thread."""

    def hide(self) -> None:
        """Takes the socket away: nobody comes any more, and no other daemon either."""

    def leave(self) -> None:
        """Takes the socket away and gives the lock back: the next daemon may come. Does nothing the second time."""

@final
class Ticket:
    """One child: what its waiters wait on."""

    @property
    def id(self) -> int:
        """Unique within its engine."""

    @property
    def pid(self) -> int | None:
        """Its process id."""

    def reply(
        self,
    ) -> tuple[Literal["returned", "raised", "unpicklable"], str, str, str, bytes] | None:
        """How the call ended: kind, type name, text, traceback, pickle. `None` while there is no reply."""

    def end(
        self,
    ) -> (
        tuple[
            int | None,
            Literal["itself", "fork-failed", "template-died", "timed-out", "closed"],
            str,
            str,
        ]
        | None
    ):
        """How the process ended: exit status as in `subprocess`, cause, detail of the cause, last lines of stderr."""

    def captured(self) -> bytes:
        """Captured output so far."""

    def wait(self, until: str, timeout: float | None = None) -> bool:
        """Waits for a `"reply"` or the `"end"` (which comes in place of a reply as well).

        Returns:
            False when `timeout` seconds are over.
        """

    def signal(self, number: int) -> None:
        """Sends a signal to the child, or to its process group if it is a program; nothing when it has ended."""

    def claim(self) -> None:
        """Says that somebody knows of the child; one whose ticket is dropped unclaimed is stopped."""

    def forget_body(self) -> None:
        """Lets the reply's pickle go."""

    def watch(self, until: str) -> bool:
        """Asks to be told through `Pump.next_task` when there is a `"reply"` (or the end), or the `"end"`.

        Returns:
            False when there already is.
        """

@final
class Watch:
    """What one reader is told of changes: three sorted lists, of added, changed and removed files."""

    def wait(self, timeout: float | None = None) -> _Changes | None:
        """Waits for changes; `None` when the watch has ended.

        Raises:
            TimeoutError: There are none within `timeout` seconds.
        """

    def take(self) -> tuple[bool, _Changes | None]:
        """Whether the watch has ended, and what has changed so far, without waiting."""

    def arm(self) -> int:
        """A descriptor that becomes readable when `take` has something; it stays open until `disarm`."""

    def disarm(self) -> None:
        """Nobody looks at the descriptor any more."""

    def close(self) -> None:
        """Ends it."""

def watch_folder(folder: str, must_poll: bool = False) -> Watch:
    """Watches a folder that no engine knows of; what `.gitignore` names is left out.

    Raises:
        OSError: There are no threads left.
    """

def import_links(scan: dict[str, Any]) -> list[tuple[Path, list[Path]]]:
    """How a project's files import each other.

    Args:
        scan: As of `Engine`.

    Returns:
        Each source file that the scan comes to, with those that its imports name, those in functions too.

    Raises:
        FirehotError: No location can be read.
    """

def imports_of(
    source: bytes,
) -> list[tuple[int, int, str | None, list[tuple[str, str | None]], bool]]:
    """Every import statement of one source text, whatever its state.

    Returns:
        Line, level, module, (name, alias) pairs, and whether it is `from ... import`.

    Example:
        >>> from firehot import _core
        >>> _core.imports_of(b"import a.b as c")
        [(1, 0, None, [('a.b', 'c')], False)]
    """

def configure_logging(level: str | None) -> None:
    """Sets the log level by name: trace, debug, info, warn (the default), error. A wrong name is warned about."""

def signal_name(signal: int) -> str:
    """`"SIGKILL"` for 9."""

def unchanged_build(manifest: str) -> str | None:
    """The published file that the manifest of a build names, while everything is as it was for that build."""

@final
class Extension:
    """One extension module that is built from Rust. Equal to another of the same name from the same place."""

    @property
    def module(self) -> str:
        """Its dotted name, as it is imported."""

    @property
    def kind(self) -> Literal["file", "crate", "project"]:
        """A single `.rs` file, a crate, or a project of maturin."""

    @property
    def by_maturin(self) -> bool:
        """Whether only maturin can build it (cffi, uniffi, bin): it is installed then, and no file is loaded for it."""

    @property
    def place(self) -> Path:
        """The `.rs` file, or the folder of the crate or project."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class Workshop:
    """Finds, checks and builds Rust extensions for one interpreter.

    Args:
        interpreter: `executable`, `suffix` (the end of an extension module's file name), `free_threaded`, `venv`
            (folder or `None`).
        cache: The folder in which builds are kept; made when something is built.
    """

    def __new__(cls, interpreter: dict[str, Any], cache: str) -> Workshop: ...
    @property
    def cache(self) -> Path:
        """Where builds are kept."""

    def find(self, module: str, path: list[str]) -> Extension | None:
        """The extension that an import of a module means, looked for in the folders of `sys.path` or of its parent.

        Raises:
            RustBuildError: There is one, and it says itself that it can't be built (a crate without a cdylib).
        """

    def at(self, module: str, place: str) -> Extension:
        """The extension at a place, marked or not."""

    def reasons(self, module: str, path: list[str]) -> list[str]:
        """Why Rust that has the name of a module does not count."""

    def discover(self, roots: list[str]) -> list[Extension]:
        """Every extension below some folders."""

    def survey(self, roots: list[str]) -> tuple[list[Extension], list[tuple[Path, str]]]:
        """As `discover`, with the place of what has opted in and can't be built, and why."""

    def shown(
        self, extension: Extension, settings: dict[str, Any]
    ) -> tuple[tuple[Path, str], tuple[Path, str] | None, bool, list[str]]:
        """Makes the crate that cargo is given for an extension, where a build would; builds nothing.

        Returns:
            Cargo.toml with its text, the library that was made with its text (`None` where the user's file is it),
            whether the crate was made (otherwise it is the user's own), and arguments for rustc.

        Raises:
            RustBuildError: It can't be made; or the cache can't be written.
        """

    def installed(self, path: list[str]) -> list[Extension]:
        """Projects of maturin that are installed editable in some folders of `sys.path`."""

    def installed_by(
        self, path: list[str]
    ) -> tuple[list[Extension], list[tuple[str, tuple[int, int, int, int, int] | None]] | None]:
        """As `installed`, with the state of each file that decides it, as `recorded` gives it.

        Returns:
            No files when one of them has changed meanwhile.
        """

    def check(
        self, extension: Extension, settings: dict[str, Any]
    ) -> tuple[Literal["fresh", "stale", "missing"], Path | None, str | None]:
        """Compares the last build with the disk; starts nothing.

        Returns:
            How it stands, the published file if there is one, and why it is stale.
        """

    def published(self, extension: Extension, settings: dict[str, Any]) -> Path | None:
        """The last good build, whatever the sources say now."""

    def recorded(
        self, extension: Extension, settings: dict[str, Any]
    ) -> tuple[str, list[tuple[str, tuple[int, int, int, int, int] | None]] | None] | None:
        """What the last build depends on.

        Returns:
            The manifest of the build, for `unchanged_build`; and each file with its size, mtime and ctime (ns), inode
            and device, `None` when files are not all of it. Nothing when there is no build, or it is stale for sure.
        """

    def build(
        self,
        extension: Extension,
        settings: dict[str, Any],
        show: Callable[[bytes], None],
        width: int | None,
    ) -> tuple[Path, bool, str]:
        """Builds what is stale, and publishes it under a new name; what was published before stays.

        Args:
            extension: What to build.
            settings: `release`, `profile`, `features`, `all_features`, `no_default_features`, `target_dir`,
                `cargo_arguments`, `cargo`, `jobs`, `force`, `lock_timeout` (seconds).
            show: Called with what cargo and rustc say, as it comes.
            width: Columns of the terminal; `None` where there is none.

        Returns:
            The published file, whether cargo was asked, and the warnings.

        Raises:
            RustBuildError: It does not build; or there is no cargo, or the cache can't be written.
        """

    def end_builds(self) -> None:
        """Ends what this one is building now, on any thread: these calls raise `KeyboardInterrupt`."""

def parse_command(arguments: list[str]) -> dict[str, Any] | int:
    """Reads the arguments of the command `firehot`.

    Returns:
        `command` (such as `"rust build"`) and its arguments by name; or the exit status, where help, the version or
        what is wrong with the arguments was printed.
    """

def rust_cache_contents(cache: str) -> dict[str, Any]:
    """What is kept in the folder of builds; nothing where there is none.

    Returns:
        `size` (bytes on the disk); `extensions`, each with `folder`, `size` and, where there is a good build, `module`,
        `place`, `file` and `built` (seconds since 1970); `targets`, each with `folder` and `size`.
    """

def rust_cache_clear(cache: str) -> int:
    """Removes all builds, and nothing that is not firehot's.

    Returns:
        How many bytes that freed.

    Raises:
        FirehotError: Something is built now, or waits to be; or the folder is no cache of firehot, or can't be removed.
    """

def rust_name_problem(name: str, place: str) -> str | None:
    """Why no Rust library can have the name of a module; `None` where one can."""

# -- the client of the daemon ----------------------------------------------------------------------

def client_run(request: dict[str, Any]) -> int:
    """Runs a program as `python` would: in a child of the project's daemon, or cold in the place of this process.

    Signals, the terminal and standard streams are the program's until it ends. It must be called on the main thread,
    and the process should end with the status at once: `os._exit(status)`.

    Args:
        request: `executable` (`sys.executable`), `prefix` (`sys.prefix`), `package` (folder of firehot), `kind`
            ("script", "module", "code" or "function"), `target` (script as given, module, "-c", or "pkg.mod:function"),
            `code` (bytes; the text of `-c`, else empty), `args` (`sys.argv[1:]`), `options` (python's own options, one
            list entry for each argument), `path` (`sys.path` without the script's folder; empty where options change
            it), `asked` ("run", "pytest" or "shell"), `saved` (seconds since 1970, where the run is to say how long
            after that it began; or `None`), `descriptors` (numbers of those above 2 that it hands down).

    Returns:
        The program's exit status. It does not return where a signal has killed the program, since that signal kills
        this process too, nor where it runs cold: then this process has become `python`.

    Raises:
        OSError: The interpreter can't be executed.
    """

def client_cold(request: dict[str, Any], reason: str | None) -> NoReturn:
    """Runs a program cold: this process becomes `python`.

    Args:
        request: As of `client_run`.
        reason: Said on stderr, and kept for `firehot why`; `None` says and keeps nothing (`FIREHOT_DISABLE=1`).

    Raises:
        OSError: The interpreter can't be executed.
    """

def client_ask(to: dict[str, Any], question: str, start: bool = False, patience: float | None = None) -> str | None:
    """Asks the project's daemon something that has one answer (`status`, `stop`, `warm`, `imports`, `why`).

    Args:
        to: `executable`, `prefix`, `package`, as of `client_run`, and `script` (a path, or `None` for the working
            directory): which project it is about; or `socket` alone, of one that `client_places` tells of.
        question: The request's header, JSON: `{"type": "status"}`.
        start: Whether a daemon is started where there is none.
        patience: Seconds that the answer may take; `None` for any time.

    Returns:
        The header of the answer, JSON; `None` where no daemon runs.

    Raises:
        FirehotError: The daemon does not answer, or is another version's, or can't be started.
    """

def client_warm(request: dict[str, Any]) -> str | None:
    """Has the project's daemon build the template of a program, and waits for it; starts one where there is none.

    Args:
        request: As of `client_run`.

    Returns:
        The header of the answer, JSON.

    Raises:
        FirehotError: The daemon does not answer, or can't be started.
    """

def client_place(to: dict[str, Any]) -> dict[str, str]:
    """Where a project's daemon is, running or not: `root`, `socket`, `lock`, `log`, `why` (paths).

    Raises:
        FirehotError: The folder for it can't be used: it is somebody else's.
    """

def client_places() -> list[dict[str, Any]]:
    """This user's daemons that live: `pid`, `root`, `python`, `started` (s since 1970), `firehot`, `socket`, `log`.

    Raises:
        FirehotError: The folder for them can't be used: it is somebody else's.
    """

def client_build() -> str:
    """What tells this build of firehot from others: the `build` of `hello`. A daemon asks for it when it starts."""

def client_surroundings() -> dict[str, Any]:
    """What `run` tells of this process, for a daemon to compare: `limits`, `affinity`, `nice`, `places`."""
