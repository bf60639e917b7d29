//! The way out of a bracket that is never closed: does a line that stands inside brackets start a statement? Owns
//! the list of words that no valid file has in that place.

#![forbid(unsafe_code)]

use super::lexer::{line_end, word_at};

/// Whether the line at `at` can't continue an expression, so that the bracket around it was left open.
///
/// Only words that are illegal there count, so that a valid file is never cut.
pub(super) fn starts_statement(bytes: &[u8], at: usize) -> bool {
    let at = skip_blanks(bytes, at);
    // Asked for every line inside brackets: nearly all start with something else.
    if !matches!(
        bytes.get(at),
        Some(b'a'..=b'g' | b'i' | b'l' | b'n' | b'p' | b'r' | b't' | b'w')
    ) {
        return false;
    }
    let word = word_at(bytes, at);
    let after = at + word.len();
    match word {
        b"import" | b"def" | b"class" | b"return" | b"while" | b"with" | b"try" | b"except"
        | b"finally" | b"raise" | b"pass" | b"break" | b"continue" | b"del" | b"global"
        | b"nonlocal" | b"assert" | b"elif" => true,
        // `yield` may have its `from` on the next line, `async` its `for`; a condition ends in `:` only with `else`.
        b"from" => imports_on_line(bytes, after),
        b"async" => matches!(word_at(bytes, skip_blanks(bytes, after)), b"def" | b"with"),
        b"lazy" => matches!(
            word_at(bytes, skip_blanks(bytes, after)),
            b"import" | b"from"
        ),
        b"if" => is_bare_condition(bytes, after),
        _ => false,
    }
}

fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\x0c') = bytes.get(at) {
        at += 1;
    }
    at
}

/// `from a.b import`, read up to `import`.
fn imports_on_line(bytes: &[u8], mut at: usize) -> bool {
    loop {
        match bytes.get(at) {
            Some(b' ' | b'\t' | b'\x0c' | b'.') => at += 1,
            Some(_) => match word_at(bytes, at) {
                b"import" => return true,
                b"" => return false,
                word => at += word.len(),
            },
            None => return false,
        }
    }
}

/// `if a.b and not c:` with nothing behind the colon: a conditional expression would need its `else`.
fn is_bare_condition(bytes: &[u8], at: usize) -> bool {
    let line = bytes.get(at..line_end(bytes, at)).unwrap_or_default();
    let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
    let Some((b':', condition)) = line.trim_ascii_end().split_last().map(|(l, c)| (*l, c)) else {
        return false;
    };
    let mut words = condition.split(|byte| matches!(byte, b' ' | b'\t' | b'.'));
    condition.iter().all(|byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b' ' | b'\t') || *byte >= 0x80
    }) && condition.iter().any(u8::is_ascii_alphabetic)
        && !words.any(|word| matches!(word, b"else" | b"lambda" | b"for"))
}
