//! Finds secrets in text, in one pass for all secrets.
//! A secret counts as leaked when all of it occurs. Of a token's signature a part is enough: any 21
//! consecutive characters contain one of the aligned blocks of 11 that are searched for.

use std::collections::{HashMap, HashSet};

/// Shorter secrets would occur by chance.
const MIN_SECRET: usize = 8;
/// Two adjacent blocks have 22 characters, so every run of 21 covers one whole block.
const BLOCK: usize = 11;
const FILTER_BITS: u32 = 20;

/// Everything that must not occur anywhere.
pub struct Secrets {
    /// Whole secrets by their first eight bytes.
    whole: HashMap<[u8; 8], Vec<String>>,
    blocks: HashSet<[u8; BLOCK]>,
    /// The hashes of the first eight bytes of all secrets: most of the text needs only this test.
    filter: Vec<bool>,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            whole: HashMap::new(),
            blocks: HashSet::new(),
            filter: vec![false; 1 << FILTER_BITS],
        }
    }
}

impl Secrets {
    /// Adds a secret; of a compact JWS also the parts of its signature.
    pub fn remember(&mut self, secret: &str) {
        let Some(start) = secret.as_bytes().first_chunk::<MIN_SECRET>() else {
            return;
        };
        let same_start = self.whole.entry(*start).or_default();
        if same_start.iter().any(|known| known == secret) {
            return;
        }
        same_start.push(secret.to_owned());
        self.filter[slot(start)] = true;
        if let [_, _, signature] = secret.split('.').collect::<Vec<_>>()[..] {
            for block in signature.as_bytes().chunks_exact(BLOCK) {
                let block: [u8; BLOCK] = block.try_into().expect("chunks are of this size");
                self.filter[slot(block.first_chunk().expect("a block is longer"))] = true;
                self.blocks.insert(block);
            }
        }
    }

    /// The places of secrets in `text`: the line's number, and the line up to the secret.
    pub fn find_in(&self, text: &[u8]) -> Vec<String> {
        let mut found = Vec::new();
        let mut past = 0;
        for (at, window) in text.windows(MIN_SECRET).enumerate() {
            let start = window.first_chunk().expect("a window of this size");
            if at < past || !self.filter[slot(start)] {
                continue;
            }
            if let Some(length) = self.leak_at(start, &text[at..]) {
                found.push(place(text, at));
                past = at + length;
            }
        }
        found
    }

    /// The length of the secret, or block of one, that begins here.
    fn leak_at(&self, start: &[u8; MIN_SECRET], text: &[u8]) -> Option<usize> {
        if let Some(secret) = self
            .whole
            .get(start)
            .and_then(|all| all.iter().find(|s| text.starts_with(s.as_bytes())))
        {
            return Some(secret.len());
        }
        text.first_chunk::<BLOCK>()
            .filter(|block| self.blocks.contains(*block))
            .map(|_| BLOCK)
    }
}

fn slot(start: &[u8; MIN_SECRET]) -> usize {
    // Fibonacci hashing: the high bits of the product depend on each byte.
    let hash = u64::from_le_bytes(*start).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(hash >> (64 - FILTER_BITS)).expect("20 bits")
}

/// The report must not leak the secret: it ends where the secret begins.
fn place(text: &[u8], at: usize) -> String {
    let line_start = text[..at]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let number = text[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
    format!(
        "line {number}: {}<SECRET>",
        String::from_utf8_lossy(&text[line_start..at])
    )
}
