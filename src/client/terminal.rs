//! The terminal that the program has: a pty, of which the real one is fed and into which it is typed.
//!
//! *Whole*: stdin and stdout are one terminal. The pty stands in for it, and the real one is raw, so that Ctrl-C and
//! the like travel as bytes and become signals where the program is. *Aside*: it is part of a pipeline, so the real
//! terminal travels as it is, and the pty is only what `/dev/tty` is to the program (a password prompt); the real
//! one is raw only while somebody is asked there.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use nix::libc::O_NOCTTY;
use nix::poll::PollFlags;
use nix::sys::stat::fstat;
use nix::unistd::{read, write};
use rustix::pty::{grantpt, openpt, ptsname, unlockpt, OpenptFlags};
use rustix::termios::{
    tcgetattr, tcgetpgrp, tcsetattr, tcsetwinsize, LocalModes, OptionalActions, Termios,
};

use super::real::Real;
use super::typed::Typed;

/// More is not taken from one side while the other has not taken so much.
const ENOUGH: usize = 64 << 10;
const CHUNK: usize = 16 << 10;
/// What is taken at the end, from a program that has left writers behind.
const LAST: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Whole,
    Aside,
}

/// The program's terminal, and the real one.
pub(super) struct Terminal {
    used: Use,
    real: Real,
    master: OwnedFd,
    /// Held until the program has ended: a master without one can't be waited for.
    slave: Option<File>,
    name: PathBuf,
    stands_for: [bool; 3],
    typed: Typed,
    to_program: Vec<u8>,
    to_user: Vec<u8>,
    /// What was typed behind the character that suspends; the program gets it when it goes on.
    held: Vec<u8>,
    /// Aside: somebody is asked at `/dev/tty` now.
    asked: bool,
}

