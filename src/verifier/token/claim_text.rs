//! Claims as texts: for headers and for the comparisons of rules.

use http::HeaderValue;
use serde_json::Value;

use super::{ITEM_END, Reading};
use crate::domain::claims::Claims;
use crate::domain::reason::Reason;
use crate::domain::scope::ScopeSet;
use crate::verifier::Profile;

/// The token's audiences. plgd joins audiences into one text, alone or as the only item of a list.
pub(super) fn audiences(claims: &Claims, profile: Profile) -> Result<Vec<&str>, Reason> {
    let audiences = claims.strings("aud").map_err(|_| Reason::MalformedClaims)?;
    Ok(match (profile, audiences.as_slice()) {
        (Profile::Plgd, [joined]) => joined.split(' ').filter(|part| !part.is_empty()).collect(),
        _ => audiences,
    })
}

/// A claim as a header value: strings as they are, numbers and booleans in JSON, lists of those
/// joined by spaces. Other values and missing claims give `None`.
///
/// # Errors
/// [`Reason::MalformedClaims`] if the upstream could read another value: characters that no header
/// holds, spaces at an end, and list items that look like two.
pub(super) fn header_text(
    claims: &Claims,
    scopes: &ScopeSet,
    name: &str,
) -> Result<Option<String>, Reason> {
    if name == "scope" && (claims.contains("scope") || !scopes.is_empty())
        || name == "scp" && claims.contains("scp")
    {
        return Ok(Some(scopes.to_string()));
    }
    let text = match claims.find(name) {
        Some(Value::Array(items)) => {
            let Some(items) = items.iter().map(scalar).collect::<Option<Vec<_>>>() else {
                return Ok(None);
            };
            if items
                .iter()
                .any(|item| item.is_empty() || item.contains(is_blank))
            {
                return Err(Reason::MalformedClaims);
            }
            Some(items.join(" "))
        }
        Some(value) => scalar(value),
        None => None,
    };
    text.as_deref().map_or(Ok(None), in_header)
}

/// A text that fits into a header unchanged.
pub(super) fn in_header(text: &str) -> Result<Option<String>, Reason> {
    let stands = HeaderValue::from_str(text).is_ok() && text.trim_matches(is_blank) == text;
    if stands {
        Ok(Some(text.to_owned()))
    } else {
        Err(Reason::MalformedClaims)
    }
}

/// The items of a compared claim. The issuer has several spellings where slashes do not count.
pub(super) fn compared_items(claims: &Claims, name: &str, reading: &Reading<'_>) -> Option<String> {
    let items = claim_items(claims, name)?;
    if name != "iss" || reading.profile == Profile::Standard {
        return Some(items);
    }
    let spellings = reading
        .issuer
        .spellings()
        .into_iter()
        .filter(|text| !text.contains(ITEM_END));
    Some(
        std::iter::once(items)
            .chain(spellings)
            .collect::<Vec<_>>()
            .join(&ITEM_END.to_string()),
    )
}

/// Whether an upstream may cut off a character at the end of a header value, or split a list there:
/// Unicode white space, and characters that some libraries treat as such.
fn is_blank(character: char) -> bool {
    character.is_whitespace()
        || matches!(character, '\u{180e}' | '\u{200b}' | '\u{2060}' | '\u{feff}')
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// A claim as rules compare it: its text, or those of its items.
fn claim_items(claims: &Claims, name: &str) -> Option<String> {
    let value = claims.find(name)?;
    let items = value
        .as_array()
        .map_or(std::slice::from_ref(value), Vec::as_slice);
    let texts: Vec<_> = items
        .iter()
        .filter_map(scalar)
        .filter(|text| !text.contains(ITEM_END))
        .collect();
    Some(texts.join(&ITEM_END.to_string()))
}
