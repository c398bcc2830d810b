//! How a Go program reads the JSON of an answer: through a buffer of 4096 bytes on the connection,
//! chunk by chunk, with a decoder whose reads grow from 512 bytes on. How much one read gives
//! decides what such a decoder has read ahead.

use serde_json::Value;
use tokio::io::AsyncReadExt;

use crate::plgd::front::Stream;

/// Go's `bufio.Reader`: what one read of the connection gave, and was not used yet.
struct Buffered {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Buffered {
    const SIZE: usize = 4096;

    /// One read of the connection. `false`: it has ended.
    async fn fill(&mut self) -> bool {
        let mut read = vec![0; Self::SIZE - self.buffer.len()];
        // Go reports an end without TLS's close_notify as an end here.
        let length = self.stream.read(&mut read).await.unwrap_or(0);
        self.buffer.extend_from_slice(&read[..length]);
        length > 0
    }

    /// At most so many bytes; of the connection only when nothing is buffered, and then past the
    /// buffer where it is smaller.
    async fn read(&mut self, most: usize) -> Vec<u8> {
        if self.buffer.is_empty() && most >= Self::SIZE {
            let mut read = vec![0; most];
            let length = self.stream.read(&mut read).await.unwrap_or(0);
            read.truncate(length);
            return read;
        }
        if self.buffer.is_empty() {
            self.fill().await;
        }
        self.buffer.drain(..most.min(self.buffer.len())).collect()
    }

    async fn line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if !self.fill().await {
                return Err("unexpected EOF".to_owned());
            }
        }
    }
}

/// How the body ends.
enum Framing {
    /// The rest of this chunk; `None` before a chunk's size.
    Chunked {
        rest: Option<usize>,
        ended: bool,
    },
    Length(usize),
    /// The connection's end ends it.
    Close,
}

/// An answer whose body is read as it comes.
pub struct GoBody {
    pub status: u16,
    connection: Buffered,
    framing: Framing,
}

impl GoBody {
    /// Sends the request's bytes and reads the head of the answer.
    pub async fn ask(mut stream: Box<dyn Stream>, request: &[u8]) -> Result<Self, String> {
        tokio::io::AsyncWriteExt::write_all(&mut stream, request)
            .await
            .map_err(|e| e.to_string())?;
        let mut connection = Buffered {
            stream,
            buffer: Vec::new(),
        };
        let status = connection.line().await?;
        let status = status
            .split(' ')
            .nth(1)
            .and_then(|it| it.parse().ok())
            .ok_or("no status")?;
        let mut framing = Framing::Close;
        loop {
            let line = connection.line().await?.to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("transfer-encoding", "chunked")) => {
                    framing = Framing::Chunked {
                        rest: None,
                        ended: false,
                    };
                }
                Some(("content-length", length)) => {
                    framing = Framing::Length(length.parse().map_err(|_| "no length")?);
                }
                _ if line.is_empty() => {
                    return Ok(Self {
                        status,
                        connection,
                        framing,
                    });
                }
                _ => {}
            }
        }
    }

    /// One read of the body, of at most so many bytes; empty at its end. Go's reader of chunks goes
    /// on with the next chunk when the line with its size has come already.
    async fn read(&mut self, most: usize) -> Result<Vec<u8>, String> {
        match &mut self.framing {
            Framing::Close => Ok(self.connection.read(most).await),
            Framing::Length(rest) => {
                let read = self.connection.read(most.min(*rest)).await;
                *rest -= read.len();
                Ok(read)
            }
            Framing::Chunked { rest, ended } => {
                let mut out = Vec::new();
                while !*ended && out.len() < most {
                    match rest {
                        None => {
                            if !out.is_empty() && !self.connection.buffer.contains(&b'\n') {
                                break;
                            }
                            let line = self.connection.line().await?;
                            let size =
                                usize::from_str_radix(&line, 16).map_err(|_| "malformed chunk")?;
                            *ended = size == 0;
                            *rest = Some(size);
                        }
                        Some(0) => {
                            if !out.is_empty() && self.connection.buffer.len() < 2 {
                                break;
                            }
                            self.connection.line().await?;
                            *rest = None;
                        }
                        Some(size) => {
                            let read = self.connection.read((most - out.len()).min(*size)).await;
                            if read.is_empty() {
                                return Err("unexpected EOF".to_owned());
                            }
                            *size -= read.len();
                            out.extend(read);
                        }
                    }
                }
                Ok(out)
            }
        }
    }

    /// The first value that is left of the body, by a decoder of its own
    /// (`json.NewDecoder(body).Decode`): what it has read beyond the value is lost. `None`: there
    /// is none.
    pub async fn decode(&mut self) -> Result<Option<Value>, String> {
        let (mut buffer, mut capacity) = (Vec::new(), 0);
        loop {
            match serde_json::Deserializer::from_slice(&buffer)
                .into_iter::<Value>()
                .next()
            {
                Some(Ok(value)) => return Ok(Some(value)),
                Some(Err(error)) if !error.is_eof() => {
                    return Err(format!("invalid JSON: {error}"));
                }
                _ => {}
            }
            if capacity - buffer.len() < 512 {
                capacity = 2 * capacity + 512;
            }
            let read = self.read(capacity - buffer.len()).await?;
            if read.is_empty() {
                let blank = buffer.trim_ascii().is_empty();
                return if blank {
                    Ok(None)
                } else {
                    Err("unexpected EOF".to_owned())
                };
            }
            buffer.extend(read);
        }
    }
}
