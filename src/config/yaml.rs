//! YAML text → [`Node`].
//!
//! Built from the parser's events, so that every repeated key is reported, and so that nesting and
//! chains of aliases cannot exhaust stack or memory.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::problem::Findings;
use super::tree::{Data, Entry, KeyPath, Node, Position, Text};

/// Deeper than any useful claim value, and safe for the recursion here and in the later stages.
const MAX_DEPTH: usize = 48;
/// All values, including those that aliases repeat.
const MAX_NODES: usize = 200_000;

/// Reads one YAML document. `None`: reading failed, and the findings contain the reason.
pub(super) fn parse(text: &str, findings: &mut Findings) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        findings,
    };
    let read = builder.documents(1);
    // An empty file is an empty mapping: the later stages report the missing keys.
    let empty = || Node {
        at: Position::default(),
        data: Data::Map(Vec::new()),
    };
    let mut documents = reported(read, findings)?;
    Some(documents.pop().unwrap_or_else(empty))
}

/// Reads every YAML document of a text except empty ones. `None`: reading failed, as in [`parse`].
pub(super) fn parse_all(text: &str, findings: &mut Findings) -> Option<Vec<Node>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        findings,
    };
    let read = builder.documents(usize::MAX);
    reported(read, findings)
}

fn reported(read: Result<Vec<Node>, Stop>, findings: &mut Findings) -> Option<Vec<Node>> {
    match read {
        Ok(documents) => Some(documents),
        Err(Stop { at, path, message }) => {
            findings.error_at(at, &path, message);
            None
        }
    }
}

/// The error that ends reading.
struct Stop {
    at: Position,
    path: KeyPath,
    message: String,
}

impl Stop {
    fn new(mark: Marker, path: &KeyPath, message: impl Into<String>) -> Self {
        Self {
            at: position(mark),
            path: path.clone(),
            message: message.into(),
        }
    }
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        let why = error.info();
        let hint = hint(why)
            .map(|hint| format!("; {hint}"))
            .unwrap_or_default();
        Self::new(
            *error.marker(),
            &KeyPath::default(),
            format!("not valid YAML: {why}{hint}"),
        )
    }
}

/// The probable cause of a grammar error that the parser reports.
fn hint(why: &str) -> Option<&'static str> {
    let is = |part: &str| why.contains(part);
    if is("tab") {
        Some("indent with spaces")
    } else if is("mapping values are not allowed") {
        Some("indent the line like its neighbours, and put a text that contains `: ` into quotes")
    } else if is("did not find expected key") || is("did not find expected '-' indicator") {
        Some("indent the line exactly like its neighbours")
    } else if is("anchor") {
        Some("put a text that begins with `*` or `&` into quotes")
    } else if is("unexpected end of stream") || is("in quoted scalar") {
        Some("a quote is not closed")
    } else if is("expected ','")
        || is("illegal placement of ':'")
        || is("only valid inside a block")
    {
        Some(
            "close the bracket, add the missing comma, or put a text with brackets (`${NAME}`) \
             into quotes",
        )
    } else {
        None
    }
}

fn position(mark: Marker) -> Position {
    Position {
        line: mark.line().max(1),
        column: mark.col() + 1,
    }
}

struct Builder<'a, 'f> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    findings: &'f mut Findings,
}

