//! The private protocol between host, template and child; owns bytes and message types, not processes.
//!
//! Both ends speak it over a `socketpair`, never over stdout, which belongs to the user. `frame` turns
//! bytes into frames, `message` turns frames into typed messages. The Python half is `firehot/_wire.py`;
//! the golden frames in `tests/fixtures/frames.json` are read by the tests of both.

pub mod findings;
pub mod frame;
pub mod message;

/// Spoken by this version; a template that answers with another number is refused.
pub const PROTOCOL: u32 = 3;
