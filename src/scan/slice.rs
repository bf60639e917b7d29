//! From text to logical lines: where the import statements lie, and which block headers enclose them. Owns
//! indentation and one-line blocks; what a header means is `context`'s, what a statement says is `parse`'s.

#![forbid(unsafe_code)]

use super::keyword::{is_clause, is_reserved, keyword, Keyword};
use super::last_import::last_import;
use super::lexer::{Fault, Lexer, Stop};

/// Which block in [`Sliced::blocks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BlockId(pub(super) usize);

/// A compound statement's clause.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) keyword: Keyword,
    /// The header's text, from its first word to its colon.
    pub(super) start: usize,
    pub(super) end: usize,
    /// The block it stands in. Always an earlier one, as are `previous` and `head`.
    pub(super) parent: Option<BlockId>,
    /// The clause before it in the same statement.
    pub(super) previous: Option<BlockId>,
    /// The first clause of the same statement.
    head: BlockId,
    indent: usize,
}

/// An import statement.
#[derive(Debug)]
pub(super) struct Slice {
    /// Where the statement starts: at `lazy`, if it has that.
    pub(super) start: usize,
    /// From `import` or `from` to where the statement ends.
    pub(super) code: usize,
    pub(super) end: usize,
    /// Its brackets were left open.
    pub(super) cut_short: bool,
    pub(super) block: Option<BlockId>,
}

#[derive(Debug)]
pub(super) struct Sliced {
    pub(super) imports: Vec<Slice>,
    pub(super) blocks: Vec<Block>,
    /// For each block of the keyword `try`: its handlers, as (try, handler).
    pub(super) handlers: Vec<(BlockId, BlockId)>,
    pub(super) fault: Option<Fault>,
    pub(super) trusted: bool,
}

enum Word {
    Import,
    Header(Keyword),
    Other,
}

struct Slicer<'s> {
    lexer: Lexer<'s>,
    imports: Vec<Slice>,
    blocks: Vec<Block>,
    handlers: Vec<(BlockId, BlockId)>,
    /// The open blocks, each indented deeper than the one before.
    open: Vec<BlockId>,
    /// The clause that ended where the current logical line starts.
    closed: Option<BlockId>,
    /// Whether long strings seemed to be left open where all imports had been read.
    is_odd: Option<bool>,
}

/// Finds the import statements of a text whose lines end in `\n`.
pub(super) fn slice(text: &str) -> Sliced {
    let mut slicer = Slicer {
        lexer: Lexer::new(text),
        imports: Vec::new(),
        blocks: Vec::new(),
        handlers: Vec::new(),
        open: Vec::new(),
        closed: None,
        is_odd: None,
    };
    // A text without the word has nothing to find, and nothing that its open strings could hide.
    if let Some(last) = last_import(text.as_bytes()) {
        while let Some(indent) = slicer.indentation() {
            slicer.leave_blocks(indent);
            if slicer.has_seen(last) {
                break;
            }
            slicer.logical_line(indent);
        }
    }
    Sliced {
        imports: slicer.imports,
        blocks: slicer.blocks,
        handlers: slicer.handlers,
        fault: slicer.lexer.fault,
        trusted: slicer.lexer.trusted,
    }
}

