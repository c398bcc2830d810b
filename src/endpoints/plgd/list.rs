//! The list of tokens as it is sent: read in pages, one JSON object per chunk.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::stream;
use serde_json::json;

use super::messages::{self, Spelling};
use super::status::{Code, status};
use crate::endpoints::line;
use crate::issuer::Issuer;
use crate::store::tokens::{TokenFilter, TokenRecord};

/// How many tokens are read at once.
pub(super) const PAGE: u32 = 50;
/// The most bytes of entries, and one entry more, that wait for a slow reader. An entry may have
/// all claims of a large JWT.
const HELD: usize = 64 * 1024;
/// The pause before each entry but the first. A proxy such as nginx forwards what it has read as
/// one chunk: with the pause it reads one entry.
const PAUSE: Duration = Duration::from_millis(1);
/// How many entries have a pause. A list takes at most a second or two longer, and the later
/// entries depend on their lengths alone: see [`Spelling::write_entry`].
const PAUSES: usize = 1000;

/// The rest of a list.
struct Rest {
    issuer: Arc<Issuer>,
    spelling: Spelling,
    /// The entries that were read and not yet sent.
    read: std::vec::IntoIter<String>,
    /// Finds the tokens after these; `None`: there are no more.
    next: Option<TokenFilter>,
    sent: usize,
}

impl Rest {
    /// Adds a page that `filter` has found.
    fn add(&mut self, page: Vec<TokenRecord>, filter: TokenFilter) {
        let (entries, next) = held(page, filter, self.spelling);
        (self.read, self.next) = (entries.into_iter(), next);
    }

    /// The next entry, or the error that ends the list.
    async fn entry(&mut self) -> Option<String> {
        if self.read.len() == 0 {
            let filter = self.next.take()?;
            match self.issuer.registry().list(&filter).await {
                Ok(page) => self.add(page, filter),
                Err(error) => {
                    tracing::warn!(%error, "a list of the tokens API is incomplete");
                    let error = status(Code::Unavailable, "the store is not available");
                    return Some(line(json!({ "error": error }).to_string()));
                }
            }
        }
        let entry = self.read.next()?;
        if (1..=PAUSES).contains(&self.sent) {
            tokio::time::sleep(PAUSE).await;
        }
        self.sent += 1;
        Some(entry)
    }
}

/// The first entries of a page that `filter` has found, as many as may wait, and the filter for the
/// tokens after them; `None`: there are no more.
fn held(
    page: Vec<TokenRecord>,
    mut filter: TokenFilter,
    spelling: Spelling,
) -> (Vec<String>, Option<TokenFilter>) {
    let found = page.len();
    let may_be_more = filter.limit.is_some_and(|limit| found >= limit as usize);
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for token in page {
        let entry = spelling.write_entry(messages::token(&token));
        bytes += entry.len();
        filter.after = Some((token.issued_at, token.jti));
        entries.push(entry);
        if bytes > HELD {
            break;
        }
    }
    // The pages of large entries are smaller, so that few of them are read again.
    let next = u32::try_from(2 * entries.len())
        .unwrap_or(PAGE)
        .clamp(1, PAGE);
    let filter = TokenFilter {
        limit: Some(next),
        ..filter
    };
    let is_cut = entries.len() < found;
    (entries, (may_be_more || is_cut).then_some(filter))
}

/// The entries of a list that begins with the page `first`. Each is a frame of the body, which
/// becomes a chunk and a write of its own.
pub(super) fn entries(
    issuer: Arc<Issuer>,
    filter: TokenFilter,
    first: Vec<TokenRecord>,
    spelling: Spelling,
) -> Body {
    let read = Vec::new().into_iter();
    let mut rest = Rest {
        issuer,
        spelling,
        read,
        next: None,
        sent: 0,
    };
    rest.add(first, filter);
    Body::from_stream(stream::unfold(rest, async |mut rest| {
        rest.entry()
            .await
            .map(|entry| (Ok::<_, Infallible>(entry), rest))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::UnixTime;

    /// A token with so many bytes of claims.
    fn token(jti: usize, bytes: usize) -> TokenRecord {
        TokenRecord {
            jti: jti.to_string(),
            client_id: "c".to_owned(),
            owner: None,
            owner_issuer: None,
            subject: "c".to_owned(),
            name: None,
            scope: Vec::new(),
            audience: Vec::new(),
            issued_at: UnixTime(10),
            expires_at: None,
            revoked_at: None,
            original_claims: json!({ "x": "x".repeat(bytes) }).as_object().cloned(),
            after_end: None,
        }
    }

    #[test]
    fn a_list_holds_a_page_of_small_entries_or_a_few_large_ones_and_leaves_none_out() {
        for (bytes, most) in [(10, PAGE as usize), (20_000, 3), (100_000, 1)] {
            let tokens: Vec<_> = (0..120).map(|jti| token(jti, bytes)).collect();
            let mut next = Some(TokenFilter {
                limit: Some(PAGE),
                ..TokenFilter::default()
            });
            let (mut sent, mut read) = (0, 0);
            while let Some(filter) = next {
                let after = filter
                    .after
                    .as_ref()
                    .map_or(0, |(_, jti)| jti.parse::<usize>().unwrap() + 1);
                assert_eq!(after, sent, "the entry behind the last one comes next");
                let page: Vec<_> = tokens
                    .iter()
                    .skip(after)
                    .take(filter.limit.unwrap() as usize)
                    .cloned()
                    .collect();
                read += page.len();
                let (entries, behind) = held(page, filter, Spelling::Short);
                assert!(
                    entries.len() <= most,
                    "{} entries of {bytes} bytes",
                    entries.len()
                );
                sent += entries.len();
                next = behind;
            }
            assert_eq!(sent, tokens.len(), "{bytes}");
            assert!(read <= 3 * tokens.len(), "{read} read for {sent}");
        }
    }
}
