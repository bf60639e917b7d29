//! What one block header says: a test such as `if TYPE_CHECKING`, a handler, a `with`. Reads it as tokens, for it may
//! hold grammar that no parser of ours knows.

#![forbid(unsafe_code)]

use super::lexer::{line_end, word_at};

/// How deep the parentheses of a test are read.
const DEPTH: u32 = 64;

/// What a test's outcome tells for sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Facts {
    pub(super) type_checking: bool,
    pub(super) main: bool,
}

impl Facts {
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            type_checking: self.type_checking || other.type_checking,
            main: self.main || other.main,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            type_checking: self.type_checking && other.type_checking,
            main: self.main && other.main,
        }
    }
}

/// The facts if a test holds, and those if it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Outcomes {
    pub(super) holds: Facts,
    pub(super) fails: Facts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'s> {
    /// A name with its dots: `sys.platform`.
    Name(&'s [u8]),
    /// A string's text, without its quotes.
    Text(&'s [u8]),
    /// Any other byte.
    Sign(u8),
}

pub(super) fn tokens(header: &[u8]) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = header.get(at) {
        let word = word_at(header, at);
        if !word.is_empty() {
            let start = at;
            at += word.len();
            while header.get(at) == Some(&b'.') && !word_at(header, at + 1).is_empty() {
                at += 1 + word_at(header, at + 1).len();
            }
            if !matches!(header.get(at), Some(b'"' | b'\'')) {
                found.push(Token::Name(header.get(start..at).unwrap_or_default()));
            }
            continue;
        }
        match byte {
            b' ' | b'\t' | b'\n' | b'\x0c' | b'\\' => at += 1,
            b'#' => at = line_end(header, at),
            b'"' | b'\'' => {
                let rest = header.get(at + 1..).unwrap_or_default();
                let length = memchr::memchr(byte, rest).unwrap_or(rest.len());
                found.push(Token::Text(rest.get(..length).unwrap_or_default()));
                at += length + 2;
            }
            _ => {
                found.push(Token::Sign(byte));
                at += 1;
            }
        }
    }
    found
}

fn last_part(name: &[u8]) -> &[u8] {
    name.rsplit(|&byte| byte == b'.').next().unwrap_or(name)
}

fn is_import_error(name: &[u8]) -> bool {
    matches!(
        last_part(name),
        b"ImportError" | b"ModuleNotFoundError" | b"Exception" | b"BaseException"
    )
}

/// `except ...`: with nothing behind it, it catches all.
pub(super) fn catches(header: &[u8]) -> bool {
    let tokens = tokens(header);
    let mut caught = tokens.iter().skip(1).filter_map(|token| match token {
        Token::Name(name) => Some(*name),
        Token::Text(_) | Token::Sign(_) => None,
    });
    tokens.len() <= 1 || caught.any(is_import_error)
}

/// `with suppress(ImportError)`, by any of its names.
pub(super) fn suppresses(header: &[u8]) -> bool {
    let tokens = tokens(header);
    tokens
        .iter()
        .skip_while(|token| !matches!(token, Token::Name(name) if last_part(name) == b"suppress"))
        .any(|token| matches!(token, Token::Name(name) if is_import_error(name)))
}

