//! Where a request ends: `Content-Length`, `Transfer-Encoding`, chunks, trailers.

use super::{BAD, Case, NO_TOKEN, OK, World};

/// Both fields, or a coding that only some readers support.
const CODINGS: &[Case<'static>] = &[
    (
        "CL.TE",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 46\r\nTransfer-Encoding: chunked\r\n\r\n\
        0\r\n\r\n{s}",
        &[BAD],
    ),
    (
        "TE.CL",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n\
        29\r\n{s}\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "TE.CL with length 0",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n\
        0\r\n\r\n",
        &[BAD],
    ),
    (
        "chunked twice, in two fields",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: \
        chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "chunked, then a cow",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\
        \r\n0\r\n\r\n{s}",
        &[BAD],
    ),
    (
        "a cow, then chunked",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-encoding: cow\r\nTransfer-Encoding: chunked\r\n\
        \r\n0\r\n\r\n{s}",
        &[BAD],
    ),
    (
        "identity in a second field",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\nTransfer-Encoding: \
        identity\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "chunked, identity",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "identity, chunked",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "gzip, chunked",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "chunked, chunked",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "a comma behind",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "a comma in front",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "identity",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\n\
        abc",
        &[BAD],
    ),
    (
        "xchunked",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "quoted",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "apostrophes",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "a parameter",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "an empty coding",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: \r\nContent-Length: 5\r\n\r\nhello",
        &[BAD],
    ),
    (
        "a vertical tab behind",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked{0b}\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "a vertical tab in front",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: {0b}chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "NUL behind",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked{00}\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "a no-break space in front",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: {a0}chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "a space before the colon",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "a tab before the colon",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "a space before the name",
        "POST /public/{m} HTTP/1.1\r\n{h} Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "folded into another field",
        "POST /public/{m} HTTP/1.1\r\n{h}X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "the value folded",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "behind a bare LF",
        "POST /public/{m} HTTP/1.1\r\n{h}X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
        &[BAD],
    ),
    (
        "behind a bare CR",
        "POST /public/{m} HTTP/1.1\r\n{h}X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{s}",
        &[BAD],
    ),
    (
        "chunks in HTTP/1.0",
        "POST /public/{m} HTTP/1.0\r\n{h}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "an underscore: no body, and no imitation upstream",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[OK, BAD],
    ),
    (
        "nominated by Connection",
        "POST /public/{m} HTTP/1.1\r\n{h}Connection: transfer-encoding\r\nTransfer-Encoding: \
        chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        &[OK],
    ),
    (
        "Content-Encoding is none",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Encoding: chunked\r\nContent-Length: 5\r\n\r\n\
        hello",
        &[OK],
    ),
    (
        "space around it",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: \t chunked \t\r\n\r\n5\r\nhello\r\n\
        0\r\n\r\n",
        &[OK],
    ),
    (
        "another case",
        "POST /public/{m} HTTP/1.1\r\n{h}transfer-ENCODING:ChUnKeD\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        &[OK],
    ),
    (
        "a smuggled request inside a chunk",
        "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n29\r\n{s}\r\n0\r\n\r\n",
        &[OK],
    ),
];

