//! HPACK (RFC 7541): a writer of literals, and a reader of everything that a server sends.

use std::collections::VecDeque;

/// A name and a value.
pub type Field = (String, String);

/// A field as a literal without indexing, with these bytes.
pub fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

/// A field that both sides add to their dynamic tables.
pub fn indexed_literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0x40][..], &text(name), &text(value)].concat()
}

/// A string without Huffman coding.
pub fn text(bytes: &[u8]) -> Vec<u8> {
    let mut out = integer(bytes.len(), 7, 0);
    out.extend_from_slice(bytes);
    out
}

/// An integer with a prefix of so many bits, below these marks (§5.1).
pub fn integer(value: usize, bits: u32, marks: u8) -> Vec<u8> {
    let most = (1_usize << bits) - 1;
    if value < most {
        return vec![marks | u8::try_from(value).expect("below the prefix")];
    }
    let mut out = vec![marks | u8::try_from(most).expect("a prefix")];
    let mut rest = value - most;
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).expect("seven bits") | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
    out
}

/// The static table (Appendix A), from 1.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The codes of printable characters (Appendix B): the bits of a code, the first code of so many
/// bits, and its characters in order.
const HUFFMAN: [(u32, u32, &str); 11] = [
    (5, 0x0, "012aceiost"),
    (6, 0x14, " %-./3456789=A_bdfghlmnpru"),
    (7, 0x5c, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 0xf8, "&*,;XZ"),
    (10, 0x3f8, "!\"()?"),
    (11, 0x7fa, "'+|"),
    (12, 0xffa, "#>"),
    (13, 0x1ff9, "$@[]~"),
    (14, 0x3ffc, "^}"),
    (15, 0x7ffc, "<`{"),
    (19, 0x7fff0, "\\"),
];

/// Reads field blocks.
#[derive(Default)]
pub struct Decoder {
    /// The dynamic table, the newest entry first.
    added: VecDeque<Field>,
}

impl Decoder {
    pub fn decode(&mut self, block: &[u8]) -> Vec<Field> {
        let mut bytes = block;
        let mut fields = Vec::new();
        while let Some(first) = bytes.first().copied() {
            if first & 0x80 != 0 {
                fields.push(self.entry(read_integer(&mut bytes, 7)));
            } else if first & 0xe0 == 0x20 {
                // A new size of the table: its entries are few.
                read_integer(&mut bytes, 5);
            } else {
                let adds = first & 0x40 != 0;
                let index = read_integer(&mut bytes, if adds { 6 } else { 4 });
                let name = match index {
                    0 => read_text(&mut bytes),
                    index => self.entry(index).0,
                };
                let field = (name, read_text(&mut bytes));
                if adds {
                    self.added.push_front(field.clone());
                    self.evict();
                }
                fields.push(field);
            }
        }
        fields
    }

    fn entry(&self, index: usize) -> Field {
        match STATIC.get(index - 1) {
            Some((name, value)) => ((*name).to_owned(), (*value).to_owned()),
            None => self.added[index - 1 - STATIC.len()].clone(),
        }
    }

    fn evict(&mut self) {
        let size = |(name, value): &Field| name.len() + value.len() + 32;
        while self.added.iter().map(size).sum::<usize>() > 4096 {
            self.added.pop_back();
        }
    }
}

fn read_integer(bytes: &mut &[u8], bits: u32) -> usize {
    let mut next = || {
        let (first, rest) = bytes.split_first().expect("a whole integer");
        *bytes = rest;
        usize::from(*first)
    };
    let most = (1 << bits) - 1;
    let mut value = next() & most;
    if value < most {
        return value;
    }
    for shift in (0..).step_by(7) {
        let byte = next();
        value += (byte & 127) << shift;
        if byte < 128 {
            break;
        }
    }
    value
}

fn read_text(bytes: &mut &[u8]) -> String {
    let is_coded = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let length = read_integer(bytes, 7);
    let (text, rest) = bytes.split_at(length);
    *bytes = rest;
    if is_coded {
        huffman(text)
    } else {
        String::from_utf8_lossy(text).into_owned()
    }
}

fn huffman(coded: &[u8]) -> String {
    let mut out = String::new();
    let (mut code, mut length) = (0_u32, 0);
    for bit in coded
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1))
    {
        code = code << 1 | u32::from(bit);
        length += 1;
        let row = HUFFMAN.iter().find(|(bits, _, _)| *bits == length);
        let found = row.and_then(|(_, first, characters)| {
            let at = usize::try_from(code.checked_sub(*first)?).ok()?;
            characters.chars().nth(at)
        });
        if let Some(character) = found {
            out.push(character);
            (code, length) = (0, 0);
        }
    }
    assert!(length < 8, "no code in {coded:?} after {out:?}");
    out
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    let mut decoder = Decoder::default();
    // RFC 7541, C.6.1.
    let block = b"\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\x61\x96\xd0\x7a\xbe\x94\x10\x54\
        \xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff\x6e\x91\x9d\x29\xad\x17\
        \x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3";
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        decoder.decode(block),
        [
            field(":status", "302"),
            field("cache-control", "private"),
            field("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            field("location", "https://www.example.com"),
        ]
    );
    // C.6.2: all but the status from the table.
    let again = decoder.decode(b"\x48\x83\x64\x0e\xff\xc1\xc0\xbf");
    assert_eq!(again[0], field(":status", "307"));
    assert_eq!(again[3], field("location", "https://www.example.com"));
}
