//! Frames: `u32 header length | u32 body length | JSON header | raw body`, little-endian. Owns no socket.
#![forbid(unsafe_code)]

/// Bytes before the header: two little-endian `u32`.
pub const PREFIX: usize = 8;
/// A header is a small JSON object; anything longer is a damaged stream.
pub const MAX_HEADER: usize = 16 << 20;
/// A body is a pickle; its length has to fit the prefix.
pub const MAX_BODY: usize = u32::MAX as usize;
/// What is reserved on the word of a length field alone; more is allocated only as bytes arrive.
const TRUSTED: usize = 1 << 20;

/// One message as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// A JSON object.
    pub header: Vec<u8>,
    /// Raw bytes, mostly a pickle; may be empty.
    pub body: Vec<u8>,
}

/// A stream that no longer holds frames; it can't be read further.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// A length field above its cap.
    #[error("{part} of {len} bytes announced, at most {max} allowed")]
    TooLong {
        /// "header" or "body".
        part: &'static str,
        /// What the length field says.
        len: usize,
        /// The cap.
        max: usize,
    },
}

/// The prefix of a frame with these lengths.
///
/// # Errors
/// [`FrameError::TooLong`] when a part is above its cap.
pub fn prefix(header: usize, body: usize) -> Result<[u8; PREFIX], FrameError> {
    let header = checked("header", header, MAX_HEADER)?;
    let body = checked("body", body, MAX_BODY)?;
    let mut bytes = [0; PREFIX];
    bytes[..4].copy_from_slice(&header.to_le_bytes());
    bytes[4..].copy_from_slice(&body.to_le_bytes());
    Ok(bytes)
}

fn checked(part: &'static str, len: usize, max: usize) -> Result<u32, FrameError> {
    let too_long = FrameError::TooLong { part, len, max };
    if len > max {
        return Err(too_long);
    }
    u32::try_from(len).map_err(|_| too_long)
}

/// Turns bytes, cut anywhere, back into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    prefix: Vec<u8>,
    lengths: Option<(usize, usize)>,
    frame: Frame,
}

impl Decoder {
    /// Takes bytes off the front of `input` and returns the first whole frame among them, if any.
    ///
    /// Call it until it returns `None`: then `input` is used up.
    ///
    /// # Errors
    /// [`FrameError::TooLong`]: the stream is damaged, and every later call fails as well.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, FrameError> {
        if self.lengths.is_none() {
            take(&mut self.prefix, PREFIX, input);
            let Ok(bytes) = <[u8; PREFIX]>::try_from(self.prefix.as_slice()) else {
                return Ok(None);
            };
            let [a, b, c, d, e, f, g, h] = bytes;
            let header = u32::from_le_bytes([a, b, c, d]) as usize;
            let body = u32::from_le_bytes([e, f, g, h]) as usize;
            checked("header", header, MAX_HEADER)?;
            self.frame.header.reserve(header.min(TRUSTED));
            self.frame.body.reserve(body.min(TRUSTED));
            self.lengths = Some((header, body));
        }
        let Some((header, body)) = self.lengths else {
            return Ok(None);
        };
        take(&mut self.frame.header, header, input);
        if self.frame.header.len() == header {
            take(&mut self.frame.body, body, input);
        }
        if self.frame.header.len() < header || self.frame.body.len() < body {
            return Ok(None);
        }
        self.prefix.clear();
        self.lengths = None;
        Ok(Some(std::mem::take(&mut self.frame)))
    }
}

/// Moves bytes from `input` to `part` until it has `len` of them.
fn take(part: &mut Vec<u8>, len: usize, input: &mut &[u8]) {
    let count = len.saturating_sub(part.len()).min(input.len());
    let (taken, rest) = input.split_at(count);
    part.extend_from_slice(taken);
    *input = rest;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(frame: &Frame) -> Vec<u8> {
        let mut bytes = prefix(frame.header.len(), frame.body.len())
            .unwrap()
            .to_vec();
        bytes.extend(&frame.header);
        bytes.extend(&frame.body);
        bytes
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..40), prop::collection::vec(any::<u8>(), 0..400)), 0..8),
            cut in 1usize..50,
        ) {
            let frames: Vec<Frame> = frames.into_iter().map(|(header, body)| Frame { header, body }).collect();
            let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
            let mut decoder = Decoder::default();
            let mut seen = Vec::new();
            for mut piece in bytes.chunks(cut) {
                while let Some(frame) = decoder.next(&mut piece).unwrap() {
                    seen.push(frame);
                }
                prop_assert!(piece.is_empty());
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            let mut input = bytes.as_slice();
            while let Ok(Some(_)) = decoder.next(&mut input) {}
        }
    }

    #[test]
    fn a_header_above_the_cap_is_refused_before_it_is_read() {
        let mut bytes: &[u8] = &[255, 255, 255, 255, 0, 0, 0, 0];
        let error = Decoder::default().next(&mut bytes).unwrap_err();
        assert!(error.to_string().starts_with("header of 4294967295 bytes"));
    }

    #[test]
    fn an_announced_body_is_not_allocated_on_its_word() {
        let mut decoder = Decoder::default();
        let mut bytes: &[u8] = &[0, 0, 0, 0, 255, 255, 255, 255, 1];
        assert_eq!(decoder.next(&mut bytes).unwrap(), None);
        assert!(decoder.frame.body.capacity() <= 2 * TRUSTED);
    }
}