const LENGTHS: &[Case<'static>] = &[
    (
        "twice the same",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        &[BAD],
    ),
    (
        "twice, different",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 5\r\nContent-Length: 46\r\n\r\nhello{s}",
        &[BAD],
    ),
    (
        "a list of the same",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 5, 5\r\n\r\nhello",
        &[BAD],
    ),
    (
        "a list of different ones",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 5, 46\r\n\r\nhello{s}",
        &[BAD],
    ),
    (
        "negative",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: -5\r\n\r\nhello",
        &[BAD],
    ),
    (
        "a plus",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: +5\r\n\r\nhello",
        &[BAD],
    ),
    (
        "hexadecimal",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 0x5\r\n\r\nhello",
        &[BAD],
    ),
    (
        "a zero in front",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 05\r\n\r\nhello",
        &[BAD],
    ),
    (
        "a fraction",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 5.0\r\n\r\nhello",
        &[BAD],
    ),
    (
        "an exponent",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 5e0\r\n\r\nhello",
        &[BAD],
    ),
    (
        "an underscore",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 4_1\r\n\r\n{s}",
        &[BAD],
    ),
    (
        "two numbers",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 5 41\r\n\r\nhello{s}",
        &[BAD],
    ),
    (
        "a semicolon",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 5;\r\n\r\nhello",
        &[BAD],
    ),
    (
        "empty",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: \r\n\r\nhello",
        &[BAD],
    ),
    (
        "other digits",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: \u{665}\r\n\r\nhello",
        &[BAD],
    ),
    (
        "over 64 bits",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 18446744073709551621\r\n\r\nhello",
        &[BAD],
    ),
    (
        "huge",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 99999999999999999999999999999999999\r\n\
        \r\nhello",
        &[BAD],
    ),
    (
        "a vertical tab",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 5{0b}\r\n\r\nhello",
        &[BAD],
    ),
    (
        "a space before the colon",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length : 5\r\n\r\nhello",
        &[BAD],
    ),
    (
        "folded",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length:\r\n 5\r\n\r\nhello",
        &[BAD],
    ),
    (
        "an underscore in the name: no body",
        "POST /public/{m} HTTP/1.1\r\n{h}Content_Length: 41\r\n\r\n{s}",
        &[OK, NO_TOKEN],
    ),
    (
        "none: no body",
        "POST /public/{m} HTTP/1.1\r\n{h}\r\n{s}",
        &[OK, NO_TOKEN],
    ),
    (
        "0, and a request behind",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 0\r\n\r\n{s}",
        &[OK, NO_TOKEN],
    ),
    (
        "too large for what comes",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 500\r\n\r\n{s}",
        &[],
    ),
    (
        "a request as a body",
        "POST /public/{m} HTTP/1.1\r\n{h}Content-Length: 41\r\n\r\n{s}",
        &[OK],
    ),
    (
        "GET with a body",
        "GET /public/{m} HTTP/1.1\r\n{h}Content-Length: 41\r\n\r\n{s}",
        &[OK],
    ),
    (
        "GET with a chunked body",
        "GET /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n29\r\n{s}\r\n0\r\n\r\n",
        &[OK],
    ),
    (
        "HEAD with a body",
        "HEAD /public/{m} HTTP/1.1\r\n{h}Content-Length: 41\r\n\r\n{s}",
        &[OK],
    ),
    (
        "DELETE with a body",
        "DELETE /public/{m} HTTP/1.1\r\n{h}Content-Length: 41\r\n\r\n{s}",
        &[OK],
    ),
    (
        "OPTIONS with a body",
        "OPTIONS /public/{m} HTTP/1.1\r\n{h}Content-Length: 41\r\n\r\n{s}",
        &[OK],
    ),
    (
        "HTTP/1.0 with a length",
        "POST /public/{m} HTTP/1.0\r\n{h}Content-Length: 5\r\n\r\nhello",
        &[OK],
    ),
    (
        "nominated by Connection",
        "POST /public/{m} HTTP/1.1\r\n{h}Connection: content-length\r\nContent-Length: 41\r\n\r\n\
        {s}",
        &[OK],
    ),
];

/// After a head that announces chunks.
const CHUNKS: &[Case<'static>] = &[
    ("two", "5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n", &[OK]),
    (
        "small hexadecimal digits",
        "a\r\n0123456789\r\n0\r\n\r\n",
        &[OK],
    ),
    ("zeros in front", "0005\r\nhello\r\n000\r\n\r\n", &[OK]),
    ("an extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", &[OK]),
    (
        "an extension in quotes",
        "5;a=\"x; y\"\r\nhello\r\n0\r\n\r\n",
        &[OK],
    ),
    (
        "too many zeros",
        "000000000000000000005\r\nhello\r\n0\r\n\r\n",
        &[BAD],
    ),
    ("0x", "0x5\r\nhello\r\n0\r\n\r\n", &[BAD]),
    ("plus", "+5\r\nhello\r\n0\r\n\r\n", &[BAD]),
    ("minus", "-5\r\nhello\r\n0\r\n\r\n", &[BAD]),
    ("a space in front", " 5\r\nhello\r\n0\r\n\r\n", &[BAD]),
    ("a space behind", "5 \r\nhello\r\n0\r\n\r\n", &[BAD]),
    ("a tab behind", "5\t\r\nhello\r\n0\r\n\r\n", &[BAD]),
    (
        "a space before the extension",
        "5 ;a\r\nhello\r\n0\r\n\r\n",
        &[BAD],
    ),
    ("no size", "\r\nhello\r\n0\r\n\r\n", &[BAD]),
    ("no size but an extension", ";a\r\n\r\n{s}", &[BAD]),
    ("no digit", "g\r\nhello\r\n0\r\n\r\n", &[BAD]),
    (
        "over 64 bits",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "far over 64 bits",
        "FFFFFFFFFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "NUL in an extension",
        "5;a{00}\r\nhello\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "a bare LF in an extension",
        "5;a\nhello\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "a bare CR in an extension",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        &[BAD],
    ),
    (
        "CR LF in a quoted extension",
        "5;a=\"\r\nX: y\"\r\nhello\r\n0\r\n\r\n",
        &[BAD],
    ),
    ("LF behind the size", "5\nhello\r\n0\r\n\r\n", &[BAD]),
    ("CR behind the size", "5\rhello\r\n0\r\n\r\n", &[BAD]),
    ("LF behind the data", "5\r\nhello\n0\r\n\r\n", &[BAD]),
    ("nothing behind the data", "5\r\nhello0\r\n\r\n", &[BAD]),
    ("more data than said", "3\r\nhello\r\n0\r\n\r\n", &[BAD]),
    (
        "two bytes too many, as if they were CR LF",
        "3\r\nabcXX0\r\n\r\n{s}",
        &[BAD],
    ),
    ("LF only", "5\nhello\n0\n\n", &[BAD]),
    ("LF behind the last size", "0\n\r\n", &[BAD]),
    ("an early end", "5\r\nhel", &[]),
    ("no last chunk", "5\r\nhello\r\n", &[]),
    ("half of the end", "0\r\n", &[]),
    ("a request behind", "0\r\n\r\n{s}", &[OK, NO_TOKEN]),
];

