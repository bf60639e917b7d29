//! Whose turn it is in a target folder, and whose library lies there. Runs nothing.
//!
//! cargo names a shared library after its crate alone, so two crates of one name in one target folder overwrite each
//! other's; and it takes the other's for its own where it sees nothing to do. So only one builds there at a time, until
//! its library is published, and notes that it is its own.
//!
//! Invariant: the notes are taken away while cargo runs. Whoever is killed leaves none, and then nobody trusts what
//! cargo has not just built.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::FlockArg;

use super::error::BuildError;
use super::store::{acquire, make_folder, Held};

/// Libraries in a target folder, and the folder of the extension that each was built for.
type Owners = BTreeMap<PathBuf, PathBuf>;

/// Held while cargo runs in a target folder, and until what it made is published.
pub(super) struct Turn {
    file: Held,
    owners: Owners,
}

impl Turn {
    /// Waits for it, as [`acquire`] does.
    pub(super) fn take(
        target: &Path,
        place: &Path,
        limit: Duration,
        wait: &mut dyn FnMut() -> Result<(), BuildError>,
    ) -> Result<Self, BuildError> {
        let failed = |source| BuildError::Cache {
            path: target.to_owned(),
            source,
        };
        make_folder(target).map_err(failed)?;
        let path = target.join(".firehot-turn");
        let kind = FlockArg::LockExclusiveNonblock;
        let mut file = acquire(&path, kind, place, limit, wait)?;
        let owners = take_notes(&mut file.0).map_err(failed)?;
        Ok(Self { file, owners })
    }

    /// Whether a library that cargo did not build just now is that of the extension in `folder`.
    pub(super) fn is_of(&self, library: &Path, folder: &Path) -> bool {
        self.owners
            .get(library)
            .is_some_and(|owner| owner == folder)
    }

    /// Ends it, with a note whose the library is.
    pub(super) fn end(mut self, library: &Path, folder: &Path) {
        self.owners.insert(library.to_owned(), folder.to_owned());
        let noted = serde_json::to_vec(&self.owners).map_err(io::Error::other);
        // Without notes more is built than has to be.
        let _ = noted.and_then(|noted| self.file.0.write_all(&noted));
    }
}

fn take_notes(file: &mut File) -> io::Result<Owners> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    file.set_len(0)?;
    file.rewind()?;
    Ok(serde_json::from_slice(&text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(target: &Path) -> Turn {
        let place = Path::new("/fast.rs");
        Turn::take(target, place, Duration::ZERO, &mut || Ok(())).unwrap()
    }

    #[test]
    fn notes_outlast_a_turn_that_was_ended_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        let (library, one, two) = (Path::new("/l.so"), Path::new("/one"), Path::new("/two"));
        assert!(!take(&target).is_of(library, one));
        take(&target).end(library, one);
        let turn = take(&target);
        assert!(turn.is_of(library, one) && !turn.is_of(library, two));
        turn.end(Path::new("/other.so"), two);
        let turn = take(&target);
        assert!(turn.is_of(library, one));
        turn.end(library, two);
        assert!(!take(&target).is_of(library, one));
        // That one was not ended.
        assert!(!take(&target).is_of(library, two));
    }

    #[test]
    fn only_one_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let _turn = take(folder.path());
        let place = Path::new("/fast.rs");
        let again = Turn::take(folder.path(), place, Duration::ZERO, &mut || Ok(()));
        assert!(matches!(again, Err(BuildError::Locked { .. })));
    }
}
