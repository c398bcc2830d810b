//! Parameters of a query: each known, each once.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, Path};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;

use super::answer::Refusal;
use crate::issuer::management::{DEFAULT_PAGE, MAX_PAGE};
use crate::issuer::registration::FieldProblem;

/// The parameters of a request.
pub(super) struct Query {
    values: HashMap<String, String>,
    problems: Vec<FieldProblem>,
}

impl Query {
    /// Reads a query; what is not in `known`, or stands there twice, is a problem.
    pub(super) fn read(raw: Option<String>, known: &[&str]) -> Self {
        let mut query = Self {
            values: HashMap::new(),
            problems: Vec::new(),
        };
        for (name, value) in form_urlencoded::parse(raw.unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let shown: String = name.chars().take(64).collect();
                query.problem(&shown, format!("unknown; known are {}", known.join(", ")));
            } else if query
                .values
                .insert(name.to_string(), value.into_owned())
                .is_some()
            {
                query.problem(&name, "it is there more than once".to_owned());
            }
        }
        query
    }

    fn problem(&mut self, field: &str, problem: String) {
        self.problems.push(FieldProblem::new(field, problem));
    }

    /// The parameter as it is.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.values.remove(name)
    }

    /// A parameter that is `true` or `false`.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.text(name)?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.problem(name, "it must be `true` or `false`".to_owned());
                None
            }
        }
    }

    /// `limit`, how many a page has.
    pub(super) fn limit(&mut self) -> u32 {
        let Some(text) = self.text("limit") else {
            return DEFAULT_PAGE;
        };
        match text.parse() {
            Ok(limit) if (1..=MAX_PAGE).contains(&limit) => limit,
            _ => {
                self.problem("limit", format!("it must be a number from 1 to {MAX_PAGE}"));
                DEFAULT_PAGE
            }
        }
    }

    /// `cursor`: where the page before ended, as [`cursor`] wrote it.
    pub(super) fn cursor<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.text("cursor")?;
        let decoded = URL_SAFE_NO_PAD
            .decode(&text)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        let value = decoded.and_then(|text| read(&text));
        if value.is_none() {
            self.problem("cursor", "it is no `next_cursor` of an answer".to_owned());
        }
        value
    }

    /// Ends the reading.
    pub(super) fn end(self) -> Result<(), Refusal> {
        if self.problems.is_empty() {
            Ok(())
        } else {
            Err(Refusal::Query(self.problems))
        }
    }
}

/// A cursor that says where a page ended.
pub(super) fn cursor(end: &str) -> String {
    URL_SAFE_NO_PAD.encode(end)
}

/// Which client: `{client_id}` of the path. Where the path names none: the parameter `client_id`.
pub(super) struct ClientId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for ClientId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let named = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        if let Some(id) = named
            .ok()
            .and_then(|Path(mut named)| named.remove("client_id"))
        {
            return Ok(Self(id));
        }
        let raw = parts.uri.query().map(str::to_owned);
        // The other parameters are the handler's.
        let mut query = Query::read(raw, &["client_id", "force"]);
        let id = query.text("client_id");
        if id.is_none() {
            query.problem(
                "client_id",
                "it is missing: which client is meant?".to_owned(),
            );
        }
        query.end()?;
        Ok(Self(id.unwrap_or_default()))
    }
}
