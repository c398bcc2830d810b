//! The differences between plgd's answer and ours: status, headers, members of JSON, a token's
//! header and claims.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::vectors::Vector;
use super::world::RECORDED_USERS;
use super::{claims, header};
use crate::support::client::RawAnswer;
use crate::support::http1;

/// Header fields that say how the message came, not what it says. `Server` and `Date` are every
/// server's own.
const OF_THE_WAY: [&str; 7] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "server",
    "transfer-encoding",
    "x-request-id",
];

/// One thing that differs; `None` is absent.
#[derive(Clone, Debug)]
pub struct Difference {
    /// `status`, `header NAME`, `body`, `json.MEMBER`, `token.header.MEMBER`, `token.claims.CLAIM`.
    pub place: String,
    pub plgd: Option<Value>,
    pub ours: Option<Value>,
}

/// The facts that are known beside both answers.
pub struct Known<'a> {
    /// The time of the request.
    pub now: i64,
    /// When the first request was sent.
    pub started: i64,
    /// Claims of every token issued so far, by `jti`.
    pub issued: &'a BTreeMap<String, Value>,
    /// The claims of the assertion in the request.
    pub assertion: Option<Value>,
    /// The issuer of users; in the recording it is another one.
    pub users: String,
    /// When the request was recorded, if it holds a time of its own: then times are compared with
    /// those of the recording.
    pub recorded: Option<i64>,
    /// Whether nginx stands before the issuer.
    pub through_nginx: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| match value {
            None => "absent".to_owned(),
            Some(value) => value.to_string(),
        };
        write!(
            f,
            "{} {} -> {}",
            self.place,
            shown(&self.plgd),
            shown(&self.ours)
        )
    }
}

/// Everything that differs. Where one issues and the other refuses, that is one difference: bodies
/// of different meaning are not compared member by member.
pub fn differences(vector: &Vector, ours: &RawAnswer, known: &Known<'_>) -> Vec<Difference> {
    let plgd = &vector.plgd;
    if ours.status != plgd.status {
        let (plgd, ours) = (plgd.status.to_string(), summary(ours));
        let ours = Some(Value::String(ours));
        return vec![Difference {
            place: "status".to_owned(),
            plgd: Some(plgd.into()),
            ours,
        }];
    }
    let mut comparison = Comparison {
        known,
        found: Vec::new(),
        line: None,
    };
    comparison.headers(vector, ours);
    if let Some(lines) = &plgd.lines {
        comparison.lines(lines, ours);
    } else if let Some(json) = &plgd.json {
        match serde_json::from_slice::<Value>(&ours.body) {
            Ok(body) => comparison.value("json", Some(json), Some(&body)),
            Err(_) => comparison.differ("body", Some(json.clone()), Some(ours.text().into())),
        }
    } else if let Some(text) = &plgd.text {
        comparison.text(text, &ours.text());
    }
    if let Some(token) = &plgd.token {
        match super::issued_token(ours) {
            Some(ours) => {
                let claims = recorded(&claims(&ours), &known.users);
                comparison.value("token.header", Some(&token.header), Some(&header(&ours)));
                comparison.value("token.claims", Some(&token.claims), Some(&claims));
            }
            None => comparison.differ("token", Some("issued".into()), None),
        }
    }
    comparison.found
}

/// The value with the recording's issuer of users.
fn recorded(value: &Value, users: &str) -> Value {
    serde_json::from_str(&value.to_string().replace(users, RECORDED_USERS)).expect("JSON")
}

/// A refusal in one line.
fn summary(ours: &RawAnswer) -> String {
    let mut out = ours.status.to_string();
    if let Ok(body) = serde_json::from_slice::<Value>(&ours.body) {
        for member in ["code", "error"] {
            if let Some(value) = body.get(member).filter(|value| !value.is_object()) {
                out.push_str(&format!(
                    " {member}={}",
                    value.to_string().trim_matches('"')
                ));
            }
        }
    }
    for name in ["www-authenticate", "allow", "location", "retry-after"] {
        for value in ours.header_all(name) {
            out.push_str(&format!(" {name}: {value}"));
        }
    }
    out
}

