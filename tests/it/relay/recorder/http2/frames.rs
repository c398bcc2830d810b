//! Frames (RFC 9113 §4), written and read without any check of their states.

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// A frame as it is on the wire.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Whether the frame has this flag.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The first number of the payload; 0 if it is shorter.
    pub fn number(&self) -> u32 {
        let four = self.payload.first_chunk().copied();
        u32::from_be_bytes(four.unwrap_or_default())
    }

    /// The payload without padding; `None` if the padding is longer than the payload.
    pub fn unpadded(&self) -> Option<&[u8]> {
        if !self.has(PADDED) {
            return Some(self.payload);
        }
        let (padding, rest) = self.payload.split_first()?;
        rest.get(..rest.len().checked_sub(usize::from(*padding))?)
    }
}

/// The bytes of a frame.
pub fn written(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame");
    let head = [&length.to_be_bytes()[1..], &[kind, flags]].concat();
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// The whole frames in these bytes, and the rest.
pub fn all(mut bytes: &[u8]) -> (Vec<Frame<'_>>, &[u8]) {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        let stream = [head[5] & 0x7F, head[6], head[7], head[8]];
        found.push(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes(stream),
            payload,
        });
        bytes = rest;
    }
    (found, bytes)
}
