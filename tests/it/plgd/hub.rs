//! The front door of a plgd hub, as `conf/plgd-hub.yaml` describes it: its own rules, over TLS, in
//! front of services that demand a client certificate.

mod refusals;
mod world;

use http::HeaderMap;

use self::world::{Hub, REVOKED, Reply};
use crate::support::websocket::{handshake, switched};

const AGE: &str = "max-age=31536000; includeSubDomains";

/// A request to a path, the scope that it needs, the service that gets it, and the prefix that the
/// service does not get. The scope `public` needs no token, and `any` a token with any scope.
#[rustfmt::skip]
const REST: &[(&str, &str, &str, &str, &str)] = &[
    ("GET", "/api/v1/devices?typeFilter=a", "r:*", "gateway", ""),
    ("HEAD", "/api/v1/devices", "r:*", "gateway", ""),
    ("GET", "/api/v1/devices/1/resources/light/1", "r:*", "gateway", ""),
    ("PUT", "/api/v1/devices/1/resources/light/1", "w:*", "gateway", ""),
    ("POST", "/api/v1/devices/1/resource-links/a", "w:*", "gateway", ""),
    ("DELETE", "/api/v1/devices", "w:*", "gateway", ""),
    ("GET", "/api/v1/pending-commands", "r:*", "gateway", ""),
    ("GET", "/.well-known/configuration", "public", "gateway", ""),
    ("GET", "/.well-known/hub-configuration", "public", "gateway", ""),
    ("GET", "/web_configuration.json", "public", "gateway", ""),
    ("GET", "/", "public", "gateway", ""),
    ("GET", "/devices/1", "public", "gateway", ""),
    ("GET", "/static/js/main.js", "public", "gateway", ""),
    ("GET", "/apidocs", "public", "gateway", ""),
    ("GET", "/m2m-oauth-server/.well-known/openid-configuration", "public", "m2m", ""),
    ("POST", "/m2m-oauth-server/oauth/token", "public", "m2m", ""),
    ("POST", "/m2m-oauth-server/api/v1/tokens", "public", "m2m", ""),
    ("GET", "/m2m-oauth-server/api/v1/tokens?a", "any", "m2m", ""),
    ("DELETE", "/m2m-oauth-server/api/v1/tokens", "any", "m2m", ""),
    ("POST", "/certificate-authority/api/v1/sign/csr", "w:*", "ca", ""),
    ("GET", "/certificate-authority/api/v1/signing/records", "r:*", "ca", ""),
    ("GET", "/certificate-authority/api/v1/signing/crl/1", "public", "ca", ""),
    ("POST", "/api/v1/sign/identity-csr", "w:*", "ca", ""),
    ("GET", "/api/v1/signing/records", "r:*", "ca", ""),
    ("GET", "/snippet-service/api/v1/configurations", "r:*", "snippets", ""),
    ("POST", "/snippet-service/api/v1/conditions", "w:*", "snippets", ""),
    ("GET", "/snippet-service/configurations/add/1", "public", "gateway", ""),
    ("GET", "/device-provisioning-service/api/v1/hubs", "r:*", "provisioning", ""),
    ("GET", "/api/v1/provisioning-records", "r:*", "provisioning", ""),
    ("POST", "/api/v1/enrollment-groups", "w:*", "provisioning", ""),
    ("PUT", "/api/v1/hubs/1", "w:*", "provisioning", ""),
    ("GET", "/c2c/gw/api/v1/devices?content=all", "r:*", "cloudGateway", "/c2c/gw"),
    ("POST", "/c2c/gw/api/v1/devices/subscriptions", "r:*", "cloudGateway", "/c2c/gw"),
    ("DELETE", "/c2c/gw/api/v1/devices/1/light/subscriptions/2", "r:*", "cloudGateway", "/c2c/gw"),
    ("POST", "/c2c/gw/api/v1/devices/1/light/1", "w:*", "cloudGateway", "/c2c/gw"),
    ("POST", "/c2c/connector/api/v1/events", "public", "cloudConnector", "/c2c/connector"),
    ("GET", "/c2c/connector/api/v1/oauthCallback?c", "public", "cloudConnector", "/c2c/connector"),
    ("GET", "/c2c/connector/api/v1/clouds", "r:*", "cloudConnector", "/c2c/connector"),
    ("POST", "/c2c/connector/api/v1/clouds", "w:*", "cloudConnector", "/c2c/connector"),
    ("GET", "/authorize?client_id=test", "public", "oauth", ""),
    ("GET", "/authorize/userinfo", "public", "oauth", ""),
    ("POST", "/oauth/token", "public", "oauth", ""),
    ("GET", "/.well-known/openid-configuration", "public", "oauth", ""),
    ("GET", "/v2/logout", "public", "oauth", ""),
];

