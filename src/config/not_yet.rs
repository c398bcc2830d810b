//! Planned keys and values that are not supported yet.
//!
//! They are refused with a message of their own. Ignoring them would give less protection than the
//! file says, and "unknown key" would suggest a typo. An entry is removed when its code is added.

use super::tree::KeyPath;

/// Keys, as patterns of [`KeyPath::matches`].
pub(super) const KEYS: &[&str] = &[
    "admin.tokens",
    "issuer.clients[].limits",
    "issuer.clients[].plan",
    "issuer.clients[].registry",
    "issuer.plans",
];

/// The unsupported values of a key.
enum Values {
    Are(&'static [&'static str]),
    BeginWith(&'static [&'static str]),
}

/// Unsupported values of supported keys.
const VALUES: &[(&str, Values)] = &[
    (
        "issuer.clients[].allowedGrantTypes[]",
        Values::Are(&["urn:ietf:params:oauth:grant-type:jwt-bearer"]),
    ),
    ("authorities.*.revocation", Values::Are(&["statusList"])),
    (
        "authorities.*.revocation.kind",
        Values::Are(&["statusList"]),
    ),
    (
        "store.url",
        Values::BeginWith(&["postgres:", "postgresql:"]),
    ),
];

const NO_SERVICE: &str = "a listener of `decisions` forwards nothing: the proxy that asks has the \
                          service, so set it up there";
const NO_UPGRADE: &str = "a proxy does not pass the handshake of a WebSocket to the listener that \
                          decides, so its other headers decide: remove this key";

/// Plausible keys that will never be supported, with their replacement.
const INSTEAD: &[(&str, &str)] = &[
    ("decisions[].upstream", NO_SERVICE),
    ("decisions[].upstreams", NO_SERVICE),
    ("decisions[].upstreamTls", NO_SERVICE),
    ("decisions[].upstreamTimeouts", NO_SERVICE),
    ("decisions[].upstreamAuthorization", NO_SERVICE),
    ("decisions[].authorization", NO_SERVICE),
    ("decisions[].preserveHost", NO_SERVICE),
    ("decisions[].maxBody", NO_SERVICE),
    ("decisions[].removeHeaders", NO_SERVICE),
    ("decisions[].streams", NO_SERVICE),
    ("decisions[].cors", NO_SERVICE),
    ("decisions[].responseHeaders", NO_SERVICE),
    ("decisions[].privateCache", NO_SERVICE),
    ("decisions[].issuer", NO_SERVICE),
    ("decisions[].egressProxy", NO_SERVICE),
    ("decisions[].wsIdle", NO_UPGRADE),
    ("decisions[].allowedOrigins", NO_UPGRADE),
    ("decisions[].tokenCookie", NO_UPGRADE),
    (
        "issuer.clients[].secret",
        "the configuration holds no secrets: put the secret into a file and set `secretFile`",
    ),
    (
        "issuer.clients[].clientSecret",
        "the configuration holds no secrets: put the secret into a file and set `secretFile`",
    ),
    (
        "issuer.signing.privateKey",
        "the configuration holds no keys: put the key into a file and set `privateKeyFile`",
    ),
    (
        "credentials.*.clientSecret",
        "the configuration holds no secrets: put the secret into a file and set `clientSecretFile`",
    ),
    (
        "credentials.*.secret",
        "the configuration holds no secrets: put the secret into a file and set `clientSecretFile`",
    ),
];

/// All unsupported keys and values, for the reference documentation.
pub(super) fn all() -> impl Iterator<Item = (&'static str, Vec<String>)> {
    let values = VALUES.iter().map(|(key, values)| {
        let values = match values {
            Values::Are(values) => values.iter().map(ToString::to_string).collect(),
            Values::BeginWith(beginnings) => beginnings.iter().map(|it| format!("{it}…")).collect(),
        };
        (*key, values)
    });
    KEYS.iter().map(|key| (*key, Vec::new())).chain(values)
}

/// Whether a key is not supported yet.
pub(super) fn is_key(path: &KeyPath) -> bool {
    KEYS.iter().any(|pattern| path.matches(pattern))
}

/// Whether a value is not supported yet.
pub(super) fn is_value(path: &KeyPath, text: &str) -> bool {
    VALUES.iter().any(|(pattern, values)| {
        path.matches(pattern)
            && match values {
                Values::Are(values) => values.contains(&text),
                Values::BeginWith(beginnings) => beginnings
                    .iter()
                    .any(|beginning| text.starts_with(beginning)),
            }
    })
}

/// The advice for a key that will never be supported.
pub(super) fn instead_of(path: &KeyPath) -> Option<&'static str> {
    INSTEAD
        .iter()
        .find(|(pattern, _)| path.matches(pattern))
        .map(|(_, instead)| *instead)
}

/// The names of unsupported keys of a mapping: candidates for a misspelt key.
pub(super) fn keys_in(mapping: &KeyPath) -> impl Iterator<Item = &str> {
    KEYS.iter().filter_map(move |pattern| {
        let (parent, name) = pattern.rsplit_once('.').unwrap_or(("", pattern));
        let here = if parent.is_empty() {
            *mapping == KeyPath::default()
        } else {
            mapping.matches(parent)
        };
        here.then_some(name)
    })
}
