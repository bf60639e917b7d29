//! Python's own command line: which words are options, which is the program, and what follows it. Knows no files but
//! whether one exists.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Options of one letter that a template can be started with.
const FLAGS: &[u8] = b"bBdEIOPqRsSu";
/// Options that are followed by a word, or end in one.
const WITH_WORD: &[u8] = b"WX";
/// What an interpreter does instead of running a program, or around it, which a child can't.
const COLD: &[u8] = b"ixv";
/// What `-X` has an interpreter tell of its whole life, from its first import on, or map for a profiler.
const COLD_X: &[&str] = &["importtime", "perf", "perf_jit", "showrefcount"];
/// Such an option with its word.
const LONG_WITH_WORD: &str = "--check-hash-based-pycs";

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A script, a folder or an archive with a `__main__`.
    Script,
    /// `-m`.
    Module,
    /// `-c`.
    Code,
    /// `package.module:function`.
    Function,
}

impl Target {
    /// Its name in requests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Script => "script",
            Self::Module => "module",
            Self::Code => "code",
            Self::Function => "function",
        }
    }
}

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A program.
    Program {
        /// Options, one word each: `-X dev` is `-Xdev`.
        options: Vec<OsString>,
        /// What it is.
        target: Target,
        /// Its path or name; the text of `-c`.
        name: OsString,
        /// What follows it.
        args: Vec<OsString>,
    },
    /// Something that python itself has to be started for.
    Python {
        /// Why, where a user would wonder.
        reason: Option<String>,
    },
}

/// Reads a command line as `python` does.
#[must_use]
pub fn read(words: &[OsString]) -> Line {
    let mut options = Vec::new();
    let mut left = words.iter();
    let python = |reason| Line::Python { reason };
    while let Some(word) = left.next() {
        let bytes = word.as_bytes();
        if bytes == b"-" || bytes.is_empty() {
            return python(None);
        }
        let Some(letters) = bytes.strip_prefix(b"-") else {
            let target = if is_function(word) {
                Target::Function
            } else {
                Target::Script
            };
            return program(options, target, word.clone(), left.as_slice());
        };
        if word == LONG_WITH_WORD {
            let Some(value) = left.next() else {
                return python(None);
            };
            options.extend([word.clone(), value.clone()]);
            continue;
        }
        for (at, letter) in letters.iter().enumerate() {
            let rest = letters.get(at + 1..).unwrap_or_default();
            if FLAGS.contains(letter) {
                options.push(option(*letter, b""));
                continue;
            }
            if COLD.contains(letter) {
                let letter = char::from(*letter);
                return python(Some(format!("-{letter} is for an interpreter of its own")));
            }
            let is_program = *letter == b'c' || *letter == b'm';
            if !is_program && !WITH_WORD.contains(letter) {
                return python(None);
            }
            let value = if rest.is_empty() {
                left.next().cloned()
            } else {
                Some(OsString::from_vec(rest.to_vec()))
            };
            let Some(value) = value else {
                return python(None);
            };
            if *letter == b'X' && is_cold_x(&value) {
                let value = value.to_string_lossy();
                return python(Some(format!("-X {value} is for an interpreter of its own")));
            }
            if !is_program {
                options.push(option(*letter, value.as_bytes()));
                break;
            }
            let target = if *letter == b'c' {
                Target::Code
            } else {
                Target::Module
            };
            return program(options, target, value, left.as_slice());
        }
    }
    python(None)
}

fn program(options: Vec<OsString>, target: Target, name: OsString, args: &[OsString]) -> Line {
    Line::Program {
        options,
        target,
        name,
        args: args.to_vec(),
    }
}

fn option(letter: u8, value: &[u8]) -> OsString {
    let mut bytes = vec![b'-', letter];
    bytes.extend(value);
    OsString::from_vec(bytes)
}

fn is_cold_x(value: &OsStr) -> bool {
    let text = value.to_string_lossy();
    let name = text.split_once('=').map_or(&*text, |(name, _)| name);
    COLD_X.contains(&name)
}

/// `package.module:function`, unless a file has that name.
fn is_function(word: &OsStr) -> bool {
    let Some((module, function)) = word.to_str().and_then(|text| text.split_once(':')) else {
        return false;
    };
    let dotted = |text: &str| text.split('.').all(is_identifier);
    dotted(module) && dotted(function) && !Path::new(word).exists()
}

fn is_identifier(text: &str) -> bool {
    let mut all = text.chars();
    all.next()
        .is_some_and(|first| first == '_' || first.is_alphabetic())
        && all.all(|one| one == '_' || one.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn programs_are_told_from_options_and_arguments() {
        for (line, options, target, name, args) in [
            ("a.py -m b", "", Target::Script, "a.py", "-m b"),
            ("-m a.b -c c", "", Target::Module, "a.b", "-c c"),
            ("-ma.b x", "", Target::Module, "a.b", "x"),
            ("-c pass -O", "", Target::Code, "pass", "-O"),
            ("-Bc pass", "-B", Target::Code, "pass", ""),
            (
                "-OO -X dev -Xutf8 -Werror a.py",
                "-O -O -Xdev -Xutf8 -Werror",
                Target::Script,
                "a.py",
                "",
            ),
            ("-IX dev a", "-I -Xdev", Target::Script, "a", ""),
            (
                "--check-hash-based-pycs always a",
                "--check-hash-based-pycs always",
                Target::Script,
                "a",
                "",
            ),
            ("a.b:c d", "", Target::Function, "a.b:c", "d"),
            ("a:b.c", "", Target::Function, "a:b.c", ""),
            ("./a:b", "", Target::Script, "./a:b", ""),
            ("a:1b", "", Target::Script, "a:1b", ""),
        ] {
            let expected = Line::Program {
                options: words(options),
                target,
                name: name.into(),
                args: words(args),
            };
            assert_eq!(read(&words(line)), expected, "{line}");
        }
    }

    #[test]
    fn what_only_python_can_do_is_left_to_it() {
        for line in [
            "",
            "-",
            "-h",
            "-V",
            "--version",
            "-z a.py",
            "-m",
            "-c",
            "-X",
        ] {
            let expected = Line::Python { reason: None };
            assert_eq!(read(&words(line)), expected, "{line}");
        }
        for line in [
            "-i a.py",
            "-Bi -m a",
            "-x a.py",
            "-Ximporttime a.py",
            "-X importtime=2 a.py",
        ] {
            let Line::Python { reason: Some(_) } = read(&words(line)) else {
                panic!("{line}");
            };
        }
    }
}