/// After the last chunk.
const TRAILERS: &[Case<'static>] = &[
    (
        "identity",
        "X-M2M-Subject: forged\r\nX_M2M_Subject: forged\r\n\r\n",
        &[OK],
    ),
    ("a token", "Authorization: Bearer forged\r\n\r\n", &[OK]),
    (
        "framing",
        "Content-Length: 41\r\nTransfer-Encoding: chunked\r\n\r\n{s}",
        &[OK, NO_TOKEN],
    ),
    ("Host", "Host: forged\r\n\r\n", &[OK]),
    ("forwarding", "X-Forwarded-For: forged\r\n\r\n", &[OK]),
    ("a request where a trailer belongs", "{s}", &[BAD]),
    ("folded", "X: y\r\n z\r\n\r\n", &[BAD]),
    ("no colon", "X\r\n\r\n", &[BAD]),
    ("a space before the colon", "X : y\r\n\r\n", &[BAD]),
    ("a bare LF", "X: y\n\r\n", &[BAD]),
    ("a bare CR", "X: y\rZ: w\r\n\r\n", &[BAD]),
    ("NUL", "X: {00}\r\n\r\n", &[BAD]),
    ("LF as the last line", "\n", &[BAD]),
];

async fn run_behind(head: &str, cases: &[Case<'_>]) {
    let mut world = World::new("").await;
    let wires: Vec<_> = cases
        .iter()
        .map(|(_, body, _)| format!("{head}{body}"))
        .collect();
    let rows = cases
        .iter()
        .zip(&wires)
        .map(|((name, _, expected), wire)| (*name, wire.as_str(), *expected));
    world.run(&rows.collect::<Vec<_>>()).await;
}

const CHUNKED: &str = "POST /public/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_coding_is_chunked_alone_or_the_request_is_refused() {
    World::new("").await.run(CODINGS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_is_one_number_or_the_request_is_refused() {
    World::new("").await.run(LENGTHS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_framed_by_the_letter_or_the_request_is_refused() {
    run_behind(CHUNKED, CHUNKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_that_no_head_announces_are_dropped() {
    run_behind(&format!("{CHUNKED}5\r\nhello\r\n0\r\n"), TRAILERS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_and_trailers_without_end_are_refused() {
    let mut world = World::new("").await;
    let long = "a".repeat(9000);
    let extension = format!("{CHUNKED}5;{long}\r\nhello\r\n0\r\n\r\n");
    let many = format!(
        "{CHUNKED}{}0\r\n\r\n",
        format!("1;{}\r\nx\r\n", "a".repeat(100)).repeat(90)
    );
    let trailer = format!("{CHUNKED}0\r\nX: {long}\r\n\r\n");
    let trailers = format!("{CHUNKED}0\r\n{}\r\n", "X: y\r\n".repeat(2000));
    let cases = [
        ("a long extension", extension.as_str(), &[BAD][..]),
        ("many extensions", &many, &[BAD]),
        ("a long trailer", &trailer, &[BAD]),
        ("many trailers", &trailers, &[BAD]),
    ];
    world.run(&cases).await;
}
