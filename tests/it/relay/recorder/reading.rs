//! The client's bytes as a slow and simple reader finds the requests in them.

/// A request that the client has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub method: String,
    pub is_1_0: bool,
    pub body: Vec<u8>,
    /// Whether all of it was sent.
    pub is_whole: bool,
}

/// The requests in these bytes, and whether something follows them that is no whole request.
pub fn requests(mut bytes: &[u8]) -> (Vec<Sent>, bool) {
    let mut found = Vec::new();
    loop {
        // One empty line before a request line (RFC 9112 §2.2).
        let rest = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let Some(end) = rest.windows(4).position(|four| four == b"\r\n\r\n") else {
            // A lone empty line is a part of a head, too.
            return (found, !bytes.is_empty());
        };
        let (head, body) = (&rest[..end], &rest[end + 4..]);
        let Some((mut sent, framing)) = head_of(head) else {
            return (found, true);
        };
        let taken = match framing {
            Framing::Length(length) if length <= body.len() => {
                sent.body = body[..length].to_vec();
                Some(length)
            }
            Framing::Length(_) => {
                sent.body = body.to_vec();
                None
            }
            Framing::Chunked => chunks(body, &mut sent.body),
        };
        sent.is_whole = taken.is_some();
        found.push(sent);
        let Some(taken) = taken else {
            return (found, true);
        };
        bytes = &body[taken..];
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

/// A head's request, without a check of its form; `None` if its end would be unclear.
fn head_of(head: &[u8]) -> Option<(Sent, Framing)> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let words: Vec<_> = lines.next()?.split(' ').collect();
    let [method, _, version] = words[..] else {
        return None;
    };
    let (mut lengths, mut codings) = (Vec::new(), Vec::new());
    for line in lines {
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value.trim_matches([' ', '\t']).to_owned()),
            "transfer-encoding" => codings.push(value.trim_matches([' ', '\t']).to_lowercase()),
            _ => {}
        }
    }
    let framing = match (&lengths[..], &codings[..]) {
        ([], []) => Framing::Length(0),
        ([length], []) => Framing::Length(number(length, 10)?),
        ([], [coding]) if coding == "chunked" => Framing::Chunked,
        _ => return None,
    };
    let sent = Sent {
        method: method.to_owned(),
        is_1_0: version == "HTTP/1.0",
        body: Vec::new(),
        is_whole: false,
    };
    Some((sent, framing))
}

fn number(text: &str, radix: u32) -> Option<usize> {
    let is_number = !text.is_empty() && text.chars().all(|c| c.is_digit(radix));
    usize::from_str_radix(text, radix)
        .ok()
        .filter(|_| is_number)
}

/// Reads chunks (RFC 9112 §7.1) into `body`, and returns the length of all; `None` if they are
/// broken or not whole.
fn chunks(bytes: &[u8], body: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = line(bytes, at)?;
        at += line.len() + 2;
        let digits = String::from_utf8_lossy(line);
        let size = number(digits.split(';').next()?, 16)?;
        if size == 0 {
            break;
        }
        let data = bytes.get(at..at.checked_add(size)?);
        // The part that has arrived counts too.
        body.extend_from_slice(data.or(bytes.get(at..))?);
        at += data?.len();
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let line = line(bytes, at)?;
        at += line.len() + 2;
        if line.is_empty() {
            return Some(at);
        }
    }
}

/// The line that begins here, without its end.
fn line(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    rest.get(..end)
}
