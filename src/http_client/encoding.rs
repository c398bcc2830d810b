//! Decodes compressed responses. No request asks for compression, but some servers and proxies
//! compress anyway; without `Accept-Encoding` any coding is acceptable (RFC 9110 §12.5.3).

use std::io::Read;

use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use super::HttpError;

/// Removes the content coding of a body: gzip, detected by its first bytes whatever the header
/// says, or deflate (RFC 9110 §8.4.1). Other bodies stay unchanged.
///
/// # Errors
/// [`HttpError::TooLarge`] when it has more than `max_body` bytes, [`HttpError::Broken`] when the
/// coding is invalid.
pub(super) fn decoded(
    body: Bytes,
    headers: &HeaderMap,
    max_body: usize,
) -> Result<Bytes, HttpError> {
    if body.starts_with(&[0x1f, 0x8b]) {
        return read(MultiGzDecoder::new(&body[..]), max_body);
    }
    let coding = headers
        .get(CONTENT_ENCODING)
        .map(|value| value.as_bytes().trim_ascii());
    if !coding.is_some_and(|coding| coding.eq_ignore_ascii_case(b"deflate")) {
        return Ok(body);
    }
    // Some servers send the raw stream (RFC 9110 §8.4.1.2).
    match read(ZlibDecoder::new(&body[..]), max_body) {
        Err(HttpError::Broken) => read(DeflateDecoder::new(&body[..]), max_body),
        found => found,
    }
}

fn read(decoder: impl Read, max_body: usize) -> Result<Bytes, HttpError> {
    let mut decoded = Vec::new();
    // One byte beyond the limit proves the excess, so a small body cannot expand without bound.
    let most = u64::try_from(max_body)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    decoder
        .take(most)
        .read_to_end(&mut decoded)
        .map_err(|_| HttpError::Broken)?;
    if decoded.len() > max_body {
        Err(HttpError::TooLarge)
    } else {
        Ok(decoded.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use http::HeaderValue;

    use super::*;

    const TEXT: &[u8] = b"{\"access_token\":\"t\"}";

    fn gzip(text: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap().into()
    }

    fn with(coding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(coding))])
    }

    #[test]
    fn gzip_and_deflate_are_read_and_anything_else_stays() {
        for headers in [with("gzip"), with("x-gzip"), HeaderMap::new()] {
            assert_eq!(decoded(gzip(TEXT), &headers, 64).unwrap(), TEXT);
        }
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(TEXT).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(TEXT).unwrap();
        for body in [zlib.finish().unwrap(), bare.finish().unwrap()] {
            assert_eq!(decoded(body.into(), &with("Deflate"), 64).unwrap(), TEXT);
        }
        for headers in [with("gzip"), with("br"), with("identity"), HeaderMap::new()] {
            assert_eq!(
                decoded(Bytes::from_static(TEXT), &headers, 64).unwrap(),
                TEXT
            );
        }
        assert_eq!(decoded(Bytes::new(), &with("gzip"), 64).unwrap(), "");
    }

    #[test]
    fn a_bomb_is_too_large_and_what_breaks_off_is_broken() {
        let bomb = gzip(&vec![0; 10 << 20]);
        assert!(bomb.len() < 64 * 1024);
        assert_eq!(
            decoded(bomb, &with("gzip"), 64 * 1024),
            Err(HttpError::TooLarge)
        );
        let whole = gzip(TEXT);
        for length in 2..whole.len() {
            assert_eq!(
                decoded(whole.slice(..length), &with("gzip"), 64),
                Err(HttpError::Broken),
                "{length}"
            );
        }
        assert_eq!(
            decoded(Bytes::from_static(b"\xff\xff"), &with("deflate"), 64),
            Err(HttpError::Broken)
        );
    }
}
