//! Behind which word a text holds no import any more. Owns what it takes for a comment or for prose, which is never a
//! statement; knows no strings.

#![forbid(unsafe_code)]

/// Where the last `import` stands that may be a statement's: some that are in comments and prose are passed over.
pub(super) fn last_import(bytes: &[u8]) -> Option<usize> {
    // Forwards: that is many times faster than backwards.
    memchr::memmem::find_iter(bytes, b"import")
        .filter(|&at| may_import(bytes, at))
        .last()
}

/// How far back it is looked for what precedes a word on its line.
const LINE: usize = 200;

fn may_import(bytes: &[u8], at: usize) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    let above = bytes.get(at.saturating_sub(LINE)..at).unwrap_or_default();
    if above.last().is_some_and(is_word) || bytes.get(at + 6).is_some_and(is_word) {
        return false;
    }
    // A line that starts further back may have anything in it.
    let start = match memchr::memrchr(b'\n', above) {
        Some(newline) => newline + 1,
        None if above.len() == LINE => return true,
        None => 0,
    };
    let before = above.get(start..).unwrap_or_default().trim_ascii_start();
    match before.trim_ascii_end().last() {
        None | Some(b';' | b':' | b'\\') => true,
        Some(_) if before.starts_with(b"#") => false,
        Some(_) => {
            let continues = start >= 2 && above.get(start - 2) == Some(&b'\\');
            continues
                || [&b"from"[..], b"lazy"]
                    .iter()
                    .any(|word| memchr::memmem::find(before, word).is_some())
        }
    }
}
