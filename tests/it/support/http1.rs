//! The part of HTTP/1.1 that both sides of the fake world need.
//! A library would normalize header order, spelling and repeated names, which the tests compare.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncRead, AsyncReadExt};

/// A longer head or chunk line is a fault of the test.
const MAX_HEAD: usize = 1024 * 1024;

/// The start line and header fields of a message, in order and as spelled.
#[derive(Clone, Debug)]
pub struct Head {
    /// Every byte, with the empty line that ends it.
    pub raw: Vec<u8>,
    /// The request or status line.
    pub start_line: String,
    /// Names and values; space around the value removed.
    pub headers: Vec<(String, String)>,
}

impl Head {
    fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&raw).into_owned();
        let mut lines = text.lines();
        let start_line = lines.next().unwrap_or_default().to_owned();
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Self {
            raw,
            start_line,
            headers,
        }
    }

    /// All values of a header field, in any case.
    pub fn all(&self, name: &str) -> Vec<&str> {
        all(&self.headers, name)
    }

    fn content_length(&self) -> Option<usize> {
        self.all("content-length")
            .first()
            .and_then(|value| value.parse().ok())
    }

    fn is_chunked(&self) -> bool {
        self.all("transfer-encoding")
            .iter()
            .any(|value| value.to_ascii_lowercase().contains("chunked"))
    }
}

/// All values of a header field, in any case.
pub fn all<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    headers
        .iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
        .collect()
}

/// One side of a connection: the stream, and the bytes read but not yet used.
pub struct Wire<S> {
    /// The stream; write to it directly.
    pub stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// A wire over a new stream.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next head; `None` when the peer ended the connection before it began.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        match self.through(b"\r\n\r\n").await {
            Ok(raw) => Ok(Some(Head::parse(raw))),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof && self.buffer.is_empty() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads a request's body into `body`, which keeps the received part when the peer breaks off.
    pub async fn request_body(&mut self, head: &Head, body: &mut Vec<u8>) -> io::Result<()> {
        if head.is_chunked() {
            return self.chunks(body).await;
        }
        self.exactly(head.content_length().unwrap_or(0), body).await
    }

    /// Reads an answer's body into `body`, which keeps the received part when the peer breaks off.
    pub async fn answer_body(&mut self, head: &Head, body: &mut Vec<u8>) -> io::Result<()> {
        if head.is_chunked() {
            return self.chunks(body).await;
        }
        match head.content_length() {
            Some(length) => self.exactly(length, body).await,
            None => self.rest(body).await,
        }
    }

    /// Everything until the peer ends the connection.
    pub async fn rest(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while self.fill().await? {}
        out.append(&mut self.buffer);
        Ok(())
    }

    /// The next bytes, so many.
    pub async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut taken = Vec::new();
        self.exactly(length, &mut taken).await?;
        Ok(taken)
    }

    /// The bytes read that belong to no message yet.
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads and drops everything up to these bytes; `false` if the peer ended before.
    pub async fn skip_to(&mut self, bytes: &[u8]) -> io::Result<bool> {
        while !self.buffer.windows(bytes.len()).any(|part| part == bytes) {
            if !self.fill().await? {
                return Ok(false);
            }
        }
        self.buffer.clear();
        Ok(true)
    }

    async fn chunks(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.through(b"\r\n").await?;
            let text = String::from_utf8_lossy(&line);
            let digits = text.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(digits, 16).map_err(|_| invalid("a chunk without a size"))?;
            if size == 0 {
                // Trailers, and the empty line that ends them.
                while self.through(b"\r\n").await?.len() > 2 {}
                return Ok(());
            }
            self.exactly(size, out).await?;
            if self.through(b"\r\n").await?.len() != 2 {
                return Err(invalid("a chunk longer than its size"));
            }
        }
    }

    async fn exactly(&mut self, length: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let mut missing = length;
        loop {
            let take = missing.min(self.buffer.len());
            out.extend(self.buffer.drain(..take));
            missing -= take;
            if missing == 0 {
                return Ok(());
            }
            if !self.fill().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Everything up to and including `mark`.
    async fn through(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            let from = searched.min(self.buffer.len());
            if let Some(at) = self.buffer[from..]
                .windows(mark.len())
                .position(|window| window == mark)
            {
                return Ok(self.buffer.drain(..from + at + mark.len()).collect());
            }
            searched = self.buffer.len().saturating_sub(mark.len() - 1);
            if self.buffer.len() > MAX_HEAD {
                return Err(invalid("a head without end"));
            }
            if !self.fill().await? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads more; `false` when there is no more.
    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// A message with `Content-Length`, ready to be written. `None` for a body that the status forbids.
pub fn answer(status: u16, headers: &[(String, String)], body: Option<&[u8]>) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status)).into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    match body {
        Some(body) => {
            out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            out.extend_from_slice(body);
        }
        None => out.extend_from_slice(b"\r\n"),
    }
    out
}

/// A status line's text; no program reads it.
pub fn reason_phrase(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason())
        .unwrap_or("Unnamed")
}
