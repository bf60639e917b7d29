//! What cargo and rustc say: read as it comes, shown, and kept for the error. Runs nothing.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;

use cargo_metadata::diagnostic::{Diagnostic, DiagnosticLevel};
use cargo_metadata::{Message, TargetKind};
use crossbeam_channel::{unbounded, Receiver, Sender};

use super::cargo::Screen;
use super::store::hash;

/// So much of what cargo says beside its messages is kept for an error.
const TAIL: usize = 16 << 10;

/// One thing that was said.
pub(super) enum Said {
    Message(Box<Message>),
    Text(Vec<u8>),
}

/// Reads both pipes to their ends, each on a thread that ends with it.
pub(super) fn listen(child: &mut Child) -> Receiver<Said> {
    let (sender, said) = unbounded();
    if let Some(stdout) = child.stdout.take() {
        let sender = sender.clone();
        thread::spawn(move || read_messages(stdout, &sender));
    }
    if let Some(stderr) = child.stderr.take() {
        thread::spawn(move || read_text(stderr, &sender));
    }
    said
}

/// As [`listen`], to what speaks to people only.
pub(super) fn listen_to_text(child: &mut Child) -> Receiver<Said> {
    let (sender, said) = unbounded();
    if let Some(stdout) = child.stdout.take() {
        let sender = sender.clone();
        thread::spawn(move || read_text(stdout, &sender));
    }
    if let Some(stderr) = child.stderr.take() {
        thread::spawn(move || read_text(stderr, &sender));
    }
    said
}

fn read_messages(stdout: impl Read, sender: &Sender<Said>) {
    for message in Message::parse_stream(BufReader::new(stdout)) {
        let said = match message {
            Ok(Message::TextLine(line)) => Said::Text(format!("{line}\n").into_bytes()),
            Ok(message) => Said::Message(Box::new(message)),
            // Not UTF-8: a macro that prints anything.
            Err(_) => continue,
        };
        if sender.send(said).is_err() {
            return;
        }
    }
}

fn read_text(mut stderr: impl Read, sender: &Sender<Said>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        if sender.send(Said::Text(buffer[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// All of it until now.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) artifact: Option<PathBuf>,
    pub(super) is_old: bool,
    pub(super) errors: String,
    /// Whether every error lies in what the sources say; none when there was none.
    pub(super) is_of_sources: Option<bool>,
    pub(super) warnings: String,
    pub(super) tail: Vec<u8>,
    pub(super) shown: HashSet<u64>,
    pub(super) seen: Vec<u64>,
}

impl Heard {
    /// Takes in one thing, and shows it.
    pub(super) fn hear(&mut self, said: Said, manifest: &Path, screen: &dyn Screen) {
        match said {
            Said::Text(text) => {
                screen.show(&text);
                self.tail.extend_from_slice(&text);
                let surplus = self.tail.len().saturating_sub(TAIL);
                self.tail.drain(..surplus);
            }
            Said::Message(message) => match *message {
                Message::CompilerMessage(message) => self.note(&message.message, screen),
                Message::CompilerArtifact(artifact)
                    if artifact.manifest_path == manifest
                        && artifact.target.kind.contains(&TargetKind::CDyLib) =>
                {
                    self.is_old = artifact.fresh;
                    let files = artifact.filenames.into_iter();
                    self.artifact = files.map(PathBuf::from).find(|file| {
                        file.extension()
                            .is_some_and(|it| it == "so" || it == "dylib")
                    });
                }
                _ => {}
            },
        }
    }

    fn note(&mut self, diagnostic: &Diagnostic, screen: &dyn Screen) {
        let Some(text) = &diagnostic.rendered else {
            return;
        };
        let is_error = matches!(
            diagnostic.level,
            DiagnosticLevel::Error | DiagnosticLevel::Ice
        );
        if is_error && !diagnostic.message.starts_with("aborting due to") {
            let is_so = self.is_of_sources != Some(false) && lies_in_sources(diagnostic);
            self.is_of_sources = Some(is_so);
        }
        let mark = hash([text.as_bytes()]);
        self.seen.push(mark);
        if !is_error && self.shown.contains(&mark) {
            return;
        }
        // Progress stands in the line where this is to stand.
        if screen.width().is_some() {
            screen.show(b"\r\x1b[K");
        }
        screen.show(text.as_bytes());
        let kept = if is_error {
            &mut self.errors
        } else {
            &mut self.warnings
        };
        kept.push_str(text);
    }
}

/// Whether an error is one that the same sources will give again: rustc shows it in a line that stands in a file. Errors
/// of the linker or of a full disk stand nowhere, and what comes of a macro may have been read from anywhere.
fn lies_in_sources(diagnostic: &Diagnostic) -> bool {
    const OF_SYNTAX: [&str; 6] = [
        "expected ",
        "unexpected ",
        "mismatched closing delimiter",
        "this file contains an unclosed delimiter",
        "unknown start of token",
        "unterminated ",
    ];
    let mut places = diagnostic.spans.iter().filter(|span| span.is_primary);
    let is_certain = match &diagnostic.code {
        // A module's file that is not there may come to lie anywhere.
        Some(code) => code.code != "E0583",
        None => OF_SYNTAX
            .iter()
            .any(|start| diagnostic.message.starts_with(start)),
    };
    is_certain
        && !diagnostic.message.contains("os error")
        && places.clone().next().is_some()
        && places.all(|span| span.expansion.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_sources_are_told_from_others() {
        let span = r#"{"file_name": "src/lib.rs", "byte_start": 0, "byte_end": 1, "line_start": 1, "line_end": 1,
            "column_start": 1, "column_end": 2, "is_primary": true, "text": [], "label": null,
            "suggested_replacement": null, "suggestion_applicability": null, "expansion": EXPANSION}"#;
        let plain = span.replace("EXPANSION", "null");
        let definition = r#"{"span": SPAN, "macro_decl_name": "m!", "def_site_span": null}"#;
        let expanded = span.replace("EXPANSION", &definition.replace("SPAN", &plain));
        for (message, code, spans, is_so) in [
            ("cannot find value `x`", "E0425", &*plain, true),
            ("expected `;`, found `}`", "", &plain, true),
            ("cannot find value `x`", "E0425", &expanded, false),
            ("file not found for module `x`", "E0583", &plain, false),
            ("could not connect", "", &plain, false),
            (
                "couldn't read `x`: No such file (os error 2)",
                "",
                &plain,
                false,
            ),
            ("linking with `cc` failed", "", "", false),
            (
                "failed to write: No space left on device (os error 28)",
                "",
                "",
                false,
            ),
        ] {
            let code = match code {
                "" => "null".to_owned(),
                code => format!(r#"{{"code": "{code}", "explanation": null}}"#),
            };
            let text = format!(
                r#"{{"message": "{message}", "code": {code}, "level": "error", "spans": [{spans}],
                    "children": [], "rendered": "error"}}"#
            );
            let diagnostic: Diagnostic = serde_json::from_str(&text).unwrap();
            assert_eq!(lies_in_sources(&diagnostic), is_so, "{message}");
        }
    }
}