pub(super) fn tests_platform(tokens: &[Token<'_>]) -> bool {
    tokens.iter().any(|token| match token {
        Token::Name(name) => is_platform(name),
        Token::Text(_) | Token::Sign(_) => false,
    })
}

/// Names of the platform and of the interpreter's version, and what is asked of them (`sys.platform.startswith`).
fn is_platform(name: &[u8]) -> bool {
    [
        &b"sys.platform"[..],
        b"sys.version_info",
        b"sys.version",
        b"sys.hexversion",
        b"sys.implementation",
        b"os.name",
        b"version_info",
    ]
    .into_iter()
    .any(|known| matches!(name.strip_prefix(known), Some([] | [b'.', ..])))
        || name.starts_with(b"platform.")
}

/// Reads a condition made of `and`, `or`, `not` and parentheses; all else is an operand.
pub(super) fn test(tokens: &[Token<'_>]) -> Outcomes {
    let mut reader = Reader { tokens, at: 0 };
    let outcomes = reader.disjunction(DEPTH);
    // What is left over (a conditional expression, a lambda) makes the rest mean something else.
    if reader.at < tokens.len() {
        Outcomes::default()
    } else {
        outcomes
    }
}

struct Reader<'t, 's> {
    tokens: &'t [Token<'s>],
    at: usize,
}

impl Reader<'_, '_> {
    fn takes(&mut self, expected: Token<'_>) -> bool {
        let found = self.tokens.get(self.at) == Some(&expected);
        self.at += usize::from(found);
        found
    }

    fn disjunction(&mut self, depth: u32) -> Outcomes {
        let mut all = self.conjunction(depth);
        while self.takes(Token::Name(b"or")) {
            let next = self.conjunction(depth);
            all = Outcomes {
                holds: all.holds.and(next.holds),
                fails: all.fails.or(next.fails),
            };
        }
        all
    }

    fn conjunction(&mut self, depth: u32) -> Outcomes {
        let mut all = self.negation(depth);
        while self.takes(Token::Name(b"and")) {
            let next = self.negation(depth);
            all = Outcomes {
                holds: all.holds.or(next.holds),
                fails: all.fails.and(next.fails),
            };
        }
        all
    }

    fn negation(&mut self, depth: u32) -> Outcomes {
        let mut negated = false;
        while self.takes(Token::Name(b"not")) {
            negated = !negated;
        }
        let Outcomes { holds, fails } = self.operand(depth);
        if negated {
            Outcomes {
                holds: fails,
                fails: holds,
            }
        } else {
            Outcomes { holds, fails }
        }
    }

    fn operand(&mut self, depth: u32) -> Outcomes {
        let start = self.at;
        if depth > 0 && self.takes(Token::Sign(b'(')) {
            let inner = self.disjunction(depth - 1);
            if self.takes(Token::Sign(b')')) && self.at_end_of_operand() {
                return inner;
            }
            self.at = start;
        }
        let mut open = 0_usize;
        while let Some(token) = self.tokens.get(self.at) {
            match token {
                Token::Sign(b'(' | b'[' | b'{') => open += 1,
                Token::Sign(b')' | b']' | b'}') if open == 0 => break,
                Token::Sign(b')' | b']' | b'}') => open -= 1,
                Token::Name(b"and" | b"or" | b"if" | b"else" | b"lambda") if open == 0 => break,
                Token::Name(_) | Token::Text(_) | Token::Sign(_) => {}
            }
            self.at += 1;
        }
        meaning(self.tokens.get(start..self.at).unwrap_or_default())
    }

    fn at_end_of_operand(&self) -> bool {
        matches!(
            self.tokens.get(self.at),
            None | Some(Token::Name(b"and" | b"or") | Token::Sign(b')'))
        )
    }
}

fn meaning(operand: &[Token<'_>]) -> Outcomes {
    use Token::{Name, Sign, Text};
    let main = Facts {
        main: true,
        type_checking: false,
    };
    let mut outcomes = Outcomes::default();
    match *operand {
        [Name(name)] => outcomes.holds.type_checking = last_part(name) == b"TYPE_CHECKING",
        [Name(b"__name__"), Sign(b'='), Sign(b'='), Text(b"__main__")]
        | [Text(b"__main__"), Sign(b'='), Sign(b'='), Name(b"__name__")] => outcomes.holds = main,
        [Name(b"__name__"), Sign(b'!'), Sign(b'='), Text(b"__main__")]
        | [Text(b"__main__"), Sign(b'!'), Sign(b'='), Name(b"__name__")] => outcomes.fails = main,
        _ => {}
    }
    outcomes
}
