//! The texts of a cached token in one allocation.

/// Several texts in one allocation: their number, their spans, then the texts. The span of a
/// missing text ends before it begins.
pub(super) struct Texts(Box<[u8]>);

impl Texts {
    /// `None` if they are too long, which the texts of a token are not.
    pub fn new(texts: &[Option<String>]) -> Option<Self> {
        let number = |n: usize| Some(u16::try_from(n).ok()?.to_ne_bytes());
        let head = 2 + 4 * texts.len();
        let mut bytes = number(texts.len())?.to_vec();
        let mut all = String::new();
        for text in texts {
            let (start, end) = match text {
                None => (1, 0),
                Some(text) => {
                    // A forwarded claim is often there already.
                    let start = all.find(text).unwrap_or(all.len());
                    if start == all.len() {
                        all.push_str(text);
                    }
                    (head + start, head + start + text.len())
                }
            };
            bytes.extend_from_slice(&number(start)?);
            bytes.extend_from_slice(&number(end)?);
        }
        bytes.extend_from_slice(all.as_bytes());
        Some(Self(bytes.into()))
    }

    /// The texts from the one with this index on.
    pub fn from(&self, first: usize) -> impl Iterator<Item = Option<&[u8]>> {
        let number = |a: u8, b: u8| usize::from(u16::from_ne_bytes([a, b]));
        let (count, rest) = self
            .0
            .split_first_chunk()
            .map_or((0, &[][..]), |([a, b], rest)| (number(*a, *b), rest));
        let spans = rest.as_chunks().0.iter().take(count).skip(first);
        spans.map(move |[a, b, c, d]| self.0.get(number(*a, *b)..number(*c, *d)))
    }

    pub fn get(&self, index: usize) -> Option<&[u8]> {
        self.from(index).next()?
    }
}