impl Slicer<'_> {
    /// Passes blank lines and comments, then the white space of a logical line; tells its column.
    fn indentation(&mut self) -> Option<usize> {
        let mut column = 0_usize;
        // A continued line's indentation is that of its first part.
        let mut first = None;
        loop {
            match self.lexer.peek()? {
                b' ' => column += 1,
                b'\t' => column = (column / 8 + 1) * 8,
                b'\x0c' => column = 0,
                b'\n' => {
                    column = 0;
                    first = None;
                }
                b'#' => {
                    self.lexer.skip_comment();
                    continue;
                }
                b'\\' => {
                    let before = self.lexer.pos;
                    self.lexer.skip_space();
                    if self.lexer.pos == before {
                        return Some(column);
                    }
                    first = first.or(Some(column));
                    continue;
                }
                _ => return Some(first.unwrap_or(column)),
            }
            self.lexer.pos += 1;
        }
    }

    /// Whether what follows can't matter: the last import is read, all handlers of the statements around it, and the
    /// text that is left opens as many long strings as it closes.
    ///
    /// When it lies in what was taken for a string, a quote may be missing before it: the end of the text tells. So it
    /// does where something is wrong already.
    fn has_seen(&mut self, last: usize) -> bool {
        let waits = |id: &BlockId| {
            let head = self.blocks.get(id.0).map_or(*id, |block| block.head);
            self.blocks
                .get(head.0)
                .is_some_and(|head| head.keyword == Keyword::Try)
        };
        self.lexer.fault.is_none()
            && self.imports.last().is_some_and(|import| import.end > last)
            && !self.open.iter().chain(&self.closed).any(waits)
            && !*self.is_odd.get_or_insert_with(|| {
                let rest = self.lexer.bytes.get(self.lexer.pos..).unwrap_or_default();
                let count = |quotes: &[u8; 3]| memchr::memmem::find_iter(rest, quotes).count();
                count(b"\"\"\"") % 2 != 0 || count(b"'''") % 2 != 0
            })
    }

    fn leave_blocks(&mut self, indent: usize) {
        while let Some(&id) = self.open.last() {
            match self.blocks.get(id.0) {
                Some(block) if block.indent < indent => return,
                Some(_) | None => {
                    self.closed = Some(id);
                    self.open.pop();
                }
            }
        }
    }

    fn logical_line(&mut self, indent: usize) {
        let mut parent = self.open.last().copied();
        // Only the first clause of the line can continue an earlier one.
        let mut closed = self.closed.take();
        loop {
            self.lexer.skip_space();
            match self.lexer.peek() {
                None => return,
                Some(b'\n') => {
                    self.lexer.pos += 1;
                    return;
                }
                Some(b'#') => {
                    self.lexer.skip_comment();
                    continue;
                }
                Some(_) => {}
            }
            let start = self.lexer.pos;
            let stop = match self.classify() {
                Word::Import => self.import(start, parent),
                Word::Other => self.lexer.finish(false),
                Word::Header(keyword) => {
                    let stop = self.lexer.finish(true);
                    if stop == Stop::Colon || (stop == Stop::Newline && is_reserved(keyword)) {
                        let id = self.enter(keyword, start, indent, parent, closed.take());
                        if stop == Stop::Newline || self.rest_is_blank() {
                            self.open.push(id);
                            return;
                        }
                        // A block on the header's own line: what follows on this line is in it.
                        if parent == self.open.last().copied() {
                            self.closed = Some(id);
                        }
                        parent = Some(id);
                    }
                    stop
                }
            };
            closed = None;
            match stop {
                Stop::End => return,
                Stop::Newline => {
                    self.lexer.pos += 1;
                    return;
                }
                Stop::Semicolon | Stop::Colon => self.lexer.pos += 1,
            }
        }
    }

    fn import(&mut self, start: usize, block: Option<BlockId>) -> Stop {
        let code = self.lexer.pos;
        let stop = self.lexer.finish(false);
        self.imports.push(Slice {
            start,
            code,
            end: self.lexer.pos,
            cut_short: self.lexer.cut_short(),
            block,
        });
        stop
    }

    fn enter(
        &mut self,
        keyword: Keyword,
        start: usize,
        indent: usize,
        parent: Option<BlockId>,
        closed: Option<BlockId>,
    ) -> BlockId {
        let id = BlockId(self.blocks.len());
        let sibling = closed
            .and_then(|closed| self.blocks.get(closed.0).map(|block| (closed, block)))
            .filter(|(_, block)| is_clause(keyword) && block.indent == indent)
            .map(|(closed, block)| (closed, block.head));
        let (previous, head) = sibling.map_or((None, id), |(closed, head)| (Some(closed), head));
        if keyword == Keyword::Except && previous.is_some() {
            self.handlers.push((head, id));
        }
        self.blocks.push(Block {
            keyword,
            start,
            end: self.lexer.pos,
            parent,
            previous,
            head,
            indent,
        });
        id
    }

    /// Behind a header's colon: is the block on the lines below?
    fn rest_is_blank(&mut self) -> bool {
        let at = self.lexer.pos;
        if self.lexer.peek() == Some(b':') {
            self.lexer.pos += 1;
        }
        self.lexer.skip_space();
        if self.lexer.peek() == Some(b'#') {
            self.lexer.skip_comment();
        }
        let blank = matches!(self.lexer.peek(), None | Some(b'\n'));
        if !blank {
            self.lexer.pos = at;
        }
        blank
    }

    /// Reads a statement's first word, and passes `async` and `lazy`.
    fn classify(&mut self) -> Word {
        let start = self.lexer.pos;
        let word = self.lexer.word();
        let word = match word {
            b"async" | b"lazy" => {
                self.lexer.pos += word.len();
                self.lexer.skip_space();
                let next = self.lexer.word();
                let belongs = match next {
                    b"import" | b"from" => word == b"lazy",
                    b"def" | b"with" | b"for" => word == b"async",
                    _ => false,
                };
                if !belongs {
                    self.lexer.pos = start;
                    return Word::Other;
                }
                next
            }
            word => word,
        };
        match word {
            b"import" | b"from" => Word::Import,
            word => keyword(word).map_or(Word::Other, Word::Header),
        }
    }
}
