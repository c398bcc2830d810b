//! Fields that a client must not be able to set, to remove, or to pass on.

use super::{BAD, Case, OK, World};

/// A handshake that breaks a rule.
const WEBSOCKET: (u16, &str) = (400, "websocket");
const MALFORMED: super::Expected = (400, "malformed_authorization");
const TWICE: super::Expected = (400, "two_authorizations");

/// For a request with a valid token. A value `forged` must not arrive.
pub const FIELDS: &[Case<'static>] = &[
    (
        "identity",
        "x-m2m-subject: forged\r\nX-M2M-Client-Id: forged\r\nx-m2m-scope: forged\r\n\r\n",
        &[OK],
    ),
    (
        "identity with underscores",
        "X_M2M_Subject: forged\r\n\r\n",
        &[OK],
    ),
    ("identity with dots", "x.m2m.subject: forged\r\n\r\n", &[OK]),
    (
        "identity in other marks",
        "x~m2m!subject: forged\r\nx|m2m|scope: forged\r\n\r\n",
        &[OK],
    ),
    (
        "identity twice",
        "x-m2m-subject: forged\r\nx-m2m-subject: forged\r\n\r\n",
        &[OK],
    ),
    (
        "identity of another listener",
        "x-m2m-tenant: forged\r\n\r\n",
        &[OK],
    ),
    (
        "identity with a space before the colon",
        "x-m2m-subject : forged\r\n\r\n",
        &[BAD],
    ),
    (
        "identity with a tab before the colon",
        "x-m2m-subject\t: forged\r\n\r\n",
        &[BAD],
    ),
    (
        "identity folded into another field",
        "X: y\r\n x-m2m-subject: forged\r\n\r\n",
        &[BAD],
    ),
    ("a reason", "x-m2m-reason: forged\r\n\r\n", &[OK]),
    (
        "Connection names identity",
        "Connection: close, x-m2m-subject, x-m2m-scope\r\n\r\n",
        &[OK],
    ),
    (
        "Connection names the token",
        "Connection: authorization\r\n\r\n",
        &[OK],
    ),
    (
        "Connection names what is forwarded",
        "Connection: x-real-ip, forwarded\r\n\r\n",
        &[OK],
    ),
    (
        "Connection names X-Forwarded-For",
        "Connection: x-forwarded-for\r\n\r\n",
        &[BAD],
    ),
    ("Connection names Host", "Connection: host\r\n\r\n", &[BAD]),
    (
        "Connection names too much",
        "Connection: a,b,c,d,e,f,g,h,i,j,k,l\r\n\r\n",
        &[BAD],
    ),
    (
        "Connection names no token",
        "Connection: \"x-m2m-subject\"\r\n\r\n",
        &[BAD],
    ),
    (
        "Connection twice",
        "Connection: keep-alive\r\nConnection: x-secret\r\nX-Secret: forged\r\n\r\n",
        &[OK],
    ),
    (
        "an imitated Connection",
        "Connection_: close\r\nCon.nection: x\r\n\r\n",
        &[OK],
    ),
    ("Keep-Alive", "Keep-Alive: timeout=forged\r\n\r\n", &[OK]),
    (
        "Proxy-Connection",
        "Proxy-Connection: forged\r\n\r\n",
        &[OK],
    ),
    (
        "Proxy-Authorization",
        "Proxy-Authorization: Basic forged\r\n\r\n",
        &[OK],
    ),
    (
        "an imitated Proxy-Authorization",
        "Proxy_Authorization: Basic forged\r\n\r\n",
        &[OK],
    ),
    ("TE", "TE: trailers\r\nConnection: TE\r\n\r\n", &[OK]),
    ("Trailer", "Trailer: forged\r\n\r\n", &[OK]),
    (
        "h2c",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: forged\r\n\r\n",
        &[OK],
    ),
    (
        "h2c, not nominated",
        "Upgrade: h2c\r\nHTTP2-Settings: forged\r\n\r\n",
        &[OK],
    ),
    (
        "a WebSocket of another version",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        &[WEBSOCKET],
    ),
    (
        "an upgrade with a body",
        "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 41\r\n\r\n{s}",
        &[WEBSOCKET],
    ),
    (
        "an upgrade with a request behind",
        "Connection: Upgrade\r\nUpgrade: foo\r\n\r\n{s}",
        &[OK, super::NO_TOKEN],
    ),
    (
        "X-Forwarded-*",
        "X-Forwarded-For: forged\r\nX-Forwarded-Proto: forged\r\nX-Forwarded-Host: forged\r\n\r\n",
        &[OK],
    ),
    (
        "X-Forwarded-* of other kinds",
        "X-Forwarded-Port: forged\r\nX-Forwarded-Prefix: forged\r\n\r\n",
        &[OK],
    ),
    (
        "X-Forwarded-* that tell of a user",
        "X-Forwarded-User: forged\r\nX-Forwarded-Email: forged\r\nX-Forwarded-Groups: forged\r\n\
        X-Forwarded-Preferred-Username: forged\r\n\r\n",
        &[OK],
    ),
    (
        "X-Forwarded-* that tell of a connection",
        "X-Forwarded-Client-Cert: forged\r\nX-Forwarded-Ssl: forged\r\nX-Forwarded-Scheme: \
        forged\r\nx-forwarded-anything: forged\r\n\r\n",
        &[OK],
    ),
    (
        "X-Forwarded-* in other marks",
        "x_forwarded_user: forged\r\nX.Forwarded.Groups: forged\r\nX-Forwarded_Client-Cert: \
        forged\r\nX|Forwarded|Ssl: forged\r\n\r\n",
        &[OK],
    ),
    (
        "a user of an authenticating proxy",
        "X-Auth-Request-User: forged\r\nX-Auth-Request-Groups: forged\r\nRemote-User: forged\r\n\
        remote_user: forged\r\nX-Remote-Group: forged\r\n\r\n",
        &[OK],
    ),
    (
        "where another proxy says that it comes from",
        "X-Original-Method: forged\r\nX-Original-URI: forged\r\nX-Client-IP: forged\r\n\
        True-Client-IP: forged\r\ntrue_client_ip: forged\r\nCF-Connecting-IP: forged\r\n\r\n",
        &[OK],
    ),
    (
        "a proxy for CGI programs",
        "Proxy: http://forged\r\n\r\n",
        &[OK],
    ),
    (
        "metadata for gRPC",
        "Grpc-Metadata-X-M2M-Subject: forged\r\nGrpc-Metadata-X-Forwarded-User: forged\r\n\
        grpc_metadata_remote-user: forged\r\nGrpc-Metadata-Authorization: Bearer forged\r\n\r\n",
        &[OK],
    ),
    (
        "X_Forwarded_For",
        "X_Forwarded_For: forged\r\nX.Forwarded-For: forged\r\n\r\n",
        &[OK],
    ),
    (
        "Forwarded",
        "Forwarded: for=forged\r\nForwarded: for=forged\r\n\r\n",
        &[OK],
    ),
    (
        "X-Real-IP",
        "X-Real-IP: forged\r\nX_Real_IP: forged\r\n\r\n",
        &[OK],
    ),
    (
        "a second token",
        "Authorization: Bearer forged\r\n\r\n",
        &[TWICE],
    ),
    (
        "a second token, in small letters",
        "authorization: Bearer forged\r\n\r\n",
        &[TWICE],
    ),
    (
        "a second token of another scheme",
        "Authorization: Basic YTpi\r\n\r\n",
        &[TWICE],
    ),
    (
        "a second token by folding",
        "\tBearer forged\r\n\r\n",
        &[BAD],
    ),
    (
        "a second token in an imitation",
        "Authorization_: Bearer x\r\nauthori.zation: Bearer x\r\n\r\n",
        &[OK],
    ),
];

