//! What the headers around an import statement say of it. Owns how clauses and nested blocks add up; works out only
//! the blocks that enclose an import.

#![forbid(unsafe_code)]

use super::condition::{catches, suppresses, test, tests_platform, tokens, Facts};
use super::keyword::Keyword;
use super::slice::{Block, BlockId, Sliced};
use super::Context;

/// What holds for a statement in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct State {
    pub(super) context: Context,
    pub(super) type_checking: bool,
    /// What holds in the clauses that follow this one, beside what holds around them.
    later: Facts,
    conditional_later: bool,
}

/// The states of all blocks that enclose an import; the others are left at their default.
pub(super) fn states(text: &str, sliced: &Sliced) -> Vec<State> {
    let blocks = &sliced.blocks;
    let mut needed = vec![false; blocks.len()];
    for slice in &sliced.imports {
        mark(&mut needed, slice.block);
    }
    // Parents and earlier clauses have smaller numbers: backwards to mark them, forwards to work them out.
    for (at, block) in blocks.iter().enumerate().rev() {
        if needed.get(at) == Some(&true) {
            mark(&mut needed, block.parent);
            mark(&mut needed, block.previous);
        }
    }
    let mut catching = vec![false; blocks.len()];
    for &(head, handler) in &sliced.handlers {
        if needed.get(head.0) != Some(&true) {
            continue;
        }
        let caught = blocks
            .get(handler.0)
            .is_some_and(|block| catches(header(text, block)));
        if let Some(slot) = catching.get_mut(head.0) {
            *slot |= caught;
        }
    }
    let mut states = vec![State::default(); blocks.len()];
    for (at, block) in blocks.iter().enumerate() {
        if needed.get(at) != Some(&true) {
            continue;
        }
        let outer = state_of(&states, block.parent);
        let before = state_of(&states, block.previous);
        let caught = catching.get(at) == Some(&true);
        let state = inside(block, header(text, block), outer, before, caught);
        if let Some(slot) = states.get_mut(at) {
            *slot = state;
        }
    }
    states
}

/// The state of the statements in a block, or of those at the top.
pub(super) fn state_of(states: &[State], block: Option<BlockId>) -> State {
    block
        .and_then(|block| states.get(block.0).copied())
        .unwrap_or_default()
}

fn mark(needed: &mut [bool], block: Option<BlockId>) {
    if let Some(slot) = block.and_then(|block| needed.get_mut(block.0)) {
        *slot = true;
    }
}

fn header<'s>(text: &'s str, block: &Block) -> &'s [u8] {
    text.as_bytes()
        .get(block.start..block.end)
        .unwrap_or_default()
}

fn inside(block: &Block, header: &[u8], outer: State, before: State, caught: bool) -> State {
    let mut state = State {
        context: outer.context,
        type_checking: outer.type_checking,
        ..State::default()
    };
    state.context.tested |= matches!(
        block.keyword,
        Keyword::If | Keyword::Elif | Keyword::Else | Keyword::Match | Keyword::While
    );
    match block.keyword {
        Keyword::Def => state.context.nested = true,
        Keyword::If | Keyword::Elif => {
            let tokens = tokens(header);
            let outcomes = test(tokens.get(1..).unwrap_or_default());
            state.conditional_later = before.conditional_later || tests_platform(&tokens);
            state.later = before.later.or(outcomes.fails);
            state.hold(before.later.or(outcomes.holds), state.conditional_later);
        }
        Keyword::Else => state.hold(before.later, before.conditional_later),
        Keyword::Match => state.context.conditional |= tests_platform(&tokens(header)),
        Keyword::Try => state.context.guarded |= caught,
        Keyword::Except => state.context.guarded |= catches(header),
        Keyword::With => state.context.guarded |= suppresses(header),
        Keyword::Class | Keyword::For | Keyword::While | Keyword::Finally | Keyword::Case => {}
    }
    state
}

impl State {
    fn hold(&mut self, facts: Facts, conditional: bool) {
        self.type_checking |= facts.type_checking;
        self.context.nested |= facts.main;
        self.context.conditional |= conditional;
    }
}
