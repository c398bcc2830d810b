//! A body of any length needs the same memory, in either direction.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::OWN;
use crate::connections::process::Process;

/// Larger than everything that the process may need for a request.
const LARGE: u64 = 96 << 20;
/// The rise of the peak that a transfer of [`LARGE`] bytes may cause.
const RISE_KIB: u64 = 16 << 10;

/// An upstream for one connection: it reads an upload whole, and answers with a body of this
/// length.
async fn serve(listener: &TcpListener, upload: u64, answer: u64) {
    let (mut stream, _) = listener.accept().await.expect("a connection");
    let mut head = Vec::new();
    let end = loop {
        if let Some(at) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            break at as u64 + 4;
        }
        assert!(stream.read_buf(&mut head).await.expect("a request") > 0);
    };
    let mut buffer = vec![0; 256 << 10];
    let mut left = upload - (head.len() as u64 - end);
    while left > 0 {
        let read = stream.read(&mut buffer).await.expect("an upload");
        assert!(read > 0, "it broke off");
        left -= read as u64;
    }
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {answer}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("it reads");
    write(&mut stream, answer).await;
}

async fn write(stream: &mut TcpStream, length: u64) {
    let part = vec![b'x'; 256 << 10];
    let mut left = length;
    while left > 0 {
        let now = usize::try_from(left).map_or(part.len(), |left| left.min(part.len()));
        stream.write_all(&part[..now]).await.expect("it reads");
        left -= now as u64;
    }
}

/// A request with an upload and an answer of these lengths.
async fn exchange(process: &Process, listener: &TcpListener, name: &str, upload: u64, answer: u64) {
    let client = async {
        let mut stream = TcpStream::connect(process.address(name))
            .await
            .expect("it listens");
        let head = format!("PUT /x HTTP/1.1\r\n{OWN}Content-Length: {upload}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        write(&mut stream, upload).await;
        let mut buffer = vec![0; 256 << 10];
        let mut total = 0;
        while total < answer {
            let read = stream.read(&mut buffer).await.expect("an answer");
            assert!(read > 0, "it broke off after {total}");
            total += read as u64;
        }
    };
    tokio::join!(serve(listener, upload, answer), client);
}

/// Prints and checks the peak of the process for bodies of this length in both directions.
pub async fn check_both_ways(length: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let process = Process::start("true", &super::yaml(&url));
    for name in super::LISTENERS {
        exchange(&process, &listener, name, 1 << 20, 1 << 20).await;
    }
    let before = process.peak_kib();
    for name in super::LISTENERS {
        exchange(&process, &listener, name, length, 2).await;
        exchange(&process, &listener, name, 0, length).await;
    }
    let after = process.peak_kib();
    println!("{length} bytes up and down: peak {before} KiB before, {after} KiB after");
    assert!(
        after - before < RISE_KIB,
        "{before} KiB before, {after} KiB after"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_needs_no_more_memory_than_a_small_one() {
    check_both_ways(LARGE).await;
}
