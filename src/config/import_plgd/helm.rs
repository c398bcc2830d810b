//! Generates the configuration that plgd's Helm chart creates from its values, as far as it is
//! imported.
//!
//! Each value keeps its position in the file for messages. Missing values take the chart's defaults
//! (plgd-hub 2.x, `templates/m2m-oauth-server/config.yaml`).

use crate::config::tree::{Data, Entry, Node, Position, Text};

/// Whether a document contains values for the m2m-oauth-server.
pub(super) fn is_values(document: &Node) -> bool {
    get(document, &["oauthSigner"]).is_none()
        && (get(document, &["m2moauthserver"]).is_some()
            || get(document, &["global", "m2mOAuthServer"]).is_some())
}

/// Merges values like `helm` does with several files: mappings are merged, other values replaced.
pub(super) fn overlay(below: &mut Node, above: Node) {
    match (&mut below.data, above.data) {
        (Data::Map(below), Data::Map(above)) => {
            for entry in above {
                match below.iter_mut().find(|known| known.key == entry.key) {
                    Some(known) => overlay(&mut known.value, entry.value),
                    None => below.push(entry),
                }
            }
        }
        (data, above) => *data = above,
    }
}

/// The chart's configuration for some values.
pub(super) fn configuration(values: &Node) -> Node {
    let at = first(
        values,
        &[&["global", "m2mOAuthServer"], &["m2moauthserver"]],
    )
    .map_or(values.at, |node| node.at);
    let trusted = endpoints(values, at);
    let signer = signer(values, at, &trusted);
    let grpc = map(
        at,
        [("authorization", Some(authorization(values, at, trusted)))],
    );
    let http = map(at, [("address", Some(http_address(values, at)))]);
    let storage = map(at, [("use", Some(plain(at, "mongoDB")))]);
    let log = [("level", "info"), ("encoding", "json")].map(|(key, default)| {
        let given = get(values, &["m2moauthserver", "log", key]).cloned();
        (key, Some(given.unwrap_or_else(|| plain(at, default))))
    });
    map(
        at,
        [
            ("log", Some(map(at, log))),
            (
                "apis",
                Some(map(at, [("grpc", Some(grpc)), ("http", Some(http))])),
            ),
            ("clients", Some(map(at, [("storage", Some(storage))]))),
            ("oauthSigner", Some(signer)),
        ],
    )
}

/// The first of several keys that has a value.
fn first(values: &Node, keys: &[&[&str]]) -> Option<Node> {
    keys.iter().find_map(|keys| get(values, keys)).cloned()
}

fn owner_claim(values: &Node, at: Position) -> Node {
    let keys: [&[&str]; 2] = [
        &["m2moauthserver", "oauthSigner", "ownerClaim"],
        &["global", "ownerClaim"],
    ];
    first(values, &keys).unwrap_or_else(|| plain(at, "sub"))
}

fn signer(values: &Node, at: Position, trusted: &[Node]) -> Node {
    let domain = first(
        values,
        &[
            &["m2moauthserver", "domain"],
            &["m2moauthserver", "oauthSigner", "domain"],
            &["global", "domain"],
        ],
    );
    let device_id_claim = first(
        values,
        &[
            &["m2moauthserver", "oauthSigner", "deviceIdClaim"],
            &["m2moauthserver", "oauthSigner", "deviceIDClaim"],
            &["global", "deviceIdClaim"],
            &["global", "deviceIDClaim"],
        ],
    );
    map(
        at,
        [
            ("privateKeyFile", private_key(values, at)),
            ("domain", domain),
            ("ownerClaim", Some(owner_claim(values, at))),
            ("deviceIDClaim", device_id_claim),
            ("clients", Some(clients(values, at, trusted))),
        ],
    )
}

fn authorization(values: &Node, at: Position, trusted: Vec<Node>) -> Node {
    let given = get(values, &["m2moauthserver", "apis", "grpc", "authorization"]);
    match given.filter(|given| get(given, &["endpoints"]).is_some()) {
        Some(given) => given.clone(),
        None => map(
            at,
            [
                ("ownerClaim", Some(owner_claim(values, at))),
                ("endpoints", Some(list(at, trusted))),
            ],
        ),
    }
}

fn http_address(values: &Node, at: Position) -> Node {
    if let Some(address) = get(values, &["m2moauthserver", "apis", "http", "address"]) {
        return address.clone();
    }
    let port = match get(values, &["m2moauthserver", "httpPort"]).map(|node| &node.data) {
        Some(Data::Integer(port)) => port.to_string(),
        Some(Data::Text(port)) => port.value.clone(),
        _ => "9101".to_owned(),
    };
    plain(at, &format!("0.0.0.0:{port}"))
}

