//! Files that editors and interpreters make for themselves. Knows names only.
//!
//! A temporary file that is made and renamed within one window is no change anyway; these names are for the ones that
//! stay for longer (swap files, backups, locks) or that would end a window early.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// vim tries this name, and others in steps, to see whether it can make files in a folder.
const VIM_PROBE: u32 = 4913;
const VIM_STEP: u32 = 123;

/// Whether a file of this name is nobody's work.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let is_hidden = name.starts_with(b".");
    // vim and nano: .a.py.swp, .swo ...; kate: .a.py.kate-swp.
    let is_swap = is_hidden && (ends_like_vim_swap(name) || name.ends_with(b".kate-swp"));
    // emacs: #a.py# is an autosave, .#a.py a lock, a.py~ a backup (vim's and others' as well).
    let is_emacs = name.len() > 1 && name.starts_with(b"#") && name.ends_with(b"#");
    let starts: [&[u8]; 4] = [b".#", b".goutputstream-", b".subl", b".nfs"];
    let ends: [&[u8]; 8] = [
        b"~",
        b"___jb_tmp___",
        b"___jb_old___",
        b"___jb_bak___",
        b".vsctmp",
        b".swpx",
        b".pyc",
        b".pyo",
    ];
    is_swap
        || is_emacs
        || is_vim_probe(name)
        || name == b".DS_Store"
        || starts.iter().any(|start| name.starts_with(start))
        || ends.iter().any(|end| name.ends_with(end))
}

/// .swp, and .swo, .swn ... down to .saa when several editors have the file open.
fn ends_like_vim_swap(name: &[u8]) -> bool {
    matches!(name, [.., b'.', b's', b'a'..=b'w', b'a'..=b'z'])
}

fn is_vim_probe(name: &[u8]) -> bool {
    std::str::from_utf8(name)
        .ok()
        .and_then(|name| name.parse::<u32>().ok())
        .is_some_and(|number| {
            (VIM_PROBE..100_000).contains(&number) && (number - VIM_PROBE).is_multiple_of(VIM_STEP)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_editors_are_told_from_work() {
        for name in [
            "4913",
            "5036",
            ".a.py.swp",
            ".a.py.swo",
            ".swp",
            "a.py~",
            "#a.py#",
            ".#a.py",
            "a.py___jb_tmp___",
            "a.py___jb_old___",
            "a.py.vsctmp",
            ".a.py.kate-swp",
            ".goutputstream-AB12CD",
            "a.pyc",
            ".nfs0000001",
            ".DS_Store",
        ] {
            assert!(is_temporary(OsStr::new(name)), "{name}");
        }
        for name in [
            "a.py",
            ".env",
            ".gitignore",
            "4914",
            "#",
            "data.csv",
            "a.sql",
            "swp",
            "b.swp.txt",
            "a.tmp",
            "a.abcdef",
            "Makefile",
            "04913x",
        ] {
            assert!(!is_temporary(OsStr::new(name)), "{name}");
        }
    }
}
