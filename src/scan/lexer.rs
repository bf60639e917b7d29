//! One pass over source bytes: where a statement ends. Owns brackets, comments and continuations; what lies between
//! quotes is `strings`', and what a statement means neither's.
//!
//! A stack stands for what is open. There is no recursion and no backtracking, save that a triple-quoted string
//! which never ends is read again as ending at its line, at most 32 times.

#![forbid(unsafe_code)]

use memchr::memchr;

use super::rescue;

/// Why the lexer stopped; its position is at the byte named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// At a line break that ends the logical line.
    Newline,
    /// At a `;`.
    Semicolon,
    /// At the `:` that opens a block.
    Colon,
    /// At the end of the text.
    End,
}

/// Something that no valid file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) message: &'static str,
}

/// An f-string or t-string, whose text may hold code.
#[derive(Debug, Clone, Copy)]
pub(super) struct Literal {
    pub(super) quote: u8,
    pub(super) triple: bool,
    pub(super) raw: bool,
    pub(super) start: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Frame {
    /// An opened `(`, `[` or `{`, and where.
    Bracket(u8, usize),
    /// The text of a literal.
    Text(Literal),
    /// The code of a replacement field in it.
    Field(Literal),
    /// The format specification of the field beneath.
    Spec(Literal),
}

pub(super) struct Lexer<'s> {
    pub(super) bytes: &'s [u8],
    pub(super) pos: usize,
    pub(super) frames: Vec<Frame>,
    pub(super) restarts: u32,
    /// The first thing that is wrong.
    pub(super) fault: Option<Fault>,
    /// False once a triple-quoted string had no end.
    pub(super) trusted: bool,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(text: &'s str) -> Self {
        Self {
            bytes: text.as_bytes(),
            pos: 0,
            frames: Vec::new(),
            restarts: 0,
            fault: None,
            trusted: true,
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    /// The identifier or number that starts here; empty when none does.
    pub(super) fn word(&self) -> &'s [u8] {
        word_at(self.bytes, self.pos)
    }

    /// What stands right before a string, as far as it tells whether that is a prefix: three bytes are none.
    fn prefix(&self) -> &'s [u8] {
        let before = self
            .bytes
            .get(self.pos.saturating_sub(3)..self.pos)
            .unwrap_or_default();
        let start = before.iter().rposition(|&byte| !is_in(&WORD, byte));
        before
            .get(start.map_or(0, |start| start + 1)..)
            .unwrap_or_default()
    }

    pub(super) fn skip_comment(&mut self) {
        self.pos = line_end(self.bytes, self.pos);
    }

