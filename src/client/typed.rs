//! Finds the character that suspends among what is typed, as the program's line discipline will.
//!
//! The kernel drops the SIGTSTP that its terminal makes, unless the program handles it: the program's process group has
//! no parent in its session that could make it go on. So whoever does that has to know.

use rustix::termios::{LocalModes, SpecialCodeIndex, Termios};

/// The value of a special character that is none.
const NONE: u8 = if cfg!(target_vendor = "apple") {
    0xff
} else {
    0
};

/// What has been typed before matters.
#[derive(Debug, Default)]
pub(super) struct Typed {
    /// The next character is meant as it is (Ctrl-V).
    quoted: bool,
}

impl Typed {
    /// Where the first one stands that suspends. What stands behind it has to be asked for again.
    pub(super) fn suspended_at(&mut self, bytes: &[u8], modes: &Termios) -> Option<usize> {
        let on = |mode| modes.local_modes.contains(mode);
        if !on(LocalModes::ISIG) {
            self.quoted = false;
            return None;
        }
        let suspend = modes.special_codes[SpecialCodeIndex::VSUSP];
        let quote = modes.special_codes[SpecialCodeIndex::VLNEXT];
        let quotes = on(LocalModes::ICANON) && on(LocalModes::IEXTEN) && quote != NONE;
        for (at, byte) in bytes.iter().enumerate() {
            if std::mem::take(&mut self.quoted) {
                continue;
            }
            if quotes && *byte == quote {
                self.quoted = true;
            } else if suspend != NONE && *byte == suspend {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{grantpt, openpt, unlockpt, OpenptFlags};

    #[test]
    fn only_what_the_line_discipline_takes_for_it_suspends() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let Ok(cooked) = rustix::termios::tcgetattr(&master) else {
            // macOS has no modes without a slave.
            return;
        };
        let at = |pieces: &[&[u8]], modes: &Termios| {
            let mut typed = Typed::default();
            let found: Vec<_> = pieces
                .iter()
                .map(|piece| typed.suspended_at(piece, modes))
                .collect();
            found
        };
        assert_eq!(at(&[b"ab\x1ac"], &cooked), [Some(2)]);
        assert_eq!(at(&[b"abc\x03"], &cooked), [None]);
        assert_eq!(at(&[b"\x16\x1a\x1a"], &cooked), [Some(2)]);
        assert_eq!(
            at(&[b"\x16", b"\x1a", b"\x1a"], &cooked),
            [None, None, Some(0)]
        );
        let mut cbreak = cooked.clone();
        cbreak.local_modes.remove(LocalModes::ICANON);
        assert_eq!(at(&[b"\x16\x1a"], &cbreak), [Some(1)]);
        let mut raw = cooked.clone();
        raw.make_raw();
        assert_eq!(at(&[b"\x1a"], &raw), [None]);
        let mut other = cooked.clone();
        other.special_codes[SpecialCodeIndex::VSUSP] = NONE;
        assert_eq!(at(&[b"\x1a\x00"], &other), [None]);
    }
}
