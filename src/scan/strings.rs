//! The lexer's way through strings, those that hold code (f-strings and t-strings) among them. Owns quotes, escapes,
//! replacement fields' text, and what is done about a string without an end.

#![forbid(unsafe_code)]

use memchr::{memchr2, memchr3};

use super::lexer::{line_end, Frame, Lexer, Literal, Stop};

/// After so many triple quotes without an end they are read as ending at their line at once; more would let a
/// hostile file take quadratic time.
const RESTARTS: u32 = 32;

impl Lexer<'_> {
    /// At a quote, behind the prefix `prefix` (or behind any other word).
    pub(super) fn string(&mut self, prefix: &[u8]) -> Option<Stop> {
        let start = self.pos;
        let quote = self.peek()?;
        let triple = self.bytes.get(start..start + 3) == Some(&[quote; 3]);
        if triple && self.restarts >= RESTARTS {
            self.pos = line_end(self.bytes, start);
            self.frames.clear();
            return Some(Stop::Newline);
        }
        self.pos += if triple { 3 } else { 1 };
        if let Some(raw) = formatted(prefix) {
            self.frames.push(Frame::Text(Literal {
                quote,
                triple,
                raw,
                start,
            }));
            return None;
        }
        if triple {
            self.long_string(quote, start)
        } else {
            self.short_string(quote, start)
        }
    }

    fn short_string(&mut self, quote: u8, start: usize) -> Option<Stop> {
        loop {
            let rest = self.bytes.get(self.pos..).unwrap_or_default();
            let Some(at) = memchr3(quote, b'\\', b'\n', rest) else {
                self.pos = self.bytes.len();
                return Some(self.unended(start));
            };
            self.pos += at;
            match self.peek() {
                Some(b'\\') => self.pos = (self.pos + 2).min(self.bytes.len()),
                Some(b'\n') => return Some(self.unended(start)),
                _ => {
                    self.pos += 1;
                    return None;
                }
            }
        }
    }

    fn long_string(&mut self, quote: u8, start: usize) -> Option<Stop> {
        loop {
            let rest = self.bytes.get(self.pos..).unwrap_or_default();
            let Some(at) = memchr2(quote, b'\\', rest) else {
                return Some(self.restart(start));
            };
            self.pos += at;
            if self.peek() == Some(b'\\') {
                self.pos = (self.pos + 2).min(self.bytes.len());
            } else if self.bytes.get(self.pos..self.pos + 3) == Some(&[quote; 3]) {
                self.pos += 3;
                return None;
            } else {
                self.pos += 1;
            }
        }
    }

    /// The text of an f-string or t-string, or of a format specification in it.
    pub(super) fn text(&mut self, literal: Literal, spec: bool) -> Option<Stop> {
        loop {
            let Some(byte) = self.peek() else {
                return Some(self.end());
            };
            let next = self.bytes.get(self.pos + 1).copied();
            match byte {
                b'\\' => self.escape(literal.raw, next),
                b'\n' if !literal.triple => {
                    if !spec {
                        return Some(self.unended(literal.start));
                    }
                    // A specification may not hold a line break, but the field around it may.
                    self.frames.pop();
                    return None;
                }
                b'{' if next == Some(b'{') && !spec => self.pos += 2,
                b'{' => {
                    // In a specification `{{` is a field that starts with a set or a dict.
                    self.frames.push(Frame::Field(literal));
                    self.pos += 1;
                    return None;
                }
                b'}' if spec => {
                    self.frames.pop();
                    self.frames.pop();
                    self.pos += 1;
                    return None;
                }
                _ if byte == literal.quote => {
                    let closer = self.bytes.get(self.pos..self.pos + 3);
                    if !literal.triple || closer == Some(&[byte; 3]) {
                        self.pos += if literal.triple { 3 } else { 1 };
                        self.leave_literal();
                        return None;
                    }
                    self.pos += 1;
                }
                _ => self.pos += 1,
            }
        }
    }

    fn escape(&mut self, raw: bool, next: Option<u8>) {
        match next {
            // The brace keeps its meaning behind a backslash.
            Some(b'{' | b'}') | None => self.pos += 1,
            Some(b'N') if !raw && self.bytes.get(self.pos + 2) == Some(&b'{') => {
                self.pos += 3;
                while let Some(b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b' ' | b'-') = self.peek()
                {
                    self.pos += 1;
                }
                if self.peek() == Some(b'}') {
                    self.pos += 1;
                }
            }
            Some(_) => self.pos += 2,
        }
    }

    fn leave_literal(&mut self) {
        while let Some(frame) = self.frames.pop() {
            match frame {
                Frame::Text(_) => return,
                Frame::Bracket(..) | Frame::Field(_) | Frame::Spec(_) => {}
            }
        }
    }

    /// A one-line string without an end: the logical line ends with it, brackets or not.
    fn unended(&mut self, start: usize) -> Stop {
        self.fault(start, "a string is never closed");
        // It may be the end of a longer string whose start was taken for its end.
        let text = self.bytes.get(start..self.pos).unwrap_or_default();
        self.trusted &= [b"\"\"\"", b"'''"]
            .iter()
            .all(|quotes| memchr::memmem::find(text, *quotes).is_none());
        self.frames.clear();
        if self.pos < self.bytes.len() {
            Stop::Newline
        } else {
            Stop::End
        }
    }

    /// A triple-quoted string without an end, found at the end of the text: reads on behind its first line.
    pub(super) fn restart(&mut self, start: usize) -> Stop {
        // The outermost one is to blame: what looks like one inside it is text.
        let start = self
            .frames
            .iter()
            .find_map(|frame| match frame {
                Frame::Text(literal) if literal.triple => Some(literal.start),
                Frame::Text(_) | Frame::Bracket(..) | Frame::Field(_) | Frame::Spec(_) => None,
            })
            .unwrap_or(start);
        self.restarts += 1;
        self.trusted = false;
        self.fault(start, "a triple-quoted string is never closed");
        self.frames.clear();
        self.pos = line_end(self.bytes, start);
        Stop::Newline
    }
}

/// Whether a string with this prefix holds code, and if so, whether it is raw.
fn formatted(prefix: &[u8]) -> Option<bool> {
    match prefix {
        [b'f' | b'F' | b't' | b'T'] => Some(false),
        [b'f' | b'F' | b't' | b'T', b'r' | b'R'] | [b'r' | b'R', b'f' | b'F' | b't' | b'T'] => {
            Some(true)
        }
        _ => None,
    }
}
