//! The recorded exchanges, and what stands for changing values in them.
//! `tests/vectors/plgd/README.md` says what the members mean.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub struct Recording {
    pub clients: Vec<Client>,
    pub vectors: Vec<Vector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    pub id: String,
    /// As it stands in the file, a newline at its end included. A client with assertions has one
    /// that is never read.
    pub secret: Option<String>,
    pub owner: Option<String>,
    /// `0s`: its tokens have no end.
    pub access_token_lifetime: String,
    #[serde(default)]
    pub allowed_audiences: Vec<String>,
    #[serde(default)]
    pub allowed_scopes: Vec<String>,
    /// Whether it brings assertions.
    #[serde(default)]
    pub jwt_private_key: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vector {
    pub id: String,
    pub name: String,
    pub request: Request,
    pub saves: Option<String>,
    #[serde(default)]
    pub wait_seconds_before: u64,
    pub plgd: Plgd,
}

impl Vector {
    /// When it was recorded, for the one request that asks for a fixed end, 1.9e9: plgd gave it
    /// 104026378 seconds.
    pub fn fixed_time(&self) -> Option<i64> {
        let fixed = self
            .request
            .body
            .as_ref()
            .is_some_and(|body| body.contains("#raw:1.9e9"));
        fixed.then_some(1_900_000_000 - 104_026_378)
    }
}

#[derive(Deserialize)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
}

/// The answer of plgd's server.
#[derive(Deserialize)]
pub struct Plgd {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub json: Option<Value>,
    pub lines: Option<Vec<Value>>,
    pub text: Option<String>,
    pub token: Option<Token>,
}

#[derive(Deserialize)]
pub struct Token {
    pub header: Value,
    pub claims: Value,
}

pub fn recording() -> Recording {
    serde_json::from_str(include_str!("../../../vectors/plgd/m2m-vectors.json"))
        .expect("the recording")
}

/// The values of the names in requests.
pub struct Names {
    /// Tokens of users and issued ones.
    pub tokens: HashMap<String, String>,
    /// Unix seconds.
    pub now: i64,
}

impl Names {
    /// The text with everything in `{{…}}` replaced, then every number that stands in quotes for
    /// its mark.
    pub fn fill(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").expect("a closed name");
            out.push_str(before);
            out.push_str(&self.value(name));
            rest = after;
        }
        out.push_str(rest);
        unquote(&out)
    }

    fn value(&self, name: &str) -> String {
        if let Some(name) = name.strip_suffix("|urlencode") {
            return form_urlencoded::byte_serialize(self.value(name).as_bytes()).collect();
        }
        if let Some(name) = name.strip_suffix(".upper") {
            return self.value(name).to_uppercase();
        }
        if let Some(name) = name.strip_suffix(".jti") {
            return super::claims(self.token(name))["jti"]
                .as_str()
                .expect("a jti")
                .to_owned();
        }
        match name.split_once(':') {
            Some(("basic" | "basicraw", credentials)) => {
                format!("Basic {}", STANDARD.encode(credentials))
            }
            Some(("basiclower", credentials)) => format!("basic {}", STANDARD.encode(credentials)),
            Some(("repeat", repeated)) => {
                let (text, times) = repeated.rsplit_once(':').expect("a number of times");
                text.repeat(times.parse().expect("a number"))
            }
            Some((other, _)) => panic!("nothing is known of {other}"),
            None => match name.strip_prefix("now") {
                Some("") => self.now.to_string(),
                Some(seconds) => (self.now + seconds.parse::<i64>().expect("seconds")).to_string(),
                None => self.token(name).to_owned(),
            },
        }
    }

    fn token(&self, name: &str) -> &str {
        self.tokens
            .get(name)
            .unwrap_or_else(|| panic!("no token {name}"))
    }
}

/// `"1#int"` is 1, `"1#float"` is 1.0, `"#raw:X"` is X.
fn unquote(text: &str) -> String {
    let mut parts = text.split('"').map(str::to_owned).collect::<Vec<_>>();
    let mark = |part: &String| {
        part.strip_suffix("#int")
            .map(str::to_owned)
            .or_else(|| {
                part.strip_suffix("#float")
                    .map(|number| format!("{number}.0"))
            })
            .or_else(|| part.strip_prefix("#raw:").map(str::to_owned))
    };
    let mut out = std::mem::take(&mut parts[0]);
    let mut unquoted = false;
    for part in &parts[1..] {
        match mark(part) {
            Some(bare) => {
                out.push_str(&bare);
                unquoted = true;
            }
            None => {
                if !std::mem::take(&mut unquoted) {
                    out.push('"');
                }
                out.push_str(part);
            }
        }
    }
    out
}

#[test]
fn names_and_numbers_are_filled_in() {
    let tokens = HashMap::from([("user".to_owned(), "a.b.c".to_owned())]);
    let names = Names { tokens, now: 1000 };
    for (text, filled) in [
        (
            r#"{"a": "{{now+3600}}#int", "b": "{{now}}"}"#,
            r#"{"a": 4600, "b": "1000"}"#,
        ),
        (
            r##"{"a": "{{now-10}}#float", "b": "#raw:1.9e9"}"##,
            r#"{"a": 990.0, "b": 1.9e9}"#,
        ),
        ("t={{user|urlencode}}&n={{repeat:xy:2}}", "t=a.b.c&n=xyxy"),
        ("{{basic:a:b:c}}", "Basic YTpiOmM="),
        ("{{basiclower:a:}}", "basic YTo="),
    ] {
        assert_eq!(names.fill(text), filled);
    }
}