/// Calls of gRPC: the method, its scope and its service.
#[rustfmt::skip]
const GRPC: &[(&str, &str, &str)] = &[
    ("/grpcgateway.pb.GrpcGateway/GetHubConfiguration", "public", "grpc"),
    ("/grpcgateway.pb.GrpcGateway/GetDevices", "r:*", "grpc"),
    ("/grpcgateway.pb.GrpcGateway/SubscribeToEvents", "r:*", "grpc"),
    ("/grpcgateway.pb.GrpcGateway/UpdateResource", "w:*", "grpc"),
    ("/grpcgateway.pb.GrpcGateway/DeleteDevices", "w:*", "grpc"),
    ("/certificateauthority.pb.CertificateAuthority/GetSigningRecords", "r:*", "caGrpc"),
    ("/certificateauthority.pb.CertificateAuthority/SignCertificate", "w:*", "caGrpc"),
    ("/snippetservice.pb.SnippetService/GetConditions", "r:*", "snippetsGrpc"),
    ("/snippetservice.pb.SnippetService/InvokeConfiguration", "w:*", "snippetsGrpc"),
    ("/m2moauthserver.pb.M2MOAuthService/CreateToken", "public", "m2mGrpc"),
    ("/m2moauthserver.pb.M2MOAuthService/GetTokens", "any", "m2mGrpc"),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "public", "reflection"),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "public", "reflection"),
];

