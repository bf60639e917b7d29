//! From the text of a Rust file to its tokens. Knows no items; comments are left out, but for inner docs.
#![forbid(unsafe_code)]

use std::ops::Range;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// A plain string, without prefix and escapes: what a path is written as.
    Text,
    /// Any other literal.
    Literal,
    Mark(u8),
    /// `//!` or `/*!`.
    InnerDoc,
}

#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: Range<usize>,
}

/// The tokens of a text, in their order.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Token> + '_ {
    Lexer { text, at: 0 }
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let rest = self.text.get(self.at..)?;
            let first = rest.chars().next()?;
            let start = self.at;
            if let Some(length) = comment(rest) {
                self.at += length;
                if rest.starts_with("//!") || rest.starts_with("/*!") {
                    let (kind, at) = (Kind::InnerDoc, start..self.at);
                    return Some(Token { kind, at });
                }
            } else if first.is_whitespace() || first == '\u{feff}' {
                self.at += first.len_utf8();
            } else {
                let (kind, length) = token(rest, first);
                self.at += length;
                let at = start..self.at;
                return Some(Token { kind, at });
            }
        }
    }
}

/// The length of a comment that `rest` begins with.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let (mut at, mut depth) = (0, 0_usize);
    let bytes = rest.as_bytes();
    while let Some(pair) = bytes.get(at..at + 2) {
        match pair {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return Some(at);
        }
    }
    Some(rest.len())
}

fn token(rest: &str, first: char) -> (Kind, usize) {
    let word = |text: &str| {
        text.find(|c: char| c != '_' && !c.is_alphanumeric())
            .unwrap_or(text.len())
    };
    match first {
        '"' => {
            let length = quoted(rest, 0);
            let is_plain = rest.get(..length).is_some_and(|text| !text.contains('\\'));
            (if is_plain { Kind::Text } else { Kind::Literal }, length)
        }
        '\'' => character(rest),
        '0'..='9' => (Kind::Literal, word(rest)),
        '_' | 'a'..='z' | 'A'..='Z' => {
            let length = word(rest);
            let prefix = rest.get(..length).unwrap_or_default();
            let after = rest.get(length..).unwrap_or_default();
            let quotes = after.trim_start_matches('#').starts_with('"');
            match prefix {
                "r" | "br" | "cr" if quotes => (Kind::Literal, raw(rest, length)),
                "b" | "c" if after.starts_with('"') => (Kind::Literal, quoted(rest, length)),
                "b" if after.starts_with('\'') => (Kind::Literal, 1 + character(after).1),
                // r#type is a name.
                "r" if after.starts_with('#') => {
                    (Kind::Word, 2 + word(after.get(1..).unwrap_or_default()))
                }
                _ => (Kind::Word, length),
            }
        }
        first if first.is_alphabetic() => (Kind::Word, word(rest)),
        first => (
            u8::try_from(first).map_or(Kind::Literal, Kind::Mark),
            first.len_utf8(),
        ),
    }
}

/// The length up to the end of a string whose quote is at `open`.
fn quoted(rest: &str, open: usize) -> usize {
    let mut is_escaped = false;
    let bytes = rest.bytes().enumerate().skip(open + 1);
    for (at, byte) in bytes {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The same of a raw string, whose `#`s begin at `start`.
fn raw(rest: &str, start: usize) -> usize {
    let after = rest.get(start..).unwrap_or_default();
    let hashes = after.len() - after.trim_start_matches('#').len();
    let open = start + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    let found = rest.get(open..).and_then(|text| text.find(&close));
    found.map_or(rest.len(), |at| open + at + close.len())
}

/// `'a'`, or a lifetime, which has no end.
fn character(rest: &str) -> (Kind, usize) {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => {
            let end = rest.char_indices().skip(3).find(|(_, c)| *c == '\'');
            (Kind::Literal, end.map_or(rest.len(), |(at, _)| at + 1))
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => (Kind::Literal, at + 1),
            Some(_) | None => (Kind::Mark(b'\''), 1),
        },
        None => (Kind::Literal, rest.len()),
    }
}
