//! Fuzzes the frame codec: whatever comes, and however it is cut, nothing panics and nothing is allocated on its word.
//!
//! A million frames with FIREHOT_SOAK=1 (`make soak`), a hundredth of them else.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use firehot::protocol::findings::ChildImport;
use firehot::protocol::frame::{prefix, Decoder, Frame, FrameError, MAX_HEADER};
use firehot::protocol::message::{
    decode, encode, ChildId, FromChild, FromTemplate, PreloadItem, Role, ToChild, ToTemplate,
};
use proptest::prelude::*;
use proptest::sample::Index;

const MILLION: u32 = 1_000_000;
/// Frames of one case, on average.
const FRAMES: u32 = 8;
/// What the decoder reserves at most before any byte of a part has come.
const RESERVED: usize = 2 << 20;

/// How much of the full count this run does.
fn scale() -> f64 {
    std::env::var("FIREHOT_SOAK").map_or(0.01, |text| text.parse().unwrap())
}

fn cases(full: u32) -> ProptestConfig {
    ProptestConfig {
        cases: (f64::from(full) * scale()).max(1.0) as u32,
        // Seeds of failures become tests of their own, by hand.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands everything to the system's allocator; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + layout.size());
        System.alloc(layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        System.dealloc(block, layout);
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + size.saturating_sub(layout.size()));
        System.realloc(block, layout, size)
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn bytes_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = prefix(frame.header.len(), frame.body.len())
        .unwrap()
        .to_vec();
    bytes.extend(&frame.header);
    bytes.extend(&frame.body);
    bytes
}

/// Everything that a stream holds, read in pieces of these sizes, and what ended it.
fn read(bytes: &[u8], cuts: &[usize]) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    let mut rest = bytes;
    let mut sizes = cuts.iter().copied().cycle();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(1).clamp(1, rest.len());
        let (mut piece, after) = rest.split_at(size);
        rest = after;
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    // Whatever comes after it, a damaged stream stays damaged.
                    let mut good: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'];
                    assert_eq!(decoder.next(&mut good), Err(again(&error)));
                    return (frames, Some(error));
                }
            }
        }
        assert!(piece.is_empty(), "a piece is used up");
    }
    (frames, None)
}

fn again(error: &FrameError) -> FrameError {
    let FrameError::TooLong { part, len, max } = error;
    FrameError::TooLong {
        part,
        len: *len,
        max: *max,
    }
}

fn some_bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=longest)
}

fn some_frame() -> impl Strategy<Value = Frame> {
    let header = prop_oneof![
        4 => some_bytes(48),
        1 => Just(br#"{"type":"returned","type_name":"builtins.int"}"#.to_vec()),
    ];
    (header, some_bytes(64)).prop_map(|(header, body)| Frame { header, body })
}

fn some_frames() -> impl Strategy<Value = Vec<Frame>> {
    prop::collection::vec(some_frame(), 0..=2 * FRAMES as usize)
}

/// What goes wrong on the way.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Length(Index, u32),
    Repeat,
}

fn some_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), some_bytes(12)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (
            any::<Index>(),
            prop_oneof![any::<u32>(), Just(u32::MAX), Just(MAX_HEADER as u32)]
        )
            .prop_map(|(at, length)| Damage::Length(at, length)),
        Just(Damage::Repeat),
    ]
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        match self {
            Self::Flip(at, bits) if len > 0 => bytes[at.index(len)] ^= bits,
            Self::Cut(at) => bytes.truncate(at.index(len + 1)),
            Self::Insert(at, more) => {
                let at = at.index(len + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Length(at, length) if len >= 4 => {
                let at = at.index(len - 3);
                bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
            }
            Self::Flip(..) | Self::Length(..) => {}
            Self::Repeat => bytes.extend_from_within(..),
        }
    }
}

fn some_text() -> impl Strategy<Value = String> {
    // All of Unicode, with what JSON has to escape.
    prop_oneof![
        any::<String>(),
        "[\\x00-\\x1f\"\\\\/\u{7f}\u{2028}\u{10ffff}]{0,20}"
    ]
}

fn from_child() -> impl Strategy<Value = FromChild> {
    prop_oneof![
        some_text().prop_map(|type_name| FromChild::Returned { type_name }),
        (some_text(), some_text(), some_text()).prop_map(|(type_name, text, traceback)| {
            FromChild::Raised {
                type_name,
                text,
                traceback,
            }
        }),
        (some_text(), some_text())
            .prop_map(|(type_name, error)| FromChild::Unpicklable { type_name, error }),
        prop::collection::vec(
            (
                some_text(),
                prop::option::of(some_text()),
                any::<u64>(),
                any::<u64>()
            )
                .prop_map(|(name, file, own, total)| ChildImport(name, file, own, total)),
            0..4
        )
        .prop_map(|modules| FromChild::Imported { modules }),
    ]
}

