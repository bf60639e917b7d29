//! From slices to import statements: the only file that names the parser. All import statements of a file are
//! joined, each on a line of its own, and parsed in one call; their lines and blocks are put back afterwards.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use rustpython_parser::ast::{Alias, Ranged, Stmt, Suite};
use rustpython_parser::Parse;
use unicode_normalization::UnicodeNormalization;

use super::context::{self, State};
use super::lexer::line_end;
use super::slice::{Slice, Sliced};
use super::{Broken, FileImports, Statement, StatementKind};

/// How much of a very long source line is kept, on either side of the statement.
const EXCERPT: usize = 160;

/// What statements say that were parsed before: a project repeats its imports in file after file.
pub(super) type Known = HashMap<String, Option<Parsed>>;

/// What a statement says, without where it stands.
#[derive(Debug, Clone)]
pub(super) struct Parsed {
    level: u32,
    module: Option<String>,
    names: Vec<(String, Option<String>)>,
    kind: StatementKind,
}

/// Reads the statements that the slicer found.
pub(super) fn statements(text: &str, sliced: &Sliced, known: &mut Known) -> FileImports {
    let states = context::states(text, sliced);
    let mut lines = Lines::new(text);
    let mut broken = sliced
        .fault
        .map(|fault| (fault.at, fault.message.to_owned()));
    let mut statements = Vec::with_capacity(sliced.imports.len());
    for (slice, parsed) in sliced
        .imports
        .iter()
        .zip(parse_all(text, &sliced.imports, known))
    {
        let line = lines.number(slice.start);
        let excerpt = excerpt(text, slice.start);
        let Some(parsed) = parsed else {
            if broken.as_ref().is_none_or(|(at, _)| slice.start < *at) {
                let message = format!("not a valid import statement: {excerpt}");
                broken = Some((slice.start, message));
            }
            continue;
        };
        let State {
            context,
            type_checking,
            ..
        } = context::state_of(&states, slice.block);
        statements.push(Statement {
            line,
            level: parsed.level,
            module: parsed.module,
            names: parsed.names,
            kind: parsed.kind,
            context,
            type_checking,
            text: excerpt,
        });
    }
    let broken = broken.map(|(at, message)| Broken {
        line: Lines::new(text).number(at),
        message,
        trusted: sliced.trusted,
    });
    FileImports { statements, broken }
}

/// One result for each slice: none where it is no import statement after all.
fn parse_all(text: &str, slices: &[Slice], known: &mut Known) -> Vec<Option<Parsed>> {
    let codes: Vec<Option<String>> = slices.iter().map(|slice| one_line(text, slice)).collect();
    let fresh: Vec<&String> = codes
        .iter()
        .flatten()
        .filter(|code| !known.contains_key(*code))
        .collect();
    match parse_joined(&fresh) {
        Some(all) => known.extend(fresh.into_iter().cloned().zip(all.into_iter().map(Some))),
        // One bad statement spoils the joined text: each alone, then.
        None => {
            for code in fresh {
                let parsed = parse_joined(&[code]).and_then(|mut all| all.pop());
                known.insert(code.clone(), parsed);
            }
        }
    }
    codes
        .into_iter()
        .map(|code| known.get(&code?).cloned().flatten())
        .collect()
}

/// Parses all statements at once; none when they don't come out as they went in.
fn parse_joined(codes: &[&String]) -> Option<Vec<Parsed>> {
    if codes.is_empty() {
        return Some(Vec::new());
    }
    let mut joined = String::new();
    let mut starts = Vec::with_capacity(codes.len());
    for code in codes {
        starts.push(joined.len());
        joined.push_str(code);
        joined.push('\n');
    }
    let suite = Suite::parse(&joined, "<imports>").ok()?;
    let straight = suite.len() == starts.len()
        && suite
            .iter()
            .zip(&starts)
            .all(|(statement, &start)| statement.range().start().to_usize() == start);
    straight.then_some(())?;
    suite.into_iter().map(read).collect()
}

