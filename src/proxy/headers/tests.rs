//! Tests of `headers`.

use super::*;

#[test]
fn overrides_of_path_and_method_are_removed() {
    let mut request = RequestHeader::build("POST", b"/", None).unwrap();
    for name in [
        "X-Original-URL",
        "x_rewrite_url",
        "X-HTTP-Method-Override",
        "X.HTTP.Method",
        "x-method_override",
    ] {
        request.append_header(name.to_owned(), "DELETE").unwrap();
    }
    request.append_header("x-original", "kept").unwrap();
    ClientHeaders::new::<&str>(&[], &[]).strip(&mut request, false);
    assert_eq!(
        request
            .headers
            .keys()
            .map(HeaderName::as_str)
            .collect::<Vec<_>>(),
        ["x-original"]
    );
}

#[test]
fn every_spelling_that_an_upstream_could_fold_is_removed() {
    let headers = ClientHeaders::new::<&str>(&[HeaderName::from_static("x-who")], &[]);
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    for name in [
        "x-who",
        "X_Who",
        "x-m2m-subject",
        "X_M2M_Subject",
        "x-m2m_scope",
        "X.M2M.Anything",
        "x~m2m~subject",
        "Content_Length",
        "transfer.encoding",
        "Grpc-Metadata-X-M2M-Subject",
        "grpc_metadata_x-who",
        "Grpc-Metadata-Authorization",
        "Grpc-Metadata-X-HTTP-Method",
    ] {
        request.append_header(name.to_owned(), "admin").unwrap();
    }
    request.append_header("x-m2n-subject", "kept").unwrap();
    headers.strip(&mut request, false);
    assert_eq!(
        request
            .headers
            .keys()
            .map(HeaderName::as_str)
            .collect::<Vec<_>>(),
        ["x-m2n-subject"]
    );
}

fn kept(patterns: &[&str], names: &[&str], is_trusted: bool) -> Vec<String> {
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    for name in names {
        request.append_header((*name).to_owned(), "x").unwrap();
    }
    ClientHeaders::new(&[], patterns).strip(&mut request, is_trusted);
    let mut kept: Vec<_> = request
        .headers
        .keys()
        .map(|name| name.as_str().to_owned())
        .collect();
    kept.sort_unstable();
    kept
}

#[test]
fn headers_of_other_proxies_are_removed_in_every_spelling() {
    let forged = [
        "Remote-User",
        "remote_user",
        "Remote.Groups",
        "X-Auth-Request-Email",
        "x_auth_request_access_token",
        "X-Original-Method",
        "X-Client-IP",
        "Client-Cert",
        "Client-Cert-Chain",
        "x_auth_user",
        "X-Auth-Groups",
        "true~client~ip",
        "PROXY",
        "X-SSL-Client-Verify",
        "Grpc-Metadata-X-Remote-User",
    ];
    assert_eq!(kept(OF_OTHER_PROXIES, &forged, false), [""; 0]);
    let others = [
        "remoteuser",
        "proxy-x",
        "x-auth-token",
        "x-user-agent",
        "cookie",
        "host",
        "x-client",
    ];
    assert_eq!(kept(OF_OTHER_PROXIES, &others, false).len(), others.len());
    assert_eq!(
        kept(OF_OTHER_PROXIES, &forged, true),
        [
            "client-cert",
            "client-cert-chain",
            "grpc-metadata-x-remote-user",
            "proxy",
            "remote-user",
            "x-auth-groups",
            "x-auth-request-email",
            "x-client-ip",
            "x-original-method",
            "x-ssl-client-verify"
        ],
        "of a trusted peer only the usual spelling"
    );
    let own = ["X_Tenant", "x-a*"];
    assert_eq!(
        kept(
            &own,
            &["x-tenant", "x_tenant", "x.tenant", "x-abc", "y"],
            false
        ),
        ["y"]
    );
    assert_eq!(
        kept(&own, &["x-tenant", "x_tenant", "x.tenant", "x-abc"], true),
        ["x-abc", "x-tenant", "x_tenant"]
    );
    assert_eq!(kept(&[], &["remote-user"], false), ["remote-user"]);
}

#[test]
fn headers_that_report_the_origin_are_removed_in_every_spelling() {
    let names = [
        "Forwarded",
        "X-Forwarded-For",
        "x_forwarded_for",
        "X-Forwarded-Prefix",
        "X.Forwarded.Prefix",
        "X-Real-IP",
        "Grpc-Metadata-X-Forwarded-For",
    ];
    assert_eq!(kept(&[], &names, false), [""; 0]);
    assert_eq!(
        kept(&[], &names, true),
        ["x-forwarded-for", "x-forwarded-prefix"]
    );
    let others = ["forwarded-by", "x-forwarded", "x-forward-for", "x-real"];
    assert_eq!(kept(&[], &others, false).len(), others.len());
}

#[test]
fn short_beginnings_meet_every_name_that_begins_so() {
    let names = ["x", "x-", "x-a", "x_b", "xa", "y", "--x"];
    assert_eq!(kept(&["*"], &names, false), [""; 0]);
    assert_eq!(kept(&["x*"], &names, false), ["--x", "y"]);
    assert_eq!(kept(&["X-*"], &names, false), ["--x", "x", "xa", "y"]);
    assert_eq!(kept(&["x-"], &names, false).len(), names.len() - 1);
    assert_eq!(kept(&["x"], &names, false).len(), names.len() - 1);
}
