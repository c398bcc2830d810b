//! The parameters of the tokens API's requests.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use serde::Deserialize;

use crate::endpoints::oauth::body_error;

/// The most ids of a request. A head or a body of 64 KiB has room for fewer UUIDs.
const MAX_IDS: usize = 2000;
const BOOLEAN: &str = "includeBlacklisted must be true or false (also 1, t, T, TRUE, True, 0, f, \
                       F, FALSE, False)";

/// The ids that a request to revoke names in its query and its body; at least one.
pub(super) fn named_for_end(
    query: &str,
    body: Result<Bytes, BytesRejection>,
) -> Result<Vec<String>, &'static str> {
    let ids = form_urlencoded::parse(query.as_bytes())
        .filter(|(name, id)| is_id_filter(name) && !id.is_empty());
    let mut ids: Vec<String> = ids.map(|(_, id)| id.into_owned()).collect();
    let of_body = body
        .map_err(|rejection| body_error(rejection.status()))
        .and_then(|it| ids_of_body(&it));
    match of_body {
        Ok(of_body) => ids.extend(of_body),
        // The content of a DELETE has no defined meaning (RFC 9110 §9.3.5).
        Err(_) if !ids.is_empty() => {}
        Err(message) => return Err(message),
    }
    match bounded(ids)? {
        ids if ids.is_empty() => Err("idFilter must name the tokens to revoke"),
        ids => Ok(ids),
    }
}

/// Protobuf allows both spellings.
fn is_id_filter(name: &str) -> bool {
    matches!(name, "idFilter" | "id_filter")
}

/// The query of a request for a list.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Query {
    /// The ids that it names, without empty ones.
    pub(super) ids: Vec<String>,
    /// Whether it has an `idFilter`, even an empty one.
    is_filtered: bool,
    pub(super) include_blacklisted: bool,
}

impl Query {
    /// Ignores unknown names, as plgd's server does.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut query = Self::default();
        let mut include_blacklisted = None;
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if is_id_filter(&name) {
                query.is_filtered = true;
                query.ids.push(value.into_owned());
            } else if matches!(&*name, "includeBlacklisted" | "include_blacklisted") {
                let value = parse_bool(&value).ok_or(BOOLEAN)?;
                if include_blacklisted.replace(value).is_some() {
                    return Err("includeBlacklisted is repeated");
                }
            }
        }
        query.include_blacklisted = include_blacklisted.unwrap_or_default();
        query.ids = bounded(query.ids)?;
        Ok(query)
    }

    /// Whether any token matches: a filter of empty values matches none.
    pub(super) fn may_name_some(&self) -> bool {
        !self.is_filtered || !self.ids.is_empty()
    }

    /// Whether a token matches.
    pub(super) fn names(&self, jti: &str) -> bool {
        !self.is_filtered || self.ids.iter().any(|id| id == jti)
    }
}

/// Parses a boolean as Go's `strconv.ParseBool` does.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// plgd's web page repeats the ids in the body.
fn ids_of_body(body: &[u8]) -> Result<Vec<String>, &'static str> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Request {
        #[serde(alias = "id_filter", rename = "idFilter")]
        id_filter: Vec<String>,
    }
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let request: Request =
        serde_json::from_slice(body).map_err(|_| "the request body is malformed")?;
    Ok(request.id_filter)
}

/// The ids, sorted, without duplicates and empty ones.
fn bounded(mut ids: Vec<String>) -> Result<Vec<String>, &'static str> {
    ids.retain(|id| !id.is_empty());
    ids.sort_unstable();
    ids.dedup();
    if ids.len() <= MAX_IDS {
        Ok(ids)
    } else {
        Err("idFilter names more than 2000 tokens")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(ids: &[&str], is_filtered: bool, include_blacklisted: bool) -> Query {
        Query {
            ids: ids.iter().map(ToString::to_string).collect(),
            is_filtered,
            include_blacklisted,
        }
    }

    #[test]
    fn a_query_is_read_in_both_cases_and_what_it_does_not_know_is_ignored() {
        let text = "idFilter=b&id_filter=a&idFilter=b&idFilter=&x=1&includeBlacklisted=true";
        assert_eq!(Query::parse(text).unwrap(), query(&["a", "b"], true, true));
        assert_eq!(Query::parse("").unwrap(), Query::default());
        assert_eq!(
            Query::parse("include_blacklisted=f&idFilter=").unwrap(),
            query(&[], true, false)
        );
        let ids = |most: usize| {
            (0..most)
                .map(|n| format!("idFilter={n}&"))
                .collect::<String>()
        };
        assert!(Query::parse(&ids(MAX_IDS)).is_ok());
        assert!(Query::parse(&ids(MAX_IDS + 1)).is_err());
    }

    #[test]
    fn booleans_are_those_of_gos_parse_bool() {
        let parsed = |value: &str| {
            Query::parse(&format!("includeBlacklisted={value}"))
                .map(|query| query.include_blacklisted)
        };
        for value in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parsed(value), Ok(true), "{value}");
        }
        for value in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parsed(value), Ok(false), "{value}");
        }
        for value in [
            "", "tRUE", "yes", "no", "on", "2", "01", "+true", "true+", "null", "maybe",
        ] {
            assert!(parsed(value).is_err(), "{value}");
        }
        assert!(
            Query::parse("includeBlacklisted").is_err(),
            "a name alone has an empty value"
        );
        assert!(Query::parse("includeBlacklisted=true&include_blacklisted=true").is_err());
    }

    #[test]
    fn a_filter_of_empty_values_names_no_token() {
        let [all, none, some] = ["", "idFilter=&id_filter=", "idFilter=&idFilter=a"]
            .map(|text| Query::parse(text).unwrap());
        assert!(all.names("a") && all.may_name_some());
        assert!(!none.names("a") && !none.may_name_some());
        assert!(some.names("a") && !some.names("b") && some.may_name_some());
    }

    #[test]
    fn ids_to_revoke_are_named_in_the_query_or_the_body() {
        let named =
            |query: &str, body: &'static [u8]| named_for_end(query, Ok(Bytes::from_static(body)));
        assert_eq!(named("", br#"{"idFilter":["a",""],"x":1}"#).unwrap(), ["a"]);
        assert_eq!(
            named("idFilter=b", br#"{"id_filter":["a","b"]}"#).unwrap(),
            ["a", "b"]
        );
        assert_eq!(
            named("id_filter=b&includeBlacklisted=maybe", b"").unwrap(),
            ["b"]
        );
        for nothing in ["", "idFilter=", "includeBlacklisted=true"] {
            assert!(named(nothing, b"{}").is_err(), "{nothing}");
        }
        for bad in [&b"{"[..], b"[]x", br#"{"idFilter":"a"}"#] {
            assert!(named("", bad).is_err());
            assert_eq!(named("idFilter=b", bad).unwrap(), ["b"]);
        }
    }
}
