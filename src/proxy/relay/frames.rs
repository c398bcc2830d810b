//! The boundaries of WebSocket frames (RFC 6455 §5.2). Payloads are skipped, not read.

/// The longest header of a frame: two bytes, a length of eight, and a mask of four.
const LONGEST_HEADER: usize = 14;
const OPCODE: u8 = 0x0f;
const CLOSE: u8 = 0x08;
const MASKED: u8 = 0x80;

/// Follows the frames of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames {
    /// The bytes of a header that is not complete.
    header: [u8; LONGEST_HEADER],
    held: usize,
    /// The bytes of the current payload that are missing.
    payload: u64,
    has_closed: bool,
}

impl Frames {
    /// Follows these bytes.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped =
                usize::try_from(self.payload).map_or(bytes.len(), |it| it.min(bytes.len()));
            self.payload -= skipped as u64;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let (taken, rest) = bytes.split_at(self.missing_header().min(bytes.len()));
            for byte in taken {
                if let Some(place) = self.header.get_mut(self.held) {
                    *place = *byte;
                    self.held += 1;
                }
            }
            bytes = rest;
            self.end_header();
        }
    }

    /// Whether the next byte begins a frame.
    pub fn is_between(&self) -> bool {
        self.held == 0 && self.payload == 0
    }

    /// Whether a close frame has begun, after which no other frame follows.
    pub fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// The least number of bytes that end the current frame; 0 between two frames.
    pub fn missing(&self) -> u64 {
        match self.held {
            0 => self.payload,
            _ => self.missing_header() as u64,
        }
    }

    /// How many bytes the header has at least.
    fn header_length(&self) -> usize {
        let [_, second, ..] = self.header;
        if self.held < 2 {
            return 2;
        }
        let length = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if second & MASKED == 0 { 0 } else { 4 }
    }

    fn missing_header(&self) -> usize {
        if self.payload > 0 {
            return 0;
        }
        self.header_length() - self.held
    }

    /// Begins the payload when the header is complete.
    fn end_header(&mut self) {
        if self.held < self.header_length() {
            return;
        }
        let [first, second, a, b, c, d, e, f, g, h, ..] = self.header;
        self.payload = match second & !MASKED {
            126 => u16::from_be_bytes([a, b]).into(),
            127 => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            length => length.into(),
        };
        self.has_closed |= first & OPCODE == CLOSE;
        self.held = 0;
    }
}

/// A close frame (RFC 6455 §5.5.1). A client masks it with random bytes.
pub(super) fn close(code: u16, text: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    // A control frame has at most 125 bytes.
    payload.extend(text.bytes().take(123));
    let length = u8::try_from(payload.len()).unwrap_or(2);
    let mut frame = vec![0x80 | CLOSE, length];
    if let Some(mask) = mask {
        frame = vec![0x80 | CLOSE, MASKED | length];
        frame.extend(mask);
        for (byte, mask) in payload.iter_mut().zip(mask.into_iter().cycle()) {
            *byte ^= mask;
        }
    }
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame with this first byte, mask or none, and a length in the shortest form or a longer.
    fn frame(first: u8, masked: bool, form: u8, length: usize) -> Vec<u8> {
        let mask = if masked { MASKED } else { 0 };
        let mut frame = vec![first];
        match (form, length) {
            (0, ..=125) => frame.push(mask | u8::try_from(length).unwrap()),
            (0 | 1, ..=0xffff) => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([0x88; 4].iter().filter(|_| masked));
        // Every byte of a payload looks like the beginning of a close frame.
        frame.extend(std::iter::repeat_n(0x88, length));
        frame
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let first = prop::sample::select(vec![0x00, 0x01, 0x82, 0x89, 0x8a, 0xc1]);
        let length = prop_oneof![0..5_usize, 120..130_usize, 65_530..65_540_usize];
        (first, any::<bool>(), 0..3_u8, length)
            .prop_map(|(first, masked, form, length)| frame(first, masked, form, length))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the cuts, each boundary is found, and nothing else is one.
        #[test]
        fn boundaries_are_found_at_every_cut(
            frames in prop::collection::vec(any_frame(), 1..4),
            cuts in prop::collection::vec(1..70_usize, 1..200),
        ) {
            let bytes = frames.concat();
            let mut ends: Vec<usize> = Vec::new();
            for frame in &frames {
                ends.push(ends.last().copied().unwrap_or_default() + frame.len());
            }
            let (mut whole, mut found, mut at) = (Frames::default(), Vec::new(), 0);
            // Small steps around the headers, one large one within a payload.
            let mut cuts = cuts.into_iter().cycle();
            while at < bytes.len() {
                let next = ends.iter().copied().find(|end| *end > at).unwrap();
                let room = usize::try_from(whole.missing()).unwrap();
                let step = if room > 100 { room - 50 } else { cuts.next().unwrap() };
                let step = step.min(next - at);
                whole.pass(&bytes[at..at + step]);
                at += step;
                if whole.is_between() {
                    found.push(at);
                }
            }
            prop_assert_eq!(&found, &ends);
            prop_assert!(!whole.has_closed());
            let mut at_once = Frames::default();
            at_once.pass(&bytes);
            prop_assert!(at_once.is_between());
        }

        /// A reader that reads no more than is missing stops exactly at the next boundary.
        #[test]
        fn a_limited_reader_stops_at_the_boundary(frame in any_frame(), begun in 0..200_usize) {
            let begun = begun.min(frame.len());
            let bytes = [frame.as_slice(), &[0x81, 5]].concat();
            let mut frames = Frames::default();
            frames.pass(&bytes[..begun]);
            let mut at = begun;
            while !frames.is_between() {
                let missing = usize::try_from(frames.missing()).unwrap();
                prop_assert!(missing > 0);
                frames.pass(&bytes[at..at + missing]);
                at += missing;
            }
            prop_assert!(at == frame.len() || begun == 0);
        }

        #[test]
        fn any_bytes_are_followed_without_a_panic(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..20),
        ) {
            let (mut cut, mut whole) = (Frames::default(), Frames::default());
            for part in &parts {
                cut.pass(part);
            }
            whole.pass(&parts.concat());
            prop_assert_eq!(cut.is_between(), whole.is_between());
            prop_assert_eq!(cut.missing(), whole.missing());
            prop_assert_eq!(cut.has_closed(), whole.has_closed());
        }
    }

    #[test]
    fn a_close_frame_is_one_whether_masked_or_not() {
        assert_eq!(close(4401, "no", None), [0x88, 4, 0x11, 0x31, b'n', b'o']);
        let masked = close(4401, "no", Some([1, 2, 3, 4]));
        assert_eq!(
            masked,
            [0x88, 0x84, 1, 2, 3, 4, 0x10, 0x33, b'n' ^ 3, b'o' ^ 4]
        );
        for frame in [masked, close(1001, &"x".repeat(200), None)] {
            let mut frames = Frames::default();
            frames.pass(&frame);
            assert!(frames.is_between() && frames.has_closed());
            assert!(frame.len() <= 131);
        }
    }
}
