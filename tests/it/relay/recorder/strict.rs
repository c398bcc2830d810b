//! Strict parsers of HTTP/1.1 in canonical form. They panic at everything else.

/// The request or response that was read, with its body.
#[derive(Debug)]
pub struct Message {
    pub start_line: String,
    /// Names in small letters, and values.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether all of it is there.
    pub is_whole: bool,
    /// Whether only the end of the connection ends it.
    pub ends_with_connection: bool,
}

impl Message {
    /// Every value of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let of_name = self.fields.iter().filter(|(it, _)| it == name);
        of_name.map(|(_, value)| value.as_str()).collect()
    }

    pub fn words(&self) -> Vec<&str> {
        self.start_line.splitn(3, ' ').collect()
    }
}

/// How the body of a message ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    None,
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reads a message from the start of these bytes; `body` says how its body ends. Returns it with
/// the length, or `None` if the head is not whole.
pub fn message(
    bytes: &[u8],
    body: impl FnOnce(&Message) -> Body,
    may_trail: impl Fn(&str) -> bool,
) -> Option<(Message, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let mut message = head(&bytes[..end]);
    let rest = &bytes[end + 4..];
    let taken = match body(&message) {
        Body::None => Some(0),
        Body::Length(length) => {
            message.body = rest[..length.min(rest.len())].to_vec();
            (length <= rest.len()).then_some(length)
        }
        Body::Chunked => chunks(rest, &mut message.body, may_trail),
        Body::UntilClose => {
            message.body = rest.to_vec();
            message.ends_with_connection = true;
            Some(rest.len())
        }
    };
    message.is_whole = taken.is_some();
    Some((message, end + 4 + taken.unwrap_or(rest.len())))
}

fn head(bytes: &[u8]) -> Message {
    let shown = String::from_utf8_lossy(bytes).into_owned();
    let mut lines = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        lines.push(line.strip_suffix(b"\r").unwrap_or(line));
    }
    let ends = bytes.windows(2).filter(|two| two == b"\r\n").count();
    assert_eq!(
        ends + 1,
        lines.len(),
        "a line feed without a carriage return: {shown}"
    );
    let is_text = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7F;
    for line in &lines {
        assert!(line.iter().all(is_text), "a control character: {shown}");
    }
    let start_line = String::from_utf8_lossy(lines[0]).into_owned();
    Message {
        start_line,
        fields: lines[1..].iter().map(|line| field(line)).collect(),
        body: Vec::new(),
        is_whole: false,
        ends_with_connection: false,
    }
}

/// A field line (RFC 9112 §5).
fn field(line: &[u8]) -> (String, String) {
    let shown = String::from_utf8_lossy(line).into_owned();
    let colon = line.iter().position(|byte| *byte == b':');
    let (name, value) = line.split_at(colon.unwrap_or_else(|| panic!("no colon: {shown}")));
    assert!(
        !name.is_empty() && name.iter().all(|byte| is_token(*byte)),
        "a name: {shown}"
    );
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let value = value[1..].trim_ascii();
    (name, String::from_utf8_lossy(value).into_owned())
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Reads chunks without extensions (RFC 9112 §7.1), and returns the length of all; `None` if they
/// are not whole.
fn chunks(bytes: &[u8], body: &mut Vec<u8>, may_trail: impl Fn(&str) -> bool) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = line(bytes, &mut at)?;
        let is_size = !line.is_empty() && line.iter().all(u8::is_ascii_hexdigit);
        let digits = String::from_utf8_lossy(line);
        assert!(is_size && line.len() < 16, "no chunk size: {digits}");
        let size = usize::from_str_radix(&digits, 16).expect("digits");
        if size == 0 {
            break;
        }
        let Some(data) = bytes.get(at..at + size) else {
            body.extend_from_slice(&bytes[at..]);
            return None;
        };
        body.extend_from_slice(data);
        at += size;
        let behind = bytes.get(at..at + 2)?;
        assert_eq!(behind, b"\r\n", "a chunk ends in CR LF");
        at += 2;
    }
    loop {
        let line = line(bytes, &mut at)?;
        if line.is_empty() {
            return Some(at);
        }
        let (name, _) = field(line);
        assert!(may_trail(&name), "a trailer: {name}");
    }
}

/// The next line, without its end.
fn line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = bytes.get(*at..)?;
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    *at += end + 2;
    let line = rest.get(..end)?;
    let is_plain = |byte: &u8| !matches!(byte, b'\r' | b'\n' | 0);
    assert!(line.iter().all(is_plain), "a control character: {line:?}");
    Some(line)
}