impl<'a> Builder<'a, '_> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next() {
            Some(event) => Ok(event?),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The documents that have a value. More than `most` documents are an error.
    fn documents(&mut self, most: usize) -> Result<Vec<Node>, Stop> {
        let (mut documents, mut read) = (Vec::new(), 0);
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (
                    Event::StreamStart
                    | Event::DocumentStart(_)
                    | Event::DocumentEnd
                    | Event::Nothing,
                    _,
                ) => {}
                (_, span) if read == most => {
                    return Err(Stop::new(
                        span.start,
                        &KeyPath::default(),
                        "a second YAML document is not supported",
                    ));
                }
                (event, span) => {
                    read += 1;
                    let root = self.node(event, span, &KeyPath::default(), 0)?;
                    documents.extend(Some(root).filter(|node| !matches!(node.data, Data::Null)));
                }
            }
        }
        Ok(documents)
    }

    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        path: &KeyPath,
        depth: usize,
    ) -> Result<Node, Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::new(span.start, path, "nested too deeply"));
        }
        let (data, anchor) = match event {
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    return Err(Stop::new(
                        span.start,
                        path,
                        "an alias inside its own anchor",
                    ));
                };
                self.count(node.size(), span, path)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let as_text = Self::tagged_as_text(tag.as_deref(), span, path)?;
                (scalar(&text, style == ScalarStyle::Plain, as_text), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                Self::tagged_as_text(tag.as_deref(), span, path)?;
                (Data::List(self.items(path, depth)?), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                Self::tagged_as_text(tag.as_deref(), span, path)?;
                (Data::Map(self.entries(path, depth)?), anchor)
            }
            _ => return Err(Stop::new(span.start, path, "not valid YAML")),
        };
        self.count(1, span, path)?;
        let node = Node {
            at: position(span.start),
            data,
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn items(&mut self, path: &KeyPath, depth: usize) -> Result<Vec<Node>, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => {
                    let item = self.node(event, span, &path.index(items.len()), depth + 1)?;
                    items.push(item);
                }
            }
        }
    }

    fn entries(&mut self, path: &KeyPath, depth: usize) -> Result<Vec<Entry>, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (key, at) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                (Event::Scalar(text, ..), span) => (text.into_owned(), position(span.start)),
                (_, span) => return Err(Stop::new(span.start, path, "a key must be a text")),
            };
            let key_path = path.key(&key);
            let (event, span) = self.next()?;
            let value = self.node(event, span, &key_path, depth + 1)?;
            if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                let line = first.at.line;
                self.findings.error_at(
                    at,
                    &key_path,
                    format!("the key is repeated; it is first used in line {line}"),
                );
            } else {
                entries.push(Entry { key, at, value });
            }
        }
    }

    fn count(&mut self, more: usize, span: Span, path: &KeyPath) -> Result<(), Stop> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return Err(Stop::new(
                span.start,
                path,
                "too many values, or aliases that repeat too much",
            ));
        }
        Ok(())
    }

    /// Whether a tag makes a scalar a text. Tags other than YAML's own are refused.
    fn tagged_as_text(tag: Option<&Tag>, span: Span, path: &KeyPath) -> Result<bool, Stop> {
        match tag {
            None => Ok(false),
            Some(tag) if tag.is_yaml_core_schema() => Ok(tag.suffix == "str"),
            Some(_) => Err(Stop::new(
                span.start,
                path,
                "YAML tags (`!…`) are not supported",
            )),
        }
    }
}

/// A scalar's value by the core schema (YAML 1.2.2 §10.3.2).
fn scalar(text: &str, plain: bool, as_text: bool) -> Data {
    let data = if plain && !as_text {
        resolve_plain(text)
    } else {
        None
    };
    data.unwrap_or_else(|| {
        Data::Text(Text {
            value: text.to_owned(),
            plain,
            template: None,
        })
    })
}

/// The value of an unquoted text, unless it is a text.
pub(super) fn resolve_plain(text: &str) -> Option<Data> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(Data::Null),
        "true" | "True" | "TRUE" => return Some(Data::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Data::Bool(false)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Some(Data::Float(f64::INFINITY));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Some(Data::Float(f64::NEG_INFINITY)),
        ".nan" | ".NaN" | ".NAN" => return Some(Data::Float(f64::NAN)),
        _ => {}
    }
    let radix = |prefix, radix| {
        text.strip_prefix(prefix)
            .and_then(|digits| i64::from_str_radix(digits, radix).ok())
    };
    if let Some(value) = radix("0x", 16)
        .or_else(|| radix("0o", 8))
        .or_else(|| text.parse().ok())
    {
        return Some(Data::Integer(value));
    }
    // Rust also reads `inf` and `nan` as numbers, YAML does not.
    let numeric = text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    if numeric && text.bytes().any(|b| b.is_ascii_digit()) {
        return text.parse().ok().map(Data::Float);
    }
    None
}

#[cfg(test)]
mod tests;
