//! Environment variables that count, and which of them differ. Reads no environment itself.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::Change;

/// A name, or the start of names when it ends with `*`.
#[derive(Debug)]
pub(super) struct Pattern {
    text: String,
    is_prefix: bool,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let prefix = text.strip_suffix('*');
        Self {
            text: prefix.unwrap_or(text).to_owned(),
            is_prefix: prefix.is_some(),
        }
    }

    pub(super) fn covers(&self, name: &OsStr) -> bool {
        if self.is_prefix {
            name.as_bytes().starts_with(self.text.as_bytes())
        } else {
            name == self.text.as_str()
        }
    }
}

/// Variables that tell of the terminal and the shell that somebody sits at; they never count.
pub(super) fn is_of_the_session(name: &OsStr) -> bool {
    const NAMES: [&str; 8] = [
        "_",
        "SHLVL",
        "PWD",
        "OLDPWD",
        "WINDOWID",
        "TERM_SESSION_ID",
        "COLUMNS",
        "LINES",
    ];
    NAMES.iter().any(|each| name == *each) || name.as_bytes().starts_with(b"SSH_")
}

/// Adds the variables that count and differ.
pub(super) fn compare(
    before: &BTreeMap<OsString, OsString>,
    now: &[(OsString, OsString)],
    counts: impl Fn(&OsStr) -> bool,
    changes: &mut BTreeSet<Change>,
) {
    let mut add = |name: &OsStr| {
        if counts(name) {
            changes.insert(Change::Variable(name.to_string_lossy().into_owned()));
        }
    };
    let mut same = 0;
    for (name, value) in now {
        match before.get(name) {
            Some(old) if old == value => same += 1,
            Some(_) => {
                same += 1;
                add(name);
            }
            None => add(name),
        }
    }
    if same == before.len() {
        return;
    }
    let names: BTreeSet<&OsString> = now.iter().map(|(name, _)| name).collect();
    for name in before.keys().filter(|name| !names.contains(name)) {
        add(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: &[(&str, &str)], now: &[(&str, &str)]) -> Vec<String> {
        let own = |pairs: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            pairs
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect()
        };
        let mut changes = BTreeSet::new();
        let before = own(before).into_iter().collect();
        compare(&before, &own(now), |_| true, &mut changes);
        changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_variable_that_came_went_or_changed_is_named() {
        let before = [("A", "1"), ("B", "2"), ("C", "3")];
        assert_eq!(
            changed(&before, &[("A", "1"), ("B", "x"), ("D", "4")]),
            ["B differs", "C differs", "D differs"]
        );
        assert!(changed(&before, &before).is_empty());
    }

    #[test]
    fn a_pattern_is_a_name_or_a_prefix() {
        for (pattern, name, expected) in [
            ("TZ", "TZ", true),
            ("TZ", "TZX", false),
            ("OMP_*", "OMP_NUM_THREADS", true),
            ("OMP_*", "COMP_X", false),
        ] {
            let covers = Pattern::new(pattern).covers(OsStr::new(name));
            assert_eq!(covers, expected, "{pattern} {name}");
        }
    }
}