struct Comparison<'a> {
    known: &'a Known<'a>,
    found: Vec<Difference>,
    /// The claims of the token that the line at hand is about.
    line: Option<&'a Value>,
}

impl Comparison<'_> {
    fn differ(&mut self, place: &str, plgd: Option<Value>, ours: Option<Value>) {
        let (plgd, ours) = (
            plgd.map(|it| self.named(&it)),
            ours.map(|it| self.named(&it)),
        );
        self.found.push(Difference {
            place: place.to_owned(),
            plgd,
            ours,
        });
    }

    fn headers(&mut self, vector: &Vector, ours: &RawAnswer) {
        let mut names: Vec<String> = ours
            .headers
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        names.extend(vector.plgd.headers.keys().cloned());
        names.sort_unstable();
        names.dedup();
        let of_the_way = |name: &str| {
            OF_THE_WAY.contains(&name)
                || (self.known.through_nginx && name == "strict-transport-security")
        };
        for name in names.iter().filter(|name| !of_the_way(name)) {
            let plgd = vector.plgd.headers.get(name).cloned();
            let value = http1::all(&ours.headers, name).join(", ");
            let ours = Some(value).filter(|value| !value.is_empty());
            if plgd != ours {
                self.differ(
                    &format!("header {name}"),
                    plgd.map(Value::from),
                    ours.map(Value::from),
                );
            }
        }
    }

    fn lines(&mut self, plgd: &[Value], ours: &RawAnswer) {
        let text = ours.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
        if lines.len() != plgd.len() {
            return self.differ("lines", Some(plgd.len().into()), Some(lines.len().into()));
        }
        for (at, (plgd, line)) in plgd.iter().zip(lines).enumerate() {
            let ours: Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
            let ours = recorded(&ours, &self.known.users);
            let id = ours["result"]["id"].as_str().unwrap_or_default();
            self.line = self.known.issued.get(id);
            self.value(&format!("line{at}"), Some(plgd), Some(&ours));
        }
        self.line = None;
    }

    fn text(&mut self, plgd: &str, ours: &str) {
        // A long answer was recorded up to its token.
        let (begin, whole) = match plgd.split_once("<token>") {
            Some((begin, _)) => (begin, false),
            None => (plgd, true),
        };
        if plgd.is_empty() && ours.starts_with("{\"result\"") {
            let lines = ours.lines().filter(|line| !line.is_empty()).count();
            self.differ("lines", Some(0.into()), Some(lines.into()));
        } else if !ours.starts_with(begin) || (whole && ours != begin) {
            self.differ("body", Some(plgd.into()), Some(ours.into()));
        }
    }

    fn value(&mut self, place: &str, plgd: Option<&Value>, ours: Option<&Value>) {
        match (plgd, ours) {
            (Some(Value::Object(plgd)), Some(Value::Object(ours))) => {
                let mut names: Vec<&String> = plgd.keys().chain(ours.keys()).collect();
                names.sort_unstable();
                names.dedup();
                for name in names {
                    self.value(&format!("{place}.{name}"), plgd.get(name), ours.get(name));
                }
            }
            (Some(Value::Array(plgd)), Some(Value::Array(ours))) if plgd.len() == ours.len() => {
                for (at, (plgd, ours)) in plgd.iter().zip(ours).enumerate() {
                    self.value(&format!("{place}[{at}]"), Some(plgd), Some(ours));
                }
            }
            (plgd, ours) if self.same(place, plgd, ours) => {}
            (plgd, ours) => self.differ(place, plgd.cloned(), ours.cloned()),
        }
    }

    fn same(&self, place: &str, plgd: Option<&Value>, ours: Option<&Value>) -> bool {
        let (Some(plgd), Some(ours)) = (plgd, ours) else {
            return plgd == ours;
        };
        if place == "json.expires_in" || place == "json.expiresIn" {
            return same_lifetime(
                plgd,
                ours,
                self.known.recorded.map_or(0, |then| self.known.now - then),
            );
        }
        let Some(slot) = plgd
            .as_str()
            .and_then(|it| it.strip_prefix('<')?.strip_suffix('>'))
        else {
            return plgd == ours;
        };
        let text = ours.as_str();
        if let Some(characters) = slot.strip_suffix(" characters") {
            return text.is_some_and(|it| it.chars().count().to_string() == characters);
        }
        match slot {
            "token" => text.is_some_and(|it| it.split('.').count() == 3),
            "uuid" => text
                .and_then(|it| uuid::Uuid::parse_str(it).ok())
                .is_some_and(|id| !place.ends_with(".jti") || id.get_version_num() == 4),
            "kid" | "x" | "y" => text.is_some_and(|it| !it.is_empty()),
            time => match time.strip_prefix("now").map(str::parse::<i64>) {
                Some(Ok(offset)) => self.same_time(place, offset, ours),
                _ => false,
            },
        }
    }

    /// Whether a time is the one that it must be. Members of an entry are texts, every other time
    /// is a number.
    fn same_time(&self, place: &str, offset: i64, ours: &Value) -> bool {
        let copied = place
            .split_once("originalTokenClaims.")
            .map(|(_, name)| name);
        let entry = copied.is_none() && place.starts_with("line");
        let time = if entry {
            ours.as_str().and_then(|it| it.parse().ok())
        } else {
            ours.as_i64()
        };
        let Some(time) = time else { return false };
        let of = |claims: &Value, name: &str| {
            name.split('.')
                .fold(claims.clone(), |it, name| it[name].clone())
        };
        match (copied, self.line, &self.known.assertion) {
            (Some(name), Some(claims), _) => {
                of(claims, &format!("originalTokenClaims.{name}")) == time
            }
            (Some(name), None, Some(assertion)) => of(assertion, name) == time,
            (None, Some(_), _) if place.ends_with(".timestamp") => {
                (self.known.started..=self.known.now).contains(&time)
            }
            (None, Some(claims), _) => {
                let name = if place.ends_with(".issuedAt") {
                    "iat"
                } else {
                    "exp"
                };
                of(claims, name) == time
            }
            // The moment of the recording is known to the second; plgd's clock went on between
            // request and answer.
            _ => (time - self.known.recorded.unwrap_or(self.known.now) - offset).abs() <= 1,
        }
    }

    /// The value with names instead of what is new in every run.
    fn named(&self, value: &Value) -> Value {
        let time = |seconds: i64| {
            let apart = seconds - self.known.now;
            (apart.abs() < 40_000_000).then(|| format!("<now{apart:+}>"))
        };
        match value {
            Value::Number(number) => match number.as_i64().and_then(time) {
                Some(name) => name.into(),
                None => value.clone(),
            },
            Value::String(text) if uuid::Uuid::parse_str(text).is_ok() => "<uuid>".into(),
            Value::String(text) if text.starts_with("eyJ") && text.split('.').count() == 3 => {
                "<token>".into()
            }
            Value::String(text) => match text.parse().ok().and_then(time) {
                Some(name) => name.into(),
                None => value.clone(),
            },
            Value::Array(values) => values.iter().map(|value| self.named(value)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone(), self.named(value)))
                .collect(),
            other => other.clone(),
        }
    }
}

/// Lifetimes in seconds; ours began `later`. plgd counts from when it has made the token, and so
/// says a second less.
fn same_lifetime(plgd: &Value, ours: &Value, later: i64) -> bool {
    let seconds = |value: &Value| value.as_i64().or_else(|| value.as_str()?.parse().ok());
    let (Some(a), Some(b)) = (seconds(plgd), seconds(ours)) else {
        return plgd == ours;
    };
    plgd.is_string() == ours.is_string() && (a - b - later).abs() <= 2 && (a == 0) == (b == 0)
}
