//! Finds the frames in received bytes (RFC 9113 §4.1, §6), and gives each its cost.

/// Length of the preface (RFC 9113 §3.4).
const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The cost of a request that the client undoes: the work for it is lost.
pub(super) const UNDONE: u64 = 1;

/// The cost of a frame of this type.
fn cost(kind: u8) -> u64 {
    match kind {
        DATA | HEADERS | CONTINUATION => 0,
        RST_STREAM => UNDONE,
        // A client sends a few of them in all, and each is applied to every stream.
        SETTINGS => 4,
        // PRIORITY, PING, WINDOW_UPDATE, and those that need no reply.
        _ => 1,
    }
}

/// The place in the received bytes.
pub(super) struct Scan {
    /// Bytes until the next frame head.
    skip: usize,
    head: [u8; FRAME_HEAD],
    /// How many bytes of the head are known.
    known: usize,
    /// The bytes of the field block so far, with those of its current frame.
    block: Option<usize>,
    /// Whether the block ends with its current frame.
    ends_block: bool,
}

impl Default for Scan {
    fn default() -> Self {
        Self {
            skip: PREFACE,
            head: [0; FRAME_HEAD],
            known: 0,
            block: None,
            ends_block: false,
        }
    }
}

impl Scan {
    /// The cost of the frames whose heads end in these bytes.
    pub fn cost(&mut self, mut bytes: &[u8]) -> u64 {
        let mut total = 0;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if self.skip == 0 && self.ends_block {
                self.block = None;
            }
            let taken = (FRAME_HEAD - self.known).min(bytes.len());
            let Some(room) = self.head.get_mut(self.known..self.known + taken) else {
                return total;
            };
            let (part, rest) = bytes.split_at(taken);
            room.copy_from_slice(part);
            bytes = rest;
            self.known += taken;
            if self.known < FRAME_HEAD {
                return total;
            }
            self.known = 0;
            total += self.begin_frame();
        }
    }

    fn begin_frame(&mut self) -> u64 {
        let [a, b, c, kind, flags, ..] = self.head;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.block = match kind {
            HEADERS => Some(self.skip),
            CONTINUATION => Some(self.block.unwrap_or_default().saturating_add(self.skip)),
            _ => None,
        };
        self.ends_block = flags & END_HEADERS != 0;
        cost(kind)
    }

    /// The bytes of a field block whose end has not arrived; `None` outside of one.
    pub fn head_bytes(&self) -> Option<usize> {
        self.block
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let size = u32::try_from(length).unwrap().to_be_bytes();
        let mut bytes = vec![size[1], size[2], size[3], kind, flags, 0, 0, 0, 1];
        bytes.resize(FRAME_HEAD + length, 0);
        bytes
    }

    proptest! {
        #[test]
        fn the_cost_does_not_depend_on_the_cuts(
            frames in proptest::collection::vec((0_u8..12, 0_usize..40), 0..30),
            cut in 1_usize..50,
        ) {
            let mut bytes = vec![0; PREFACE];
            for (kind, length) in &frames {
                bytes.extend(frame(*kind, 0, *length));
            }
            let mut scan = Scan::default();
            let total: u64 = bytes.chunks(cut).map(|part| scan.cost(part)).sum();
            prop_assert_eq!(total, frames.iter().map(|(kind, _)| cost(*kind)).sum::<u64>());
        }
    }

    #[test]
    fn a_head_is_open_from_its_first_frame_to_the_last_byte_of_the_last() {
        let mut scan = Scan::default();
        scan.cost(&[0; PREFACE]);
        assert_eq!(scan.head_bytes(), None);
        scan.cost(&frame(HEADERS, 0, 10));
        assert_eq!(scan.head_bytes(), Some(10));
        let last = frame(CONTINUATION, END_HEADERS, 5);
        let (almost, end) = last.split_at(last.len() - 1);
        scan.cost(almost);
        assert_eq!(scan.head_bytes(), Some(15));
        scan.cost(end);
        assert_eq!(scan.head_bytes(), None);
        scan.cost(&frame(HEADERS, END_HEADERS, 3)[..10]);
        assert_eq!(scan.head_bytes(), Some(3));
        scan.cost(&[0; 2]);
        assert_eq!(scan.head_bytes(), None);
    }
}
