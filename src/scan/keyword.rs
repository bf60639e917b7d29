//! The words that open a block. Owns what tells them apart for the slicer; not what they mean for an import.

#![forbid(unsafe_code)]

/// The first word of a block's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Def,
    Class,
    If,
    Elif,
    Else,
    Try,
    Except,
    Finally,
    With,
    For,
    While,
    Match,
    Case,
}

/// The keyword that a word is, if it opens a block.
pub(super) fn keyword(word: &[u8]) -> Option<Keyword> {
    // Most words are none, and this is asked for every statement.
    if !(2..=7).contains(&word.len())
        || !matches!(word, [b'c'..=b'f' | b'i' | b'm' | b't' | b'w', ..])
    {
        return None;
    }
    Some(match word {
        b"def" => Keyword::Def,
        b"class" => Keyword::Class,
        b"if" => Keyword::If,
        b"elif" => Keyword::Elif,
        b"else" => Keyword::Else,
        b"try" => Keyword::Try,
        b"except" => Keyword::Except,
        b"finally" => Keyword::Finally,
        b"with" => Keyword::With,
        b"for" => Keyword::For,
        b"while" => Keyword::While,
        b"match" => Keyword::Match,
        b"case" => Keyword::Case,
        _ => return None,
    })
}

/// `match` and `case` may be names too: `case; import a` has no block.
pub(super) fn is_reserved(keyword: Keyword) -> bool {
    match keyword {
        Keyword::Match | Keyword::Case => false,
        Keyword::Def
        | Keyword::Class
        | Keyword::If
        | Keyword::Elif
        | Keyword::Else
        | Keyword::Try
        | Keyword::Except
        | Keyword::Finally
        | Keyword::With
        | Keyword::For
        | Keyword::While => true,
    }
}

/// Whether the keyword continues a statement that an earlier block began.
pub(super) fn is_clause(keyword: Keyword) -> bool {
    match keyword {
        Keyword::Elif | Keyword::Else | Keyword::Except | Keyword::Finally => true,
        Keyword::Def
        | Keyword::Class
        | Keyword::If
        | Keyword::Try
        | Keyword::With
        | Keyword::For
        | Keyword::While
        | Keyword::Match
        | Keyword::Case => false,
    }
}