impl Terminal {
    /// A terminal for the program, where one of the three is a terminal here.
    ///
    /// # Errors
    /// There are no pty or no descriptors left.
    pub(super) fn open() -> io::Result<Option<Self>> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let all: [BorrowedFd<'_>; 3] = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let devices = all.map(|fd| fd.is_terminal().then(|| fstat(fd).ok()).flatten());
        let devices = devices.map(|found| found.map(|found| found.st_rdev));
        let Some(first) = devices.iter().position(Option::is_some) else {
            return Ok(None);
        };
        let used = match devices {
            [Some(stdin), Some(stdout), _] if stdin == stdout => Use::Whole,
            _ => Use::Aside,
        };
        let real = Real::open(all[first])?;
        let master = openpt(MASTER)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?.into_bytes();
        let name = PathBuf::from(std::ffi::OsString::from_vec(name));
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_NOCTTY)
            .open(&name)?;
        if let Some(modes) = real.modes() {
            tcsetattr(&slave, OptionalActions::Now, &modes)?;
        }
        set_up(&master)?;
        let terminal = Self {
            used,
            real,
            master,
            slave: Some(slave),
            name,
            stands_for: devices.map(|one| used == Use::Whole && one == devices[first]),
            typed: Typed::default(),
            to_program: Vec::new(),
            to_user: Vec::new(),
            held: Vec::new(),
            asked: false,
        };
        terminal.mirror_size();
        Ok(Some(terminal))
    }

    /// The name of what is to be the program's controlling terminal.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// What the program gets in the place of a standard descriptor of this process.
    pub(super) fn standing_for(&self, standard: usize) -> Option<BorrowedFd<'_>> {
        let stands = *self.stands_for.get(standard)?;
        self.slave.as_ref().filter(|_| stands).map(AsFd::as_fd)
    }

    /// The program runs, or goes on: from here on the real one is its.
    pub(super) fn enter(&mut self) {
        self.mirror_size();
        if self.wants_raw() {
            self.real.make_raw();
        }
        let held = std::mem::take(&mut self.held);
        self.to_program.extend(held);
        self.write_to_program();
    }

    /// The real one is the user's again.
    pub(super) fn leave(&mut self) {
        self.real.restore();
    }

    /// Gives the program the size that the real one has. False where it has that already: then the kernel sends no
    /// SIGWINCH for it.
    pub(super) fn mirror_size(&self) -> bool {
        let before = rustix::termios::tcgetwinsize(&self.master).ok();
        let Some(size) = self.real.size() else {
            return false;
        };
        let fields = |size: rustix::termios::Winsize| {
            (size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel)
        };
        before.map(fields) != Some(fields(size)) && tcsetwinsize(&self.master, size).is_ok()
    }

    /// Whether this process is in the background, and would read from the real one if it were not: nobody tells when
    /// that ends.
    pub(super) fn waits_for_foreground(&self) -> bool {
        self.wants_raw() && !self.real.is_raw() && !self.real.is_gone()
    }

    /// Takes the real one where it has come to the foreground.
    pub(super) fn look_for_foreground(&mut self) {
        if self.waits_for_foreground() && self.real.is_foreground() {
            self.enter();
        }
    }

    /// Whether the real one has hung up.
    pub(super) fn is_gone(&self) -> bool {
        self.real.is_gone()
    }

    /// The process group that has the program's terminal.
    pub(super) fn foreground_group(&self) -> Option<i32> {
        let group = tcgetpgrp(&self.master).ok()?;
        Some(group.as_raw_nonzero().get())
    }

    /// What is to be waited for: at the real one, and at the program's.
    pub(super) fn interest(&self) -> (PollFlags, PollFlags) {
        let mut real = PollFlags::empty();
        let mut master = PollFlags::empty();
        if !self.real.is_gone() {
            let reads = self.real.is_raw() && self.held.is_empty();
            real.set(PollFlags::POLLIN, reads && self.to_program.len() < ENOUGH);
            real.set(PollFlags::POLLOUT, !self.to_user.is_empty());
        }
        master.set(PollFlags::POLLIN, self.to_user.len() < ENOUGH);
        master.set(PollFlags::POLLOUT, !self.to_program.is_empty());
        (real, master)
    }

    pub(super) fn real(&self) -> BorrowedFd<'_> {
        self.real.as_fd()
    }

    pub(super) fn master(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    /// Hands on what was typed. True where the character that suspends was among it: the rest waits.
    pub(super) fn read_typed(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let count = self.real.read(&mut buffer);
        let bytes = buffer.get(..count).unwrap_or_default();
        let modes = tcgetattr(&self.master).ok();
        let suspended = modes
            .as_ref()
            .and_then(|modes| self.typed.suspended_at(bytes, modes));
        let (now, later) = bytes.split_at(suspended.map_or(count, |at| at + 1));
        self.to_program.extend(now);
        self.held.extend(later);
        self.write_to_program();
        let a_line = now.iter().any(|byte| b"\r\n".contains(byte));
        if self.used == Use::Aside && a_line && modes.as_ref().is_some_and(is_canonical) {
            // It has its answer; stdin may be the same terminal, and is the next to be read.
            self.asked = false;
            self.real.restore();
        }
        suspended.is_some()
    }

    /// What the program has not read yet, after it was suspended by a character that it does not heed.
    pub(super) fn release_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.to_program.extend(held);
        self.write_to_program();
    }

    /// Hands on what the program has written. False where nothing has come.
    pub(super) fn read_written(&mut self) -> bool {
        let mut buffer = [0; CHUNK];
        let bytes = match read(&self.master, &mut buffer) {
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(_) => &[],
        };
        if bytes.is_empty() {
            return false;
        }
        self.to_user.extend(bytes);
        // A prompt does not end its line; what does is said, and nothing is asked.
        let prompts = bytes.last() != Some(&b'\n');
        if self.used == Use::Aside && !self.asked && (prompts || !self.is_line_by_line()) {
            self.asked = true;
            self.real.make_raw();
        }
        self.write_to_user();
        true
    }

    pub(super) fn write_to_user(&mut self) {
        if !self.to_user.is_empty() {
            let taken = self.real.write(&self.to_user);
            self.to_user.drain(..taken);
        }
    }

    pub(super) fn write_to_program(&mut self) {
        if self.to_program.is_empty() {
            return;
        }
        match write(&self.master, &self.to_program) {
            Ok(count) => {
                self.to_program.drain(..count);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(_) => self.to_program.clear(),
        }
    }

    /// The program has ended: all that it has written goes out, and the real one is the user's again. `wait` waits
    /// until the real one takes more, and says whether to go on.
    pub(super) fn end(&mut self, mut wait: impl FnMut(BorrowedFd<'_>) -> bool) {
        // Where it was the last one, the master is at its end behind what was written.
        self.slave = None;
        let mut taken = 0;
        while taken < LAST && self.read_written() {
            taken += self.to_user.len();
            while !self.to_user.is_empty() && wait(self.real.as_fd()) {
                self.write_to_user();
            }
        }
        while !self.to_user.is_empty() && wait(self.real.as_fd()) {
            self.write_to_user();
        }
        self.real.restore();
    }

    fn wants_raw(&self) -> bool {
        self.used == Use::Whole || self.asked
    }

    fn is_line_by_line(&self) -> bool {
        tcgetattr(&self.master).is_ok_and(|modes| is_canonical(&modes))
    }
}

fn is_canonical(modes: &Termios) -> bool {
    modes.local_modes.contains(LocalModes::ICANON)
}

#[cfg(target_os = "linux")]
const MASTER: OpenptFlags = OpenptFlags::RDWR
    .union(OpenptFlags::NOCTTY)
    .union(OpenptFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const MASTER: OpenptFlags = OpenptFlags::RDWR.union(OpenptFlags::NOCTTY);

/// Non-blocking, and closed when the cold twin takes this process over.
fn set_up(master: &OwnedFd) -> io::Result<()> {
    use nix::fcntl::FdFlag;

    fcntl(master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let flags = OFlag::from_bits_retain(fcntl(master, FcntlArg::F_GETFL)?);
    fcntl(master, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
