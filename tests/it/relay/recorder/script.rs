//! The script of a run, as bytes that a fuzzer can change. The byte 0xFF and a letter are a step;
//! all other bytes are sent as they are, by the client or by the upstream.

use std::fmt;
use std::time::Duration;

/// A step of a script.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// `C`: the client sends these bytes in one piece.
    Client(Vec<u8>),
    /// `U`: the upstream's newest connection sends these bytes in one piece.
    Upstream(Vec<u8>),
    /// `c`: the client closes its sending side.
    ClientEnds,
    /// `k`: the client resets its connection.
    ClientResets,
    /// `s`: the client stops reading. `S`: it reads again.
    ClientStalls(bool),
    /// `u`: the upstream closes its sending side.
    UpstreamEnds,
    /// `x`: the upstream resets its connection.
    UpstreamResets,
    /// `p`: the upstream stops reading. `P`: it reads again.
    UpstreamStalls(bool),
    /// `r`: the next connection to the upstream is refused.
    Refuse,
    /// `t`: a second passes. `T`: half a minute passes.
    Time(Duration),
    /// `z`: at the end of the script nothing is closed.
    Silence,
}

/// As text that a finding can be read from.
impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(bytes) => write!(f, "Client(b\"{}\")", bytes.escape_ascii()),
            Self::Upstream(bytes) => write!(f, "Upstream(b\"{}\")", bytes.escape_ascii()),
            Self::Time(time) => write!(f, "Time({time:?})"),
            other => write!(f, "{}", char::from(letter(other))),
        }
    }
}

const MARK: u8 = 0xFF;
/// `R` repeats the last piece so often.
const REPEATS: usize = 16;
/// Repeated pieces have at most so many bytes in all.
const MOST_REPEATED: usize = 1 << 20;

/// The script that these bytes encode. The first bytes are the client's; bytes behind a step
/// without bytes are a further piece of the side that sent before.
pub fn steps(data: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    let (mut piece, mut is_client, mut repeated) = (Vec::new(), true, 0);
    let mut bytes = data.iter().copied();
    loop {
        let byte = bytes.next();
        if let Some(byte) = byte.filter(|byte| *byte != MARK) {
            piece.push(byte);
            continue;
        }
        let letter = byte.and_then(|_| bytes.next());
        if letter == Some(MARK) {
            piece.push(MARK);
            continue;
        }
        let sent = std::mem::take(&mut piece);
        let of_side = |bytes: Vec<u8>| match is_client {
            true => Step::Client(bytes),
            false => Step::Upstream(bytes),
        };
        let length = sent.len();
        if !sent.is_empty() {
            steps.push(of_side(sent.clone()));
        }
        match letter {
            None => return steps,
            Some(b'C') => is_client = true,
            Some(b'U') => is_client = false,
            Some(b'R') if repeated + length * REPEATS <= MOST_REPEATED => {
                repeated += length * REPEATS;
                steps.push(of_side(sent.repeat(REPEATS)));
            }
            Some(letter) => steps.extend(without_bytes(letter)),
        }
    }
}

fn without_bytes(letter: u8) -> Option<Step> {
    Some(match letter {
        b'c' => Step::ClientEnds,
        b'k' => Step::ClientResets,
        b's' => Step::ClientStalls(true),
        b'S' => Step::ClientStalls(false),
        b'u' => Step::UpstreamEnds,
        b'x' => Step::UpstreamResets,
        b'p' => Step::UpstreamStalls(true),
        b'P' => Step::UpstreamStalls(false),
        b'r' => Step::Refuse,
        b't' => Step::Time(Duration::from_secs(1)),
        b'T' => Step::Time(Duration::from_secs(30)),
        b'z' => Step::Silence,
        _ => return None,
    })
}

/// The bytes that encode a script.
pub fn encoded(script: &[Step]) -> Vec<u8> {
    let mut data = Vec::new();
    for step in script {
        let bytes = match step {
            Step::Client(bytes) | Step::Upstream(bytes) => &bytes[..],
            _ => &[],
        };
        data.extend([MARK, letter(step)]);
        for byte in bytes {
            data.push(*byte);
            if *byte == MARK {
                data.push(MARK);
            }
        }
    }
    data
}

fn letter(step: &Step) -> u8 {
    match step {
        Step::Client(_) => b'C',
        Step::Upstream(_) => b'U',
        Step::ClientEnds => b'c',
        Step::ClientResets => b'k',
        Step::ClientStalls(true) => b's',
        Step::ClientStalls(false) => b'S',
        Step::UpstreamEnds => b'u',
        Step::UpstreamResets => b'x',
        Step::UpstreamStalls(true) => b'p',
        Step::UpstreamStalls(false) => b'P',
        Step::Refuse => b'r',
        Step::Time(time) if time.as_secs() < 30 => b't',
        Step::Time(_) => b'T',
        Step::Silence => b'z',
    }
}