/// The path of the private key. A key in the values must be written to a file; its text is not used
/// here.
fn private_key(values: &Node, at: Position) -> Option<Node> {
    if let Some(file) = get(values, &["m2moauthserver", "oauthSigner", "privateKeyFile"]) {
        return Some(file.clone());
    }
    if let Some(inline) = get(values, &["global", "m2mOAuthServer", "privateKey"]) {
        return Some(plain(inline.at, "data:,"));
    }
    let of_mount = |key: &str, default: &str| {
        let given = get(values, &["m2moauthserver", "privateKey", key]);
        given.and_then(as_text).unwrap_or(default).to_owned()
    };
    let mount = of_mount("mountPath", "/secrets/keys");
    Some(plain(
        at,
        &format!(
            "{}/{}",
            mount.trim_end_matches('/'),
            of_mount("fileName", "private.key")
        ),
    ))
}

/// The listed clients, or the default client of the chart, which sends assertions of the hub's
/// authority.
fn clients(values: &Node, at: Position, trusted: &[Node]) -> Node {
    let listed = get(values, &["m2moauthserver", "oauthSigner", "clients"])
        .or_else(|| get(values, &["global", "m2mOAuthServer", "clients"]));
    let mut clients = match listed.map(|listed| (listed, &listed.data)) {
        Some((_, Data::List(items))) => items.clone(),
        Some((other, _)) => return other.clone(),
        None if trusted.is_empty() => Vec::new(),
        None => {
            let assertion = map(
                at,
                [(
                    "enabled",
                    Some(Node {
                        at,
                        data: Data::Bool(true),
                    }),
                )],
            );
            vec![map(
                at,
                [
                    ("id", Some(plain(at, "jwt-private-key"))),
                    ("jwtPrivateKey", Some(assertion)),
                ],
            )]
        }
    };
    clients
        .iter_mut()
        .for_each(|client| trust_by_default(client, trusted));
    if let Some(secret) = get(values, &["global", "m2mOAuthServer", "clientServiceSecret"]) {
        let secret_file = Some(plain(secret.at, "data:,"));
        clients.push(map(
            secret.at,
            [
                ("id", Some(plain(secret.at, "service"))),
                ("secretFile", secret_file),
            ],
        ));
    }
    list(at, clients)
}

/// Adds the hub's authorities to a client without authorities for its assertions.
fn trust_by_default(client: &mut Node, trusted: &[Node]) {
    let at = client.at;
    let named = ["endpoints", "authority"];
    if named
        .iter()
        .any(|key| get(client, &["jwtPrivateKey", "authorization", key]).is_some())
    {
        return;
    }
    let Data::Map(entries) = &mut client.data else {
        return;
    };
    let Some(assertion) = entries
        .iter_mut()
        .find(|entry| entry.key == "jwtPrivateKey")
    else {
        return;
    };
    let endpoints = map(at, [("endpoints", Some(list(at, trusted.to_vec())))]);
    overlay(
        &mut assertion.value,
        map(at, [("authorization", Some(endpoints))]),
    );
}

/// The authorities of the hub's services: `global.authorization.endpoints`, or `global.authority`
/// alone.
fn endpoints(values: &Node, at: Position) -> Vec<Node> {
    if let Some(Node {
        data: Data::List(items),
        ..
    }) = get(values, &["global", "authorization", "endpoints"])
    {
        return items.clone();
    }
    let authority = get(values, &["global", "authority"]).cloned();
    authority
        .into_iter()
        .map(|authority| map(at, [("authority", Some(authority))]))
        .collect()
}

/// A value, unless it is null or blank.
fn get<'a>(node: &'a Node, keys: &[&str]) -> Option<&'a Node> {
    let found = keys.iter().try_fold(node, |node, key| match &node.data {
        Data::Map(entries) => entries
            .iter()
            .find(|entry| entry.key == *key)
            .map(|entry| &entry.value),
        _ => None,
    });
    found.filter(|node| match &node.data {
        Data::Null => false,
        Data::Text(text) => !text.value.trim().is_empty(),
        _ => true,
    })
}

fn as_text(node: &Node) -> Option<&str> {
    if let Data::Text(text) = &node.data {
        Some(&text.value)
    } else {
        None
    }
}

fn plain(at: Position, value: &str) -> Node {
    Node {
        at,
        data: Data::Text(Text {
            value: value.to_owned(),
            plain: false,
            template: None,
        }),
    }
}

fn list(at: Position, items: Vec<Node>) -> Node {
    Node {
        at,
        data: Data::List(items),
    }
}

fn map<const N: usize>(at: Position, members: [(&str, Option<Node>); N]) -> Node {
    let members = members
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    let entries = members
        .map(|(key, value)| Entry {
            key: key.to_owned(),
            at: value.at,
            value,
        })
        .collect();
    Node {
        at,
        data: Data::Map(entries),
    }
}
