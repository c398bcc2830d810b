//! Clients that keep their connections.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::cases::{Case, Tokens};
use crate::sidecar::{LOG, Sidecar};

/// How long the sidecar may take to start; valgrind makes it slow.
const START: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Between two messages of a count, so that the sidecar always waits when the next one comes. Else
/// the number of its wake-ups depends on the machine's load.
pub const PAUSE: Duration = Duration::from_millis(3);

/// Requests, sent in a cycle, whose answers all have one status.
pub struct Load {
    pub address: SocketAddr,
    pub requests: Vec<Vec<u8>>,
    pub status: u16,
}

impl Load {
    pub fn new(case: &Case, tokens: &Tokens, address: SocketAddr) -> Self {
        let requests = case.requests(tokens);
        Self {
            address,
            requests,
            status: case.status,
        }
    }

    /// Starts a sidecar and returns at its first right answer. It may end once or twice before: on
    /// a busy machine valgrind makes it too slow for its own limit of time to open the store.
    pub fn start(
        command: impl Fn() -> Command,
        config: &str,
        load: impl Fn(SocketAddr) -> Self,
    ) -> (Sidecar, Self) {
        for _ in 0..3 {
            let mut sidecar = Sidecar::start(command(), config);
            let load = load(sidecar.address);
            if load.is_ready(&mut sidecar) {
                return (sidecar, load);
            }
        }
        panic!("the sidecar ended at its start three times; see {LOG}");
    }

    /// Waits for the first right answer; false if the sidecar ends before it.
    fn is_ready(&self, sidecar: &mut Sidecar) -> bool {
        for _ in 0..START.as_millis() / POLL.as_millis() {
            let answer = Client::connect(self.address).and_then(|mut it| it.ask(&self.requests[0]));
            match answer {
                Ok(answer) if answer.status == self.status => return true,
                _ if sidecar.has_ended() => return false,
                _ => thread::sleep(POLL),
            }
        }
        panic!(
            "{} does not answer {}; see {LOG}",
            self.address, self.status
        );
    }

    /// One request after the other on one connection, with pauses.
    pub fn send_slowly(&self, number: usize) {
        let mut client = Client::connect(self.address).expect("a connection");
        for request in self.requests.iter().cycle().take(number) {
            thread::sleep(PAUSE);
            self.right_answer(&mut client, request);
        }
    }

    /// At full speed, over this many connections.
    pub fn send(&self, connections: usize, number: usize) {
        thread::scope(|scope| {
            for connection in 0..connections {
                scope.spawn(move || {
                    let mut client = Client::connect(self.address).expect("a connection");
                    let requests = self.requests.iter().cycle();
                    for request in requests
                        .skip(connection)
                        .step_by(connections)
                        .take(number / connections)
                    {
                        self.right_answer(&mut client, request);
                    }
                });
            }
        });
    }

    /// The bodies of this many answers.
    pub fn answers(&self, number: usize) -> Vec<String> {
        let mut client = Client::connect(self.address).expect("a connection");
        let requests = self.requests.iter().cycle().take(number);
        requests
            .map(|it| self.right_answer(&mut client, it))
            .collect()
    }

    fn right_answer(&self, client: &mut Client, request: &[u8]) -> String {
        let answer = client.ask(request).expect("an answer");
        assert_eq!(answer.status, self.status, "{}", answer.body);
        answer.body
    }
}

struct Client(BufReader<TcpStream>);

struct Answer {
    status: u16,
    body: String,
}

impl Client {
    fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(START))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.0.get_mut().write_all(request)?;
        let (head, body) = read_message(&mut self.0)?;
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        Ok(Answer {
            status: status.ok_or(io::ErrorKind::InvalidData)?,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

/// A request in bytes; `fields` are whole lines.
pub fn request(method: &str, path: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = match body {
        "" => String::new(),
        body => format!("Content-Length: {}\r\n", body.len()),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}{length}\r\n{body}")
        .into_bytes()
}

/// The head and the body of a message with Content-Length.
pub fn read_message(from: &mut impl BufRead) -> io::Result<(String, Vec<u8>)> {
    let mut head = String::new();
    loop {
        let start = head.len();
        match from.read_line(&mut head)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if &head[start..] == "\r\n" => break,
            _ => {}
        }
    }
    let field = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim())
    });
    let length = field
        .map_or(Ok(0), str::parse)
        .map_err(|_| io::ErrorKind::InvalidData)?;
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((head, body))
}