const TOKENS: &[Case<'static>] = &[
    (
        "two in one field",
        "GET /devices/{m} HTTP/1.1\r\n{h}Authorization: Bearer {t}, Bearer x\r\n\r\n",
        &[MALFORMED],
    ),
    (
        "two words",
        "GET /devices/{m} HTTP/1.1\r\n{h}Authorization: Bearer {t} {t}\r\n\r\n",
        &[MALFORMED],
    ),
    (
        "a space before the colon",
        "GET /devices/{m} HTTP/1.1\r\n{h}Authorization : Bearer {t}\r\n\r\n",
        &[BAD],
    ),
    (
        "the token on the next line",
        "GET /devices/{m} HTTP/1.1\r\n{h}Authorization: Bearer\r\n {t}\r\n\r\n",
        &[BAD],
    ),
    (
        "only as Proxy-Authorization",
        "GET /devices/{m} HTTP/1.1\r\n{h}Proxy-Authorization: Bearer {t}\r\n\r\n",
        &[super::NO_TOKEN],
    ),
    (
        "only in the query",
        "GET /devices/{m}?access_token={t} HTTP/1.1\r\n{h}\r\n",
        &[super::NO_TOKEN],
    ),
    (
        "only as a trailer",
        "POST /devices/{m} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: \
        Bearer {t}\r\n\r\n",
        &[super::NO_TOKEN],
    ),
    (
        "only in an imitation",
        "GET /devices/{m} HTTP/1.1\r\n{h}Authorization_: Bearer {t}\r\n\r\n",
        &[super::NO_TOKEN],
    ),
    (
        "for another path by dots",
        "GET /devices/../admin/smuggled HTTP/1.1\r\n{h}Authorization: Bearer {t}\r\n\r\n",
        &[(403, "scope")],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_a_client_passes_for_one_of_ours() {
    let mut world = World::new("").await;
    let head = "GET /devices/{m} HTTP/1.1\r\n{h}Authorization: Bearer {t}\r\n";
    let wires: Vec<_> = FIELDS
        .iter()
        .map(|(_, fields, _)| format!("{head}{fields}"))
        .collect();
    let rows = FIELDS
        .iter()
        .zip(&wires)
        .map(|((name, _, expected), wire)| (*name, wire.as_str(), *expected));
    world.run(&rows.collect::<Vec<_>>()).await;
    let seen = world.recorder.requests();
    for request in seen
        .iter()
        .filter(|request| request.target.starts_with("/devices/"))
    {
        for name in [
            "x-m2m-subject",
            "x-m2m-client-id",
            "x-m2m-scope",
            "x-forwarded-for",
            "forwarded",
            "x-real-ip",
        ] {
            assert_eq!(request.all(name).len(), 1, "{name}: {}", request.head);
        }
        assert_eq!(request.all("x-m2m-subject"), ["tester"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_place_for_a_token() {
    World::new("").await.run(TOKENS).await;
}
