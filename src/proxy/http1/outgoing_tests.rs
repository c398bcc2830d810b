use http::HeaderValue;
use proptest::prelude::*;

use super::*;

/// A stream that takes a limited number of bytes, and is not always ready.
struct Slow {
    taken: Vec<u8>,
    most: usize,
    is_vectored: bool,
    /// Every write but the first of a pair has to wait.
    waits: bool,
    is_ready: bool,
    writes: usize,
    flushes: usize,
}

impl Slow {
    fn new(most: usize, is_vectored: bool) -> Self {
        Self {
            taken: Vec::new(),
            most,
            is_vectored,
            waits: false,
            is_ready: true,
            writes: 0,
            flushes: 0,
        }
    }

    fn is_waiting(&mut self) -> bool {
        self.is_ready = !self.is_ready || !self.waits;
        !self.is_ready
    }
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.as_mut()
            .poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_waiting() {
            return Poll::Pending;
        }
        self.writes += 1;
        let before = self.taken.len();
        for part in parts {
            let room = self.most - (self.taken.len() - before);
            self.taken.extend_from_slice(&part[..room.min(part.len())]);
        }
        let taken = self.taken.len() - before;
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        self.is_vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_waiting() {
            return Poll::Pending;
        }
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn poll(outgoing: &mut Outgoing, stream: &mut Slow) -> Poll<io::Result<()>> {
    outgoing.poll_write(&mut Context::from_waker(std::task::Waker::noop()), stream)
}

/// Polls until everything is written.
fn write_all(outgoing: &mut Outgoing, stream: &mut Slow) {
    while !poll(outgoing, stream).map(Result::unwrap).is_ready() {}
}

#[test]
fn a_head_a_body_and_its_end_go_out_in_one_write() {
    let large = Bytes::from(vec![b'x'; 3 * COPIED]);
    for (data, is_vectored) in [(Bytes::from_static(b"body"), false), (large.clone(), true)] {
        let (mut outgoing, mut stream) = (Outgoing::default(), Slow::new(usize::MAX, is_vectored));
        outgoing.small().extend_from_slice(b"head\r\n\r\n");
        outgoing.put_chunk(data.clone());
        let mut trailers = HeaderMap::new();
        trailers.append("a", HeaderValue::from_static("1"));
        outgoing.put_last_chunk(Some(&trailers));
        let waiting = outgoing.len();
        assert!(poll(&mut outgoing, &mut stream).is_ready());
        let size = format!("{:x}", data.len());
        let expected = [
            b"head\r\n\r\n",
            size.as_bytes(),
            b"\r\n",
            &data[..],
            b"\r\n0\r\na: 1\r\n\r\n",
        ]
        .concat();
        assert_eq!(stream.taken, expected);
        assert_eq!((stream.writes, stream.flushes), (1, 1));
        assert_eq!(waiting, expected.len());
        assert_eq!(outgoing.written(), expected.len() as u64);
        assert!(outgoing.is_empty());
        // Nothing is left to do.
        assert!(poll(&mut outgoing, &mut stream).is_ready());
        assert_eq!((stream.writes, stream.flushes), (1, 1));
    }
    // Without vectored writes, large data needs calls of its own.
    let (mut outgoing, mut stream) = (Outgoing::default(), Slow::new(usize::MAX, false));
    outgoing.put_chunk(large);
    write_all(&mut outgoing, &mut stream);
    assert_eq!(stream.writes, 3);
}

#[test]
fn an_empty_chunk_does_not_end_the_body_and_discarded_bytes_are_not_sent() {
    let (mut outgoing, mut stream) = (Outgoing::default(), Slow::new(usize::MAX, true));
    outgoing.put_chunk(Bytes::new());
    assert!(outgoing.is_empty());
    outgoing.put_data(Bytes::from(vec![b'x'; 3 * COPIED]));
    outgoing.small().extend_from_slice(b"y");
    outgoing.clear();
    assert!(outgoing.is_empty());
    outgoing.small().extend_from_slice(b"z");
    write_all(&mut outgoing, &mut stream);
    assert_eq!(stream.taken, b"z");
}

#[test]
fn a_stream_that_takes_nothing_is_an_error() {
    let (mut outgoing, mut stream) = (Outgoing::default(), Slow::new(0, false));
    outgoing.small().extend_from_slice(b"x");
    let Poll::Ready(Err(error)) = poll(&mut outgoing, &mut stream) else {
        panic!("no error");
    };
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}

#[test]
fn an_outstanding_flush_is_repeated() {
    let (mut outgoing, mut stream) = (Outgoing::default(), Slow::new(usize::MAX, false));
    (stream.waits, stream.is_ready) = (true, false);
    outgoing.small().extend_from_slice(b"x");
    assert!(
        poll(&mut outgoing, &mut stream).is_pending(),
        "the flush waits"
    );
    assert!(outgoing.is_empty());
    assert!(poll(&mut outgoing, &mut stream).is_ready());
    assert_eq!((stream.writes, stream.flushes), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_stream_receives_the_same_bytes(
        parts in proptest::collection::vec((0_u8..4, 0_usize..3 * COPIED, any::<bool>()), 0..30),
        most in prop_oneof![Just(1_usize), 1_usize..100, 1_usize..5 * COPIED, Just(usize::MAX)],
        is_vectored: bool,
        waits: bool,
    ) {
        let (mut outgoing, mut stream) = (Outgoing::default(), Slow::new(most, is_vectored));
        stream.waits = waits;
        let mut expected = Vec::new();
        for (number, (kind, length, polls)) in parts.into_iter().enumerate() {
            // A few bytes at a time are slow.
            let length = match number % 4 {
                _ if most > 100 => length,
                0 => COPIED + length % 10,
                _ => length % 40,
            };
            let data = Bytes::from(vec![number as u8; length]);
            match kind {
                0 => {
                    outgoing.small().extend_from_slice(&data);
                    expected.extend_from_slice(&data);
                }
                1 => {
                    outgoing.put_data(data.clone());
                    expected.extend_from_slice(&data);
                }
                2 => {
                    outgoing.put_chunk(data.clone());
                    if !data.is_empty() {
                        expected.extend_from_slice(format!("{length:x}\r\n").as_bytes());
                        expected.extend_from_slice(&data);
                        expected.extend_from_slice(b"\r\n");
                    }
                }
                _ => {
                    outgoing.put_last_chunk(None);
                    expected.extend_from_slice(b"0\r\n\r\n");
                }
            }
            prop_assert_eq!(stream.taken.len() + outgoing.len(), expected.len());
            if polls {
                let _ = poll(&mut outgoing, &mut stream);
            }
        }
        write_all(&mut outgoing, &mut stream);
        prop_assert_eq!(outgoing.written(), expected.len() as u64);
        prop_assert_eq!(stream.taken, expected);
        prop_assert!(outgoing.is_empty());
    }
}
