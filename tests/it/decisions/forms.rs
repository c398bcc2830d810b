//! Every form of a question × every decision.

use super::{FORMS, Original, World, is, outcome};
use crate::support::authority::{Authority, Endpoint};
use crate::support::client::get;
use crate::support::sidecar::Sidecar;
use crate::support::{AUDIENCE, eventually, logs, now};

#[tokio::test(flavor = "multi_thread")]
async fn each_form_permits_and_refuses_as_an_inbound_listener() {
    for form in FORMS {
        let world = World::new(form, "").await;
        let (read, write) = (world.bearer("devices:read"), world.bearer("devices:write"));
        let expired = world.authority.token().claim("exp", now() - 600).sign();
        let expired = format!("Bearer {expired}");
        for (method, uri, bearer, expected) in [
            ("GET", "/devices/7?x=1", Some(&read), is(200, "-")),
            ("HEAD", "/devices/7", Some(&read), is(200, "-")),
            ("PUT", "/devices/7", Some(&write), is(200, "-")),
            ("GET", "/public/a", None, is(200, "-")),
            ("GET", "/optional", None, is(200, "-")),
            ("GET", "/own/device-7/x", Some(&read), is(200, "-")),
            ("GET", "/host", Some(&read), is(200, "-")),
            ("GET", "/devices/7", None, is(401, "no_token")),
            ("GET", "/devices/7", Some(&expired), is(401, "expired")),
            ("GET", "/optional", Some(&expired), is(401, "expired")),
            ("PUT", "/devices/7", Some(&read), is(403, "scope")),
            ("GET", "/own/device-8/x", Some(&read), is(403, "equals")),
            ("DELETE", "/devices/7", Some(&write), is(403, "no_rule")),
            ("OPTIONS", "/devices/7", None, is(401, "no_token")),
            ("OPTIONS", "/devices/7", Some(&read), is(403, "no_rule")),
            ("TRACE", "/any", Some(&read), is(405, "method")),
            ("GET", "/net", Some(&read), is(403, "no_rule")),
        ] {
            let original = Original {
                method,
                ..Original::get(uri)
            };
            let answer = world.ask(form, original, bearer.map(String::as_str)).await;
            assert_eq!(outcome(&answer), expected, "{form} {method} {uri}");
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(
                answer.header("www-authenticate").is_some(),
                matches!(answer.status, 401) || matches!(expected.1.as_str(), "scope" | "equals"),
                "{form} {method} {uri}"
            );
        }
        let other_host = Original {
            host: "other.example",
            ..Original::get("/host")
        };
        let answer = world.ask(form, other_host, Some(&read)).await;
        assert_eq!(outcome(&answer), is(403, "no_rule"), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_the_one_that_the_proxy_reports() {
    for form in FORMS {
        let world = World::new(form, "").await;
        let bearer = world.bearer("a");
        for (headers, expected) in [
            (&[("X-Forwarded-For", "203.0.113.9")][..], is(200, "-")),
            // The nearest address is the one that the proxy has seen.
            (
                &[("X-Forwarded-For", "203.0.113.9, 198.51.100.1")],
                is(403, "no_rule"),
            ),
            (&[("X-Forwarded-For", "unknown")], is(403, "no_rule")),
            (&[("Forwarded", "for=203.0.113.9")], is(403, "no_rule")),
            (&[("X-Real-IP", "203.0.113.9")], is(403, "no_rule")),
        ] {
            let original = Original {
                headers,
                ..Original::get("/net")
            };
            let answer = world.ask(form, original, Some(&bearer)).await;
            assert_eq!(outcome(&answer), expected, "{form} {headers:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_the_answer_is_503() {
    for form in FORMS {
        let authority = Authority::start();
        authority.down().await;
        let sidecar = Sidecar::start(&super::yaml(&authority.issuer(), form, "")).await;
        let token = authority.token().sign();
        let world = World { authority, sidecar };
        let bearer = format!("Bearer {token}");
        let answer = world.ask(form, Original::get("/any"), Some(&bearer)).await;
        assert_eq!(outcome(&answer), is(503, "keys_unavailable"), "{form}");
        assert!(answer.header("retry-after").is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_count_the_client_and_not_the_proxy() {
    let limits = "    limits: { requestsPerSecond: 1, burst: 1, per: address }";
    for form in FORMS {
        let world = World::new(form, limits).await;
        let ask = async |client: &str| {
            let headers = [("X-Forwarded-For", client)];
            let original = Original {
                headers: &headers,
                ..Original::get("/public/a")
            };
            outcome(&world.ask(form, original, None).await)
        };
        assert_eq!(ask("203.0.113.1").await, is(200, "-"), "{form}");
        assert_eq!(ask("203.0.113.1").await, is(429, "rate_limited"), "{form}");
        assert_eq!(ask("203.0.113.2").await, is(200, "-"), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_question_may_only_ask_for_more() {
    for form in ["forwarded", "original"] {
        let world = World::new(form, "").await;
        let (read, both) = (
            world.bearer("devices:read"),
            world.bearer("devices:read extra"),
        );
        for (query, uri, bearer, expected) in [
            ("?scope=extra", "/devices/7", Some(&both), is(200, "-")),
            (
                "?scope=extra+devices%3Aread",
                "/devices/7",
                Some(&both),
                is(200, "-"),
            ),
            ("?scope=extra", "/devices/7", Some(&read), is(403, "scope")),
            (
                "?scope=extra+more",
                "/devices/7",
                Some(&both),
                is(403, "scope"),
            ),
            // A token that fits the question only does not fit the rule.
            (
                "?scope=extra",
                "/own/device-8/x",
                Some(&both),
                is(403, "equals"),
            ),
            (
                "?scope=devices%3Awrite",
                "/nowhere",
                Some(&both),
                is(403, "no_rule"),
            ),
            // A rule without a token needs one then.
            ("?scope=extra", "/public/a", None, is(401, "no_token")),
            ("?scope=extra", "/public/a", Some(&read), is(403, "scope")),
            ("?scope=extra", "/public/a", Some(&both), is(200, "-")),
            ("?scope=extra", "/optional", None, is(401, "no_token")),
            ("?scope=extra", "/optional", Some(&both), is(200, "-")),
            // Nothing else is a parameter.
            ("?scope=", "/public/a", None, is(400, "original_request")),
            (
                "?scopes=extra",
                "/public/a",
                None,
                is(400, "original_request"),
            ),
            (
                "?scope=a&scope=b",
                "/public/a",
                None,
                is(400, "original_request"),
            ),
            (
                "?allow=all",
                "/any",
                Some(&read),
                is(400, "original_request"),
            ),
            ("elsewhere", "/public/a", None, is(400, "original_request")),
        ] {
            let asked = world.ask_for(form, query, Original::get(uri), bearer.map(String::as_str));
            let answer = asked.await;
            assert_eq!(outcome(&answer), expected, "{form} {query} {uri}");
            if answer.status == 403 && uri == "/devices/7" {
                let challenge = answer.header("www-authenticate").unwrap_or_default();
                assert!(
                    challenge.contains("scope=\"devices:read extra"),
                    "{challenge}"
                );
            }
        }
    }
    // Envoy's question has the original query.
    let world = World::new("request", "").await;
    assert_eq!(
        world.get("request", "/public/a?scope=extra", None).await,
        is(200, "-")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_access_line_and_the_metrics_are_about_the_original_request() {
    for form in FORMS {
        let world = World::new(form, "").await;
        let mark = logs::mark();
        let (path, headers) = (
            format!("/devices/{form}?token=x"),
            [("X-Forwarded-For", "203.0.113.9")],
        );
        let original = Original {
            method: "PUT",
            headers: &headers,
            ..Original::get(&path)
        };
        world
            .ask(form, original, Some(&world.bearer("devices:read")))
            .await;
        let shown = format!("method=\"PUT\" path=\"/devices/{form}\" status=403");
        let line = logs::wait_for_line(mark, &[" access: ", &shown]).await;
        for part in [
            "role=\"decisions\"",
            &format!("listener=\"{form}\""),
            "peer=203.0.113.9 via=127.0.0.1:",
            "decision=\"deny\" reason=\"scope\"",
            "client_id=\"tester\"",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        world.get(form, "/public/a", None).await;
        let duration = format!(
            "m2m_request_duration_seconds_count{{role=\"decisions\",listener=\"{form}\"}} 2"
        );
        // A request is counted after its response.
        let metrics = eventually("both requests are counted", async || {
            let metrics = get(world.sidecar.address("probes"), "/metrics", &[]).await;
            Some(metrics.text()).filter(|it| it.contains(&duration))
        });
        let metrics = metrics.await;
        for (decision, reason) in [("deny", "scope"), ("allow", "public")] {
            let line = format!(
                "m2m_inbound_requests_total{{listener=\"{form}\",decision=\"{decision}\",\
                 reason=\"{reason}\"}} 1"
            );
            assert!(metrics.contains(&line), "{line}\n{metrics}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_in_shadow_mode_lets_pass_and_reports() {
    let world = World::new("original", "    mode: shadow").await;
    let mark = logs::mark();
    assert_eq!(
        world.get("original", "/devices/shadow", None).await,
        is(200, "-")
    );
    let line = logs::wait_for_line(mark, &[" access: ", "path=\"/devices/shadow\""]).await;
    assert!(
        line.contains("decision=\"shadow\" reason=\"no_token\""),
        "{line}"
    );
    // A question that cannot be read is refused in every mode.
    assert_eq!(
        world.get("original", "/a/../b", None).await,
        is(400, "ambiguous_path")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_and_status_show_the_listener() {
    let authority = Authority::start();
    let rules = "[{ paths: [\"/devices/**\"], scopes: [\"devices:read\"] }]";
    let yaml = format!(
        r#"
authorities: {{ users: {{ issuer: "{}" }} }}
stateDir: "@DIR@"
admin: {{ listen: "unix:@DIR@/admin" }}
decisions:
  - {{ name: deciding, listen: 127.0.0.1:0, from: original, authorities: [users],
      audiences: [{AUDIENCE}], rules: {rules} }}
"#,
        authority.issuer()
    );
    let sidecar = Sidecar::start(&yaml).await;
    authority.wait_for_fetches(Endpoint::Jwks, 1).await;
    let stream = tokio::net::UnixStream::connect(sidecar.path("admin")).await;
    let mut connection = crate::support::client::Connection::over(stream.expect("a listener"));
    connection
        .send("GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let listeners = connection.answer().await.json()["listeners"].to_string();
    assert!(listeners.contains("\"deciding\""), "{listeners}");
    let file = sidecar.path("sidecar.yaml");
    let file = file.to_str().expect("a path of ours");
    let explain = |path: &str| {
        let arguments = [
            "explain",
            "--config",
            file,
            "--listener",
            "deciding",
            "--path",
            path,
        ];
        crate::commands::text(&crate::commands::run(&arguments).stdout)
    };
    let said = explain("/devices/7");
    assert!(
        said.contains("no_token") && said.contains("devices:read"),
        "{said}"
    );
    let said = explain("/devices/../x");
    assert!(said.contains("dot segment"), "{said}");
}