fn to_template() -> impl Strategy<Value = ToTemplate> {
    prop_oneof![
        (
            prop::collection::vec(
                (some_text(), prop::collection::vec(some_text(), 0..3)),
                0..5
            ),
            any::<bool>()
        )
            .prop_map(|(imports, trial)| {
                let imports = imports
                    .into_iter()
                    .map(|(module, names)| PreloadItem { module, names })
                    .collect();
                ToTemplate::Preload { imports, trial }
            }),
        (any::<u64>(), any::<i32>(), any::<bool>()).prop_map(|(id, signal, group)| {
            ToTemplate::Signal {
                id: ChildId(id),
                signal,
                group,
            }
        }),
        (any::<u64>(), prop::option::of(some_text())).prop_map(|(id, cloudpickle)| {
            ToTemplate::Fork {
                id: ChildId(id),
                role: Role::Child,
                cloudpickle,
            }
        }),
        Just(ToTemplate::Retire {}),
    ]
}

proptest! {
    #![proptest_config(cases(MILLION / FRAMES / 2))]

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut(
        frames in some_frames(),
        cuts in prop::collection::vec(1usize..80, 1..6),
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(bytes_of).collect();
        let (seen, error) = read(&bytes, &cuts);
        prop_assert_eq!(error, None);
        prop_assert_eq!(seen, frames);
    }

    #[test]
    fn a_damaged_stream_neither_panics_nor_allocates_more_than_came(
        frames in some_frames(),
        damage in prop::collection::vec(some_damage(), 1..4),
        cuts in prop::collection::vec(1usize..80, 1..6),
    ) {
        let mut bytes: Vec<u8> = frames.iter().flat_map(bytes_of).collect();
        for one in &damage {
            one.apply(&mut bytes);
        }
        let before = ALLOCATED.get();
        let (seen, _) = read(&bytes, &cuts);
        let allocated = ALLOCATED.get() - before;
        let came: usize = seen.iter().map(|frame| 8 + frame.header.len() + frame.body.len()).sum();
        prop_assert!(came <= bytes.len());
        // Twice, since vectors double; the last, unfinished frame reserves for header and body.
        let most = 2 * bytes.len() + seen.len() * 256 + 2 * RESERVED;
        prop_assert!(allocated <= most, "{allocated} bytes for {} that came", bytes.len());
        for frame in &seen {
            // What is no message is an error; the text of it is made.
            if let Err(error) = decode::<FromChild>(frame) {
                prop_assert!(!error.to_string().is_empty());
            }
            let _ = decode::<FromTemplate>(frame);
        }
    }
}

proptest! {
    #![proptest_config(cases(MILLION / 20))]

    #[test]
    fn random_bytes_are_read_without_a_panic(bytes in some_bytes(200), cuts in prop::collection::vec(1usize..40, 1..4)) {
        let (seen, _) = read(&bytes, &cuts);
        prop_assert!(seen.len() <= bytes.len() / 8);
    }

    #[test]
    fn random_headers_are_no_messages(header in prop_oneof![some_bytes(80), some_json().prop_map(String::into_bytes)]) {
        let frame = Frame { header, body: Vec::new() };
        let _ = decode::<FromChild>(&frame);
        let _ = decode::<FromTemplate>(&frame);
        let _ = decode::<ToTemplate>(&frame);
        let _ = decode::<ToChild>(&frame);
    }

    #[test]
    fn messages_of_a_child_survive(message in from_child(), body in some_bytes(40)) {
        let mut bytes = encode(&message, body.len()).unwrap();
        bytes.extend(&body);
        let (seen, error) = read(&bytes, &[7]);
        prop_assert_eq!(error, None);
        prop_assert_eq!(&seen[0].body, &body);
        prop_assert_eq!(decode::<FromChild>(&seen[0]).unwrap(), message);
    }

    #[test]
    fn messages_to_a_template_survive(message in to_template()) {
        let (seen, error) = read(&encode(&message, 0).unwrap(), &[5]);
        prop_assert_eq!(error, None);
        prop_assert_eq!(decode::<ToTemplate>(&seen[0]).unwrap(), message);
    }
}

/// JSON that comes close to a message.
fn some_json() -> impl Strategy<Value = String> {
    let kind = prop_oneof![
        Just("returned"),
        Just("raised"),
        Just("exited"),
        Just("forked"),
        Just("ready"),
        Just("fork"),
        Just("dance"),
    ];
    let value = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| number.to_string()),
        some_text().prop_map(|text| serde_json::to_string(&text).unwrap()),
        (1usize..300).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
    ];
    let key = prop_oneof![
        Just("id"),
        Just("pid"),
        Just("status"),
        Just("type_name"),
        Just("text"),
        Just("as")
    ];
    (kind, prop::collection::vec((key, value), 0..4)).prop_map(|(kind, fields)| {
        let fields: Vec<String> = fields
            .into_iter()
            .map(|(key, value)| format!(",\"{key}\":{value}"))
            .collect();
        format!("{{\"type\":\"{kind}\"{}}}", fields.concat())
    })
}
