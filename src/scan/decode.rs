//! From bytes to text as Python reads it: byte-order mark, PEP 263 coding line, newlines. Knows no syntax.

#![forbid(unsafe_code)]

use std::borrow::Cow;

use encoding_rs::Encoding;

use super::Broken;

/// A source text whose only line break is `\n`.
pub(super) struct Decoded<'s> {
    pub(super) text: Cow<'s, str>,
    pub(super) broken: Option<Broken>,
}

enum Codec {
    Utf8,
    Latin1,
    Other(&'static Encoding),
    Unknown(String),
}

pub(super) fn decode(source: &[u8]) -> Decoded<'_> {
    let (bytes, codec) = match source.strip_prefix(b"\xef\xbb\xbf") {
        // Python rejects another coding line after a mark; reading on as UTF-8 finds the imports all the same.
        Some(rest) => (rest, Codec::Utf8),
        None => (source, coding_line(source).map_or(Codec::Utf8, codec_named)),
    };
    let (text, broken) = match codec {
        Codec::Utf8 => utf8(bytes),
        Codec::Latin1 => (latin1(bytes), None),
        Codec::Other(encoding) => other(bytes, encoding),
        Codec::Unknown(name) => {
            let message = format!("unknown encoding: {name}");
            (latin1(bytes), Some(broken(1, message, true)))
        }
    };
    let broken = broken.or_else(|| null_byte(&text));
    Decoded {
        text: one_newline(text),
        broken,
    }
}

fn broken(line: u32, message: String, trusted: bool) -> Broken {
    Broken {
        line,
        message,
        trusted,
    }
}

fn utf8(bytes: &[u8]) -> (Cow<'_, str>, Option<Broken>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), None),
        Err(error) => {
            let line = line_at(bytes, error.valid_up_to());
            let message = "not valid UTF-8, and no encoding is declared".to_owned();
            // What separates tokens is ASCII, and survives; only text is damaged.
            (
                String::from_utf8_lossy(bytes),
                Some(broken(line, message, true)),
            )
        }
    }
}

fn latin1(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        Ok(_) | Err(_) => Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect()),
    }
}

fn other<'s>(bytes: &'s [u8], encoding: &'static Encoding) -> (Cow<'s, str>, Option<Broken>) {
    let (text, had_errors) = encoding.decode_without_bom_handling(bytes);
    let broken = had_errors.then(|| broken(1, format!("not valid {}", encoding.name()), true));
    (text, broken)
}

fn null_byte(text: &str) -> Option<Broken> {
    let at = memchr::memchr(0, text.as_bytes())?;
    let line = line_at(text.as_bytes(), at);
    Some(broken(line, "the source has a null byte".to_owned(), true))
}

fn line_at(bytes: &[u8], at: usize) -> u32 {
    let before = bytes.get(..at).unwrap_or(bytes);
    let feeds = memchr::memchr_iter(b'\n', before).count();
    let lone = memchr::memchr_iter(b'\r', before)
        .filter(|&at| bytes.get(at + 1) != Some(&b'\n'))
        .count();
    u32::try_from(feeds + lone + 1).unwrap_or(u32::MAX)
}

