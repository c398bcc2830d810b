//! An upstream on loopback, with one thread for each connection.

use std::io::{BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::load::{PAUSE, read_message};

/// Its threads end with the process.
pub struct Upstream {
    pub address: SocketAddr,
}

impl Upstream {
    /// A slow one pauses before each answer.
    pub fn start(slow: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                thread::spawn(move || serve(stream, slow));
            }
        });
        Self { address }
    }
}

fn serve(stream: TcpStream, slow: bool) {
    stream.set_nodelay(true).expect("a socket");
    let mut reader = BufReader::new(stream);
    while let Ok((head, body)) = read_message(&mut reader) {
        if slow {
            thread::sleep(PAUSE);
        }
        if reader.get_mut().write_all(&answer(&head, body)).is_err() {
            return;
        }
    }
}

fn answer(head: &str, body: Vec<u8>) -> Vec<u8> {
    let has_token = head
        .to_ascii_lowercase()
        .contains("\r\nauthorization: bearer ");
    let (status, body) = match head.split(' ').nth(1) {
        Some("/echo") => ("200 OK", body),
        Some("/with-token") if !has_token => ("403 Forbidden", Vec::new()),
        _ => ("200 OK", vec![b'x'; 128]),
    };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nServer: bench\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend(body);
    answer
}