fn read(statement: Stmt) -> Option<Parsed> {
    match statement {
        Stmt::Import(import) => Some(Parsed {
            level: 0,
            module: None,
            names: aliases(import.names),
            kind: StatementKind::Import,
        }),
        Stmt::ImportFrom(import) => Some(Parsed {
            level: import.level.map_or(0, |level| level.to_u32()),
            module: import.module.map(|module| normalised(module.as_str())),
            names: aliases(import.names),
            kind: StatementKind::From,
        }),
        Stmt::FunctionDef(_)
        | Stmt::AsyncFunctionDef(_)
        | Stmt::ClassDef(_)
        | Stmt::Return(_)
        | Stmt::Delete(_)
        | Stmt::Assign(_)
        | Stmt::TypeAlias(_)
        | Stmt::AugAssign(_)
        | Stmt::AnnAssign(_)
        | Stmt::For(_)
        | Stmt::AsyncFor(_)
        | Stmt::While(_)
        | Stmt::If(_)
        | Stmt::With(_)
        | Stmt::AsyncWith(_)
        | Stmt::Match(_)
        | Stmt::Raise(_)
        | Stmt::Try(_)
        | Stmt::TryStar(_)
        | Stmt::Assert(_)
        | Stmt::Global(_)
        | Stmt::Nonlocal(_)
        | Stmt::Expr(_)
        | Stmt::Pass(_)
        | Stmt::Break(_)
        | Stmt::Continue(_) => None,
    }
}

fn aliases(aliases: Vec<Alias>) -> Vec<(String, Option<String>)> {
    aliases
        .into_iter()
        .map(|alias| {
            let name = normalised(alias.name.as_str());
            (name, alias.asname.map(|name| normalised(name.as_str())))
        })
        .collect()
}

/// Python compares identifiers by their NFKC form; the parser leaves them as written.
fn normalised(name: &str) -> String {
    if name.is_ascii() {
        name.to_owned()
    } else {
        name.nfkc().collect()
    }
}

/// A statement's code on one line, without comments; none when it has what no import statement has.
///
/// That keeps from the parser whatever it might stumble on: only names, dots, commas, parentheses and stars reach it.
fn one_line(text: &str, slice: &Slice) -> Option<String> {
    let bytes = text.as_bytes().get(..slice.end)?;
    let mut code = String::with_capacity(slice.end.saturating_sub(slice.code) + 1);
    // Where the last complete line of a bracket that was never closed ends.
    let mut kept = 0;
    let mut at = slice.code;
    let mut copied = at;
    while let Some(&byte) = bytes.get(at) {
        let plain = byte.is_ascii_alphanumeric()
            || byte >= 0x80
            || matches!(byte, b'_' | b'.' | b',' | b'(' | b')' | b'*' | b' ');
        if plain {
            at += 1;
            continue;
        }
        code.push_str(text.get(copied..at)?);
        match byte {
            b'\t' | b'\x0c' => at += 1,
            b'\n' => {
                kept = code.len();
                at += 1;
            }
            b'#' => at = line_end(bytes, at),
            b'\\' if bytes.get(at + 1) == Some(&b'\n') => at += 2,
            // At the end of the text, the last thing that someone typed.
            b'\\' if at + 1 == bytes.len() => at += 1,
            _ if slice.cut_short && kept > 0 => {
                code.truncate(kept);
                copied = bytes.len();
                break;
            }
            _ => return None,
        }
        code.push(' ');
        copied = at;
    }
    code.push_str(text.get(copied..slice.end)?);
    let trimmed = code.trim_end_matches(' ').len();
    code.truncate(trimmed);
    if slice.cut_short {
        code.push(')');
    }
    Some(code)
}

/// Counts lines; asked for positions in ascending order.
struct Lines<'s> {
    bytes: &'s [u8],
    counted: usize,
    line: usize,
}

impl<'s> Lines<'s> {
    fn new(text: &'s str) -> Self {
        Self {
            bytes: text.as_bytes(),
            counted: 0,
            line: 1,
        }
    }

    fn number(&mut self, at: usize) -> u32 {
        let between = self.bytes.get(self.counted..at).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', between).count();
        self.counted = at;
        u32::try_from(self.line).unwrap_or(u32::MAX)
    }
}

/// The source line around `at`. Only near it: a line of thousands of statements is told in parts.
fn excerpt(text: &str, at: usize) -> String {
    let bytes = text.as_bytes();
    let floor = floor_boundary(text, at.saturating_sub(EXCERPT));
    let before = bytes.get(floor..at).unwrap_or_default();
    let start = match memchr::memrchr(b'\n', before) {
        Some(newline) => floor + newline + 1,
        None if floor == 0 => 0,
        None => at,
    };
    let ceiling = floor_boundary(text, at + EXCERPT);
    let end = line_end(bytes.get(..ceiling).unwrap_or(bytes), at);
    text.get(start..end).unwrap_or_default().trim().to_owned()
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