/// Python reads `\r\n` and a lone `\r` as `\n`, inside strings too.
fn one_newline(text: Cow<'_, str>) -> Cow<'_, str> {
    if memchr::memchr(b'\r', text.as_bytes()).is_none() {
        return text;
    }
    Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// The name in the coding line: a comment on the first line, or on the second below a blank line or a comment.
fn coding_line(source: &[u8]) -> Option<&str> {
    let mut rest = source;
    for _ in 0..2 {
        let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        let blank = line
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\x0c'));
        if let Some(at) = blank {
            let comment = line.get(at..)?.strip_prefix(b"#")?;
            if let Some(name) = coding_in(comment) {
                return Some(name);
            }
        }
        rest = after
            .strip_prefix(b"\r\n")
            .or_else(|| after.get(1..))
            .unwrap_or_default();
    }
    None
}

fn coding_in(comment: &[u8]) -> Option<&str> {
    for at in memchr::memmem::find_iter(comment, b"coding") {
        let Some([b':' | b'=', value @ ..]) = comment.get(at + 6..) else {
            continue;
        };
        let start = value
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t'))
            .unwrap_or(value.len());
        let value = value.get(start..)?;
        let end = value
            .iter()
            .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')))
            .unwrap_or(value.len());
        if end > 0 {
            return value
                .get(..end)
                .and_then(|name| std::str::from_utf8(name).ok());
        }
    }
    None
}

fn codec_named(name: &str) -> Codec {
    let label = name.to_ascii_lowercase().replace('_', "-");
    let is = |base: &str| {
        label
            .strip_prefix(base)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if is("utf-8") || label == "utf8" || label == "u8" || label == "cp65001" {
        return Codec::Utf8;
    }
    if ["latin-1", "iso-8859-1", "iso-latin-1"].into_iter().any(is)
        || ["latin1", "latin", "l1", "iso8859-1", "8859"].contains(&label.as_str())
    {
        return Codec::Latin1;
    }
    let renamed = match label.as_str() {
        "mac-roman" | "macroman" => "macintosh".to_owned(),
        "cp932" | "ms932" | "mskanji" => "shift-jis".to_owned(),
        "cp936" => "gbk".to_owned(),
        "cp949" | "ms949" | "uhc" => "euc-kr".to_owned(),
        "cp950" => "big5".to_owned(),
        "cp1250" | "cp1251" | "cp1252" | "cp1253" | "cp1254" | "cp1255" | "cp1256" | "cp1257"
        | "cp1258" => label.replace("cp", "windows-"),
        _ => label.clone(),
    };
    let squeezed = renamed.replace('-', "_");
    match Encoding::for_label(renamed.as_bytes())
        .or_else(|| Encoding::for_label(squeezed.as_bytes()))
    {
        // These two are no superset of ASCII, so Python can't read a coding line in them either.
        Some(encoding) if encoding.is_ascii_compatible() => Codec::Other(encoding),
        Some(_) | None if known_to_python(&label) => Codec::Latin1,
        Some(_) | None => Codec::Unknown(name.to_owned()),
    }
}

/// Codecs that Python has and this crate has not. Their ASCII half is all that imports need.
fn known_to_python(label: &str) -> bool {
    [
        "cp",
        "mac",
        "iso8859",
        "iso-8859",
        "iso2022",
        "iso-2022",
        "koi8",
        "big5",
        "euc",
        "johab",
        "hz",
        "kz1048",
        "ptcp154",
        "tis",
        "hp-roman8",
        "utf-7",
        "shift",
        "gb",
        "ascii",
        "us-ascii",
        "646",
    ]
    .iter()
    .any(|prefix| label.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(source: &[u8]) -> String {
        decode(source).text.into_owned()
    }

    #[test]
    fn a_byte_order_mark_is_taken_off() {
        assert_eq!(text_of(b"\xef\xbb\xbfimport a"), "import a");
    }

    #[test]
    fn every_newline_becomes_a_line_feed() {
        assert_eq!(text_of(b"a\r\nb\rc\n\r"), "a\nb\nc\n\n");
    }

    #[test]
    fn the_coding_line_is_obeyed_on_the_first_two_lines_only() {
        for source in [
            &b"# -*- coding: latin-1 -*-\n'\xe9'"[..],
            b"#!/usr/bin/python\n# vim: set fileencoding=iso-8859-15 :\n'\xe9'",
            b"\n# coding=cp1252\n'\xe9'",
            b"\x0c # coding: iso_8859_1\r'\xe9'",
            b"# coding: macroman\n'\x8e'",
        ] {
            let decoded = decode(source);
            assert!(decoded.text.contains('\u{e9}'), "{source:?}");
            assert_eq!(decoded.broken, None, "{source:?}");
        }
        for source in [
            &b"\n\n# coding: latin-1\n'\xe9'"[..],
            b"x = 1\n# coding: latin-1\n'\xe9'",
            b"# encoding latin-1\n'\xe9'",
        ] {
            let decoded = decode(source);
            assert!(decoded.broken.is_some(), "{source:?}");
            assert!(!decoded.text.contains('\u{e9}'), "{source:?}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_is_told_with_its_line() {
        let decoded = decode(b"import a\r\rimport b\n'\xff'\n");
        assert_eq!(decoded.broken.map(|broken| broken.line), Some(4));
        let decoded = decode(b"# coding: klingon\nimport a\n");
        assert!(decoded
            .broken
            .is_some_and(|b| b.message.contains("klingon")));
        assert!(decoded.text.contains("import a"));
        let decoded = decode(b"import a\n\0\n");
        assert_eq!(decoded.broken.map(|broken| broken.line), Some(2));
    }
}