    /// Passes white space and continued lines.
    pub(super) fn skip_space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\x0c' => self.pos += 1,
                b'\\' if self.bytes.get(self.pos + 1) == Some(&b'\n') => self.pos += 2,
                _ => return,
            }
        }
    }

    /// Passes the rest of a statement. A block's colon stops it only when `header` is set.
    pub(super) fn finish(&mut self, header: bool) -> Stop {
        self.frames.clear();
        let mut lambdas = 0_u32;
        loop {
            let stop = match self.frames.last().copied() {
                Some(Frame::Text(literal)) => self.text(literal, false),
                Some(Frame::Spec(literal)) => self.text(literal, true),
                Some(Frame::Bracket(..) | Frame::Field(_)) | None => {
                    self.code(header, &mut lambdas)
                }
            };
            if let Some(stop) = stop {
                return stop;
            }
        }
    }

    /// Whether a bracket is open where the statement stopped: it was cut short.
    pub(super) fn cut_short(&self) -> bool {
        !self.frames.is_empty()
    }

    pub(super) fn fault(&mut self, at: usize, message: &'static str) {
        self.fault.get_or_insert(Fault { at, message });
    }

    fn code(&mut self, header: bool, lambdas: &mut u32) -> Option<Stop> {
        loop {
            // Nearly all of a source text: only a header's `lambda` asks for words.
            if !header || !self.frames.is_empty() {
                self.pos += run(&PLAIN, self.bytes, self.pos);
            }
            let Some(byte) = self.peek() else {
                return Some(self.end());
            };
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | 0x80.. => {
                    let word = self.word();
                    self.pos += word.len();
                    if word == b"lambda" && !matches!(self.peek(), Some(b'"' | b'\'')) {
                        *lambdas += 1;
                    }
                }
                b'"' | b'\'' => return self.string(self.prefix()),
                b'(' | b'[' | b'{' => {
                    self.frames.push(Frame::Bracket(byte, self.pos));
                    self.pos += 1;
                }
                b')' | b']' | b'}' => {
                    if self.close(byte) {
                        return None;
                    }
                }
                b'#' => self.skip_comment(),
                b'\\' if self.bytes.get(self.pos + 1) == Some(&b'\n') => self.pos += 2,
                b'\n' => {
                    if let Some(stop) = self.newline() {
                        return Some(stop);
                    }
                }
                b':' => {
                    if let Some(&Frame::Field(literal)) = self.frames.last() {
                        self.frames.push(Frame::Spec(literal));
                        self.pos += 1;
                        return None;
                    }
                    if header && self.frames.is_empty() {
                        if self.bytes.get(self.pos + 1) == Some(&b'=') {
                            self.pos += 1;
                        } else if *lambdas > 0 {
                            *lambdas -= 1;
                        } else {
                            return Some(Stop::Colon);
                        }
                    }
                    self.pos += 1;
                }
                b';' if self.frames.is_empty() => return Some(Stop::Semicolon),
                _ => self.pos += 1,
            }
        }
    }

    /// Closes a bracket; true when that leaves a replacement field, so that text follows.
    fn close(&mut self, closer: u8) -> bool {
        let opener = match closer {
            b')' => b'(',
            b']' => b'[',
            _ => b'{',
        };
        let at = self.pos;
        self.pos += 1;
        match self.frames.last().copied() {
            Some(Frame::Field(_)) if closer == b'}' => {
                self.frames.pop();
                true
            }
            Some(Frame::Bracket(open, _)) => {
                if open != opener {
                    self.fault(at, "a closing bracket does not match the opening one");
                }
                self.frames.pop();
                false
            }
            Some(Frame::Field(_) | Frame::Text(_) | Frame::Spec(_)) | None => {
                self.fault(at, "a closing bracket has no opening one");
                false
            }
        }
    }

    /// At a line break: does it end the logical line?
    fn newline(&mut self) -> Option<Stop> {
        let Some(&frame) = self.frames.last() else {
            return Some(Stop::Newline);
        };
        if rescue::starts_statement(self.bytes, self.pos + 1) {
            let at = match frame {
                Frame::Bracket(_, at) => at,
                Frame::Text(literal) | Frame::Field(literal) | Frame::Spec(literal) => {
                    literal.start
                }
            };
            self.fault(at, "a bracket is never closed");
            return Some(Stop::Newline);
        }
        self.pos += 1;
        None
    }

    pub(super) fn end(&mut self) -> Stop {
        let open = self.frames.iter().find_map(|frame| match frame {
            Frame::Text(literal) if literal.triple => Some(literal.start),
            Frame::Text(_) | Frame::Bracket(..) | Frame::Field(_) | Frame::Spec(_) => None,
        });
        if let Some(start) = open {
            return self.restart(start);
        }
        match self.frames.last().copied() {
            Some(Frame::Bracket(_, at)) => self.fault(at, "a bracket is never closed"),
            Some(Frame::Text(literal) | Frame::Field(literal) | Frame::Spec(literal)) => {
                self.fault(literal.start, "a string is never closed");
            }
            None => {}
        }
        Stop::End
    }
}

/// The identifier or number that starts at `at`.
pub(super) fn word_at(bytes: &[u8], at: usize) -> &[u8] {
    let end = at + run(&WORD, bytes, at);
    bytes.get(at..end).unwrap_or_default()
}

/// A set of bytes.
type Bytes = [bool; 256];

/// What identifiers and numbers consist of.
const WORD: Bytes = {
    let mut word = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        word[byte] = (byte as u8).is_ascii_alphanumeric() || byte == 95 || byte >= 128;
        byte += 1;
    }
    word
};
/// What ends no statement and opens nothing.
const PLAIN: Bytes = {
    let mut plain = [true; 256];
    let special = b"\"'([{)]}#\\\n:;";
    let mut at = 0;
    while at < special.len() {
        plain[special[at] as usize] = false;
        at += 1;
    }
    plain
};

/// The line break that ends the line of `at`, or the end of the text.
pub(super) fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + memchr(b'\n', rest).unwrap_or(rest.len())
}

fn is_in(set: &Bytes, byte: u8) -> bool {
    set.get(usize::from(byte)) == Some(&true)
}

/// How many bytes from `at` on are in the set.
fn run(set: &Bytes, bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let end = rest.iter().position(|&byte| !is_in(set, byte));
    end.unwrap_or(rest.len())
}
