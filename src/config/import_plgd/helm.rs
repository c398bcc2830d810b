//! Values of plgd's Helm chart → the configuration that the chart makes of them, as far as it
//! matters here.
//!
//! Each value keeps its place in the file, so that messages name its line. What the values do not
//! say is the chart's default (plgd-hub 2.x, `templates/m2m-oauth-server/config.yaml`).

use crate::config::tree::{Data, Entry, Node, Position, Text};

/// Whether a document holds values of the chart that concern the m2m-oauth-server.
pub(super) fn is_values(document: &Node) -> bool {
    get(document, &["oauthSigner"]).is_none()
        && (get(document, &["m2moauthserver"]).is_some()
            || get(document, &["global", "m2mOAuthServer"]).is_some())
}

/// Puts values over others, as `helm` does with several files: a mapping is merged, everything else
/// replaced.
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

/// The configuration that the chart makes of values.
pub(super) fn configuration(values: &Node) -> Node {
    let server = |keys: &[&str]| get(values, &[&["m2moauthserver"][..], keys].concat()).cloned();
    let global = |keys: &[&str]| get(values, &[&["global"][..], keys].concat()).cloned();
    let at = global(&["m2mOAuthServer"])
        .or_else(|| server(&[]))
        .map_or(values.at, |node| node.at);
    let text = |value: &str| plain(at, value);
    let owner_claim = || {
        server(&["oauthSigner", "ownerClaim"])
            .or_else(|| global(&["ownerClaim"]))
            .unwrap_or_else(|| text("sub"))
    };
    let trusted = endpoints(values, at);
    let signer = [
        ("privateKeyFile", private_key(values, at)),
        (
            "domain",
            server(&["domain"])
                .or_else(|| server(&["oauthSigner", "domain"]))
                .or_else(|| global(&["domain"])),
        ),
        ("ownerClaim", Some(owner_claim())),
        (
            "deviceIDClaim",
            server(&["oauthSigner", "deviceIdClaim"])
                .or_else(|| server(&["oauthSigner", "deviceIDClaim"]))
                .or_else(|| global(&["deviceIdClaim"]))
                .or_else(|| global(&["deviceIDClaim"])),
        ),
        ("clients", Some(clients(values, at, &trusted))),
    ];
    let authorization = server(&["apis", "grpc", "authorization"]);
    let has_endpoints = authorization
        .as_ref()
        .is_some_and(|given| get(given, &["endpoints"]).is_some());
    let authorization = match authorization {
        Some(given) if has_endpoints => given,
        _ => map(
            at,
            [
                ("ownerClaim", Some(owner_claim())),
                ("endpoints", Some(list(at, trusted))),
            ],
        ),
    };
    let port = match server(&["httpPort"]).map(|node| node.data) {
        Some(Data::Integer(port)) => port.to_string(),
        Some(Data::Text(port)) => port.value,
        _ => "9101".to_owned(),
    };
    let address =
        server(&["apis", "http", "address"]).unwrap_or_else(|| text(&format!("0.0.0.0:{port}")));
    let log = [("level", "info"), ("encoding", "json")].map(|(key, default)| {
        (
            key,
            Some(server(&["log", key]).unwrap_or_else(|| text(default))),
        )
    });
    let storage = map(at, [("use", Some(text("mongoDB")))]);
    map(
        at,
        [
            ("log", Some(map(at, log))),
            (
                "apis",
                Some(map(
                    at,
                    [
                        (
                            "grpc",
                            Some(map(at, [("authorization", Some(authorization))])),
                        ),
                        ("http", Some(map(at, [("address", Some(address))]))),
                    ],
                )),
            ),
            ("clients", Some(map(at, [("storage", Some(storage))]))),
            ("oauthSigner", Some(map(at, signer))),
        ],
    )
}

/// A key that stands in the values is content that has to be put into a file; its text goes no
/// further than here.
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

/// The clients that are listed, or the one of the chart: it brings assertions of the hub's own
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

/// Gives a client that names no authorities for its assertions those of the hub.
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

/// Whom the hub's services trust: `global.authorization.endpoints`, or `global.authority` alone.
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

/// A value that says something.
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
