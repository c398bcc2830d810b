//! `${NAME}` inside values.
//!
//! Variables are replaced after the YAML is parsed, so that they can neither add keys nor end a
//! string. Only values are replaced, never keys. A replaced value keeps its text from the file,
//! because messages must not show the variable.

use super::problem::Findings;
use super::tree::{Data, KeyPath, Node};

/// The source of variables; tests pass a closure.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The environment of this process. A variable that is not UTF-8 counts as unset.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the only code that reads the environment for the configuration"
)]
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Replaces every `${NAME}` at and below a node.
pub(super) fn interpolate(
    node: &mut Node,
    path: &KeyPath,
    environment: Environment<'_>,
    findings: &mut Findings,
) {
    match &mut node.data {
        Data::List(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                interpolate(item, &path.index(i), environment, findings);
            }
        }
        Data::Map(entries) => {
            for entry in entries {
                interpolate(
                    &mut entry.value,
                    &path.key(&entry.key),
                    environment,
                    findings,
                );
            }
        }
        Data::Text(text) => match replace(&text.value, environment) {
            Ok(None) => {}
            Ok(Some(value)) => text.template = Some(std::mem::replace(&mut text.value, value)),
            Err(message) => {
                findings.error(path, message);
                node.data = Data::Broken;
            }
        },
        Data::Null | Data::Bool(_) | Data::Integer(_) | Data::Float(_) | Data::Broken => {}
    }
}

/// The text with its variables replaced; `None` if it has none. `$${` is the escape of `${`.
fn replace(text: &str, environment: Environment<'_>) -> Result<Option<String>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        let after = from.strip_prefix("${").unwrap_or(from);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = after;
            continue;
        }
        out.push_str(before);
        let Some((name, tail)) = after.split_once('}').filter(|(name, _)| is_name(name)) else {
            return Err(
                "`${` must be followed by the name of an environment variable and `}`; write `$${` \
                 for the literal characters"
                    .to_owned(),
            );
        };
        let value = environment(name)
            .ok_or_else(|| format!("the environment variable `{name}` is not set"))?;
        out.push_str(&value);
        rest = tail;
    }
    out.push_str(rest);
    Ok(Some(out))
}

fn is_name(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && name.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_owned()),
            "UNSET" => None,
            _ => Some(format!("<{name}>")),
        }
    }

    #[test]
    fn variables_are_replaced_once_and_literally() {
        for (text, expected) in [
            ("http://${HOST}:${PORT}/", "http://<HOST>:<PORT>/"),
            ("${EMPTY}", ""),
            ("$${HOST} ${HOST}", "${HOST} <HOST>"),
            ("${NESTED}", "${HOST}"),
            ("a$${", "a${"),
            ("€${A_1}€", "€<A_1>€"),
        ] {
            assert_eq!(replace(text, &env), Ok(Some(expected.to_owned())), "{text}");
        }
        for text in ["", "$HOST", "$", "{HOST}", "a$$b"] {
            assert_eq!(replace(text, &env), Ok(None), "{text}");
        }
    }

    #[test]
    fn unset_variables_and_malformed_names_are_errors() {
        for text in ["${}", "${", "${A-B}", "${A:-b}", "${1A}", "${A", "${ä}"] {
            assert!(
                replace(text, &env)
                    .unwrap_err()
                    .contains("must be followed"),
                "{text}"
            );
        }
        assert!(
            replace("x${UNSET}", &env)
                .unwrap_err()
                .contains("`UNSET` is not set")
        );
    }
}
