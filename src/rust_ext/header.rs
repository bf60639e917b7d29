//! What the first lines of a Rust file say to firehot. Reads no file.
#![forbid(unsafe_code)]

/// The words that opt in, and those among them that ask for a crate to be filled in.
const WORDS: [&str; 2] = ["firehot", "rustimport"];
const TEMPLATES: [&str; 2] = ["firehot:pyo3", "rustimport:pyo3"];

/// The comments at the head of a `.rs` file, up to its first line of code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The first line that is not blank is a comment that holds `firehot` or `firehot:pyo3`.
    pub opted_in: bool,
    /// It is `firehot:pyo3`: what is missing for an extension module is filled in.
    pub is_pyo3_template: bool,
    /// The `//: ` lines: a part of a Cargo.toml.
    pub cargo: String,
    /// The `//d: ` lines: further files that the build depends on, as globs relative to the file's folder.
    pub globs: Vec<String>,
}

impl Header {
    /// Reads it from a file's content. One that is not UTF-8 has none: rustc would not take it.
    #[must_use]
    pub fn read(content: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(content) else {
            return Self::default();
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let mut header = Self::default();
        for (at, line) in lines.enumerate() {
            let Some(comment) = line.strip_prefix("//") else {
                break;
            };
            if at == 0 {
                header.opt_in(comment);
            }
            if let Some(cargo) = comment.strip_prefix(':') {
                header
                    .cargo
                    .push_str(cargo.strip_prefix(' ').unwrap_or(cargo));
                header.cargo.push('\n');
            } else if let Some(glob) = comment.strip_prefix("d:") {
                header.globs.push(glob.trim().to_owned());
            }
        }
        header
    }

    fn opt_in(&mut self, comment: &str) {
        let mut words = comment.split(|c: char| c.is_whitespace() || matches!(c, '/' | '!' | ','));
        self.is_pyo3_template = words.clone().any(|word| TEMPLATES.contains(&word));
        self.opted_in = self.is_pyo3_template || words.any(|word| WORDS.contains(&word));
    }
}

/// Whether the first line of a Cargo.toml that is not blank is a comment that opts in.
pub(super) fn marks(manifest: &str) -> bool {
    let manifest = manifest.strip_prefix('\u{feff}').unwrap_or(manifest);
    let first = manifest
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty());
    let comment = first.and_then(|line| line.strip_prefix('#'));
    comment.is_some_and(|comment| {
        let mut words = comment.split(|c: char| c.is_whitespace() || matches!(c, '#' | ','));
        words.any(|word| WORDS.contains(&word) || TEMPLATES.contains(&word))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_is_not_blank_opts_in() {
        for (text, opted_in, is_template) in [
            ("// firehot\nfn main() {}", true, false),
            ("// firehot:pyo3\n", true, true),
            ("//rustimport", true, false),
            ("\n  \r\n// rustimport:pyo3\r\n", true, true),
            ("\u{feff}// firehot", true, false),
            ("// fast things, firehot:pyo3", true, true),
            ("//! firehot", true, false),
            ("// firehotter\n", false, false),
            ("// firehot:cffi\n", false, false),
            ("// other\n// firehot\n", false, false),
            ("fn main() {} // firehot\n", false, false),
            ("/* firehot */\n", false, false),
            ("# firehot\n", false, false),
            ("", false, false),
            ("\n\n", false, false),
        ] {
            let header = Header::read(text.as_bytes());
            let found = (header.opted_in, header.is_pyo3_template);
            assert_eq!(found, (opted_in, is_template), "{text:?}");
        }
    }

    #[test]
    fn what_is_not_utf8_has_not_opted_in() {
        assert_eq!(Header::read(b"// firehot\n\xff\xfe"), Header::default());
        assert_eq!(Header::read(&[0xff; 7]), Header::default());
    }

    #[test]
    fn its_lines_end_at_the_first_code() {
        let header = Header::read(
            b"// firehot\n\n//: [dependencies]\n//:rand = \"0.9\"\n//  a word\n//d: data/*.txt\n//d:../x\n\
              use std::fs;\n//: [late]\n//d: late\n",
        );
        assert_eq!(header.cargo, "[dependencies]\nrand = \"0.9\"\n");
        assert_eq!(header.globs, ["data/*.txt", "../x"]);
    }

    #[test]
    fn a_manifest_is_marked_by_its_first_line() {
        for (text, marked) in [
            ("# firehot\n[package]", true),
            ("\n#rustimport\n", true),
            ("# rustimport:pyo3\n", true),
            ("[package] # firehot", false),
            ("# other\n# firehot", false),
            ("", false),
        ] {
            assert_eq!(marks(text), marked, "{text:?}");
        }
    }
}
