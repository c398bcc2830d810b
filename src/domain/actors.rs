//! The actors of a token: the claim `act` (RFC 8693 §4.1), as a list.

use serde_json::{Map, Value};

use super::claims::Claims;

/// The most actors of a token.
pub const MOST: usize = 8;
/// The longest identifier of an actor, in bytes.
const LONGEST: usize = 256;
/// Stands between two actors in a log line.
const TO: &str = " > ";

/// The claim `act` is no chain of objects that each name an actor, or it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the claim `act` is malformed or too long")]
pub struct MalformedActors;

/// A party that acts for the subject of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// Its `sub`.
    pub subject: Option<String>,
    /// The issuer of that name.
    pub issuer: Option<String>,
    /// The client through which it acted.
    pub client_id: Option<String>,
}

impl Actor {
    /// The client, or else the subject.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.client_id.as_deref().or(self.subject.as_deref());
        name.unwrap_or_default()
    }

    fn of(members: &Map<String, Value>) -> Result<Self, MalformedActors> {
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if matches!(text.len(), 1..=LONGEST) => {
                Ok(Some(text.clone()))
            }
            Some(_) => Err(MalformedActors),
        };
        let actor = Self {
            subject: text("sub")?,
            issuer: text("iss")?,
            client_id: text("client_id")?,
        };
        if actor.name().is_empty() {
            return Err(MalformedActors);
        }
        Ok(actor)
    }

    fn members(&self) -> Map<String, Value> {
        let members = [
            ("sub", &self.subject),
            ("iss", &self.issuer),
            ("client_id", &self.client_id),
        ];
        let members = members.into_iter();
        let members = members.filter_map(|(name, text)| Some((name, text.as_deref()?)));
        members
            .map(|(name, text)| (name.to_owned(), text.into()))
            .collect()
    }
}

/// The actors of a token, the current one first. A token without `act` has none.
///
/// # Errors
/// [`MalformedActors`]. An actor that cannot be read must not look like none.
pub fn of(claims: &Claims) -> Result<Vec<Actor>, MalformedActors> {
    let mut actors = Vec::new();
    let mut next = claims.get("act");
    while let Some(value) = next {
        let members = value.as_object().ok_or(MalformedActors)?;
        if actors.len() == MOST {
            return Err(MalformedActors);
        }
        actors.push(Actor::of(members)?);
        next = members.get("act");
    }
    Ok(actors)
}

/// The claim `act` of these actors, the current one first; `None` without one.
#[must_use]
pub fn claim(actors: &[Actor]) -> Option<Value> {
    let nested = |inner: Option<Value>, actor: &Actor| {
        let mut members = actor.members();
        if let Some(inner) = inner {
            members.insert("act".to_owned(), inner);
        }
        Some(Value::Object(members))
    };
    actors.iter().rev().fold(None, nested)
}

/// The names of the actors in the order in which they acted, for a log line.
#[must_use]
pub fn shown(actors: &[Actor]) -> Option<String> {
    let names: Vec<&str> = actors.iter().rev().map(Actor::name).collect();
    (!names.is_empty()).then(|| names.join(TO))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(act: &Value) -> Result<Vec<Actor>, MalformedActors> {
        of(&Claims::from(Map::from_iter([(
            "act".to_owned(),
            act.clone(),
        )])))
    }

    #[test]
    fn a_chain_is_read_and_written() {
        let act = json!({"sub": "b", "client_id": "b", "act": {"sub": "ann", "iss": "https://i"}});
        let actors = read(&act).unwrap();
        assert_eq!(actors.len(), 2);
        assert_eq!(claim(&actors), Some(act));
        assert_eq!(shown(&actors).as_deref(), Some("ann > b"));
        assert_eq!(of(&Claims::default()), Ok(Vec::new()));
        assert_eq!((claim(&[]), shown(&[])), (None, None));
    }

    #[test]
    fn other_members_are_left_out() {
        let actors = read(&json!({"sub": "b", "exp": 5, "groups": ["x"]})).unwrap();
        assert_eq!(claim(&actors), Some(json!({"sub": "b"})));
    }

    #[test]
    fn a_malformed_chain_is_an_error() {
        let mut long = json!({"sub": "x"});
        for _ in 0..MOST {
            long = json!({"sub": "x", "act": long});
        }
        for act in [
            json!("b"),
            json!(null),
            json!({}),
            json!({"sub": 5}),
            json!({"sub": ""}),
            json!({"sub": "x".repeat(257)}),
            json!({"sub": "b", "act": []}),
            json!({"sub": "b", "client_id": false}),
            json!({"sub": "b", "act": {"iss": "https://i"}}),
            long,
        ] {
            assert_eq!(read(&act), Err(MalformedActors), "{act}");
        }
    }
}