/// A user's token with the needed scope; `None` for a public path.
fn token(hub: &Hub, scope: &str) -> Option<String> {
    let scope = match scope {
        "public" => return None,
        "any" => "openid",
        scope => scope,
    };
    Some(hub.user().claim("scope", scope).sign())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_reaches_its_service_with_its_path() {
    let hub = Hub::start().await;
    for (method, target, scope, service, stripped) in REST {
        let path = &target[stripped.len()..];
        let reply = hub.rest(method, target, token(&hub, scope), &[]).await;
        assert_eq!(
            (
                reply.status,
                reply.header("x-service"),
                reply.header("x-target")
            ),
            (200, Some(*service), Some(path)),
            "{method} {target}: {reply:?}"
        );
        assert_eq!(reply.header("strict-transport-security"), Some(AGE));
        let seen = hub.last(service);
        assert_eq!(seen.header("host"), Some("hub.example"), "{target}");
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"), "{target}");
        assert_eq!(seen.bearer().is_some(), *scope != "public", "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_is_served_over_http_2_too() {
    let hub = Hub::start().await;
    for (method, target, scope, service, stripped) in REST.iter().step_by(7) {
        let path = &target[stripped.len()..];
        let reply = hub.http2(method, target, token(&hub, scope), &[]).await;
        assert_eq!(
            (
                reply.status,
                reply.header("x-service"),
                reply.header("x-target")
            ),
            (200, Some(*service), Some(path)),
            "{method} {target}: {reply:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_of_grpc_reaches_its_service() {
    let hub = Hub::start().await;
    for (path, scope, service) in GRPC {
        let reply = hub.grpc(path, token(&hub, scope)).await;
        assert_eq!(
            (reply.status, reply.header("x-service")),
            (200, Some(*service)),
            "{path}: {reply:?}"
        );
        assert_eq!(reply.header("strict-transport-security"), Some(AGE));
        let seen = hub.last_call(service);
        assert_eq!(seen.uri.path(), *path);
        let authorization = seen.headers.get("authorization");
        assert_eq!(authorization.is_some(), *scope != "public", "{path}");
        assert_eq!(seen.headers["te"], "trailers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_has_its_token_in_the_cookie_that_the_gateway_reads() {
    let hub = Hub::start().await;
    let token = hub.user().claim("scope", "r:*").sign();
    for (fields, protocol) in [
        (format!("Authorization: Bearer {token}\r\n"), None),
        (
            format!("Cookie: token={token}\r\nOrigin: https://hub.example\r\n"),
            None,
        ),
        (
            format!("Sec-WebSocket-Protocol: Bearer, {token}\r\nOrigin: https://hub.example\r\n"),
            Some("Bearer"),
        ),
    ] {
        let asked = handshake("/api/v1/ws/events?accept=application%2Fjson", &fields);
        let reply = hub.raw(asked.as_bytes()).await;
        assert_eq!(reply.status, 101, "{reply:?}");
        assert_eq!(reply.header("sec-websocket-protocol"), protocol);
        let seen = hub.last("gateway");
        let cookie = format!("token={token}");
        assert_eq!(seen.header("cookie"), Some(cookie.as_str()));
        assert_eq!(seen.header("authorization"), None);
        assert_eq!(seen.target, "/api/v1/ws/events?accept=application%2Fjson");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_of_a_program_is_refused() {
    let hub = Hub::start().await;
    let token = |jti: &str| {
        let token = hub.program().claim("jti", jti).without("exp");
        Some(
            token
                .claim("scope", "r:*")
                .claim("aud", [""].as_slice())
                .sign(),
        )
    };
    let live = "0c1d3d5e-2b3c-4a58-9a0e-5a8d6f1b2c3d";
    for (jti, status, reason) in [(live, 200, None), (REVOKED, 401, Some("revoked"))] {
        let reply = hub.rest("GET", "/api/v1/devices", token(jti), &[]).await;
        let outcome = (reply.status, reply.header("x-m2m-reason"));
        assert_eq!(outcome, (status, reason), "{jti}: {reply:?}");
        // The hub's services ask in the same way, with the token itself.
        let target = format!("/m2m-oauth-server/api/v1/tokens?idFilter={jti}");
        let reply = hub.rest("GET", &target, token(jti), &[]).await;
        assert_eq!(reply.status, status, "{jti}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_reads_only_itself() {
    let hub = Hub::start().await;
    let of_device = |id: Option<&str>| {
        let token = hub.user().claim("scope", "r:*");
        let token = id.map(|id| token.clone().claim("https://plgd.dev/deviceId", id));
        Some(
            token
                .unwrap_or_else(|| hub.user().claim("scope", "r:*"))
                .sign(),
        )
    };
    for (id, method, target, status) in [
        (
            Some("d1"),
            "GET",
            "/api/v1/devices/d1/resources/light/1",
            200,
        ),
        (Some("d1"), "GET", "/api/v1/devices/d1", 200),
        (
            Some("d1"),
            "GET",
            "/api/v1/devices/d2/resources/light/1",
            403,
        ),
        (Some("d1"), "GET", "/api/v1/devices/d2/../d1", 200),
        (Some("d1"), "GET", "/api/v1/devices", 403),
        (
            Some("d1"),
            "PUT",
            "/api/v1/devices/d1/resources/light/1",
            403,
        ),
        (Some("d1"), "GET", "/", 403),
        (None, "GET", "/api/v1/devices/d1", 403),
    ] {
        let reply = hub.to_devices(method, target, of_device(id)).await;
        assert_eq!(reply.status, status, "{id:?} {method} {target}: {reply:?}");
        assert_eq!(reply.header("strict-transport-security"), Some(AGE));
    }
}
