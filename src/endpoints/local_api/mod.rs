//! `GET /token/{credential}`: tokens for programs on this machine that attach them themselves.
//! `POST /exchange` gives a token in exchange for that of a caller, and `POST /introspect` verifies
//! one. The paths and bodies of NAIS Texas (`/api/v1/token`, `/api/v1/token/exchange`,
//! `/api/v1/introspect`) work too.
//!
//! Every program that reaches the listener gets a token, so it listens on loopback only. Web pages
//! reach loopback too, and a service may be tricked into fetching a URL there. Neither can set the
//! required header, and neither uses one of the allowed host names.

mod exchange;
mod introspect;
mod parameters;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{CACHE_CONTROL, HOST, ORIGIN, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

pub use self::introspect::Introspect;
use super::{JSON, NO_CACHE, NO_STORE, error_answer, line, method_not_allowed};
use crate::domain::host::{host_name, is_beyond_dns, is_cross_site};
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::token_source::{AccessToken, TokenSource, TokenUnavailable};

/// The header that programs must send, with the value 1.
const MARK: &str = "x-m2m-sidecar";

type Sources = HashMap<String, TokenSource>;

/// The parts behind the endpoints.
#[derive(Clone)]
struct Api {
    sources: Arc<Sources>,
    /// Those that exchange the tokens of callers.
    exchanging: Arc<Sources>,
    introspect: Option<Introspect>,
}

/// The router, for the credentials with `localApi: true`.
pub fn router(
    sources: impl IntoIterator<Item = TokenSource>,
    introspect: Option<Introspect>,
) -> Router {
    let allowed = sources
        .into_iter()
        .filter(|source| source.config().local_api);
    let by_name = allowed.map(|source| (source.name().to_owned(), source));
    let (exchanging, sources): (Sources, Sources) =
        by_name.partition(|(_, source)| source.is_exchanging());
    let api = Api {
        sources: Arc::new(sources),
        exchanging: Arc::new(exchanging),
        introspect,
    };
    Router::new()
        .route("/token/{credential}", get(token))
        .route("/exchange", post(exchange::exchange))
        .route("/introspect", post(introspect::introspect))
        .route("/api/v1/token", post(exchange::token))
        .route("/api/v1/token/exchange", post(exchange::exchange))
        .route("/api/v1/introspect", post(introspect::introspect))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_credential)
        .with_state(api)
        .layer(from_fn(guard))
}

/// One answer for unknown and for disallowed credentials, so that it reveals no names.
async fn no_such_credential() -> Response {
    let text = "there is no such credential, or its token is not handed out (`localApi: true`)";
    error_answer(StatusCode::NOT_FOUND, "not_found", text)
}

async fn guard(request: Request, next: Next) -> Response {
    match check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(text) => error_answer(StatusCode::FORBIDDEN, "access_denied", text),
    }
}

fn check(headers: &HeaderMap) -> Result<(), &'static str> {
    // Only HTTP/1.0 has no `Host`, and no browser uses it.
    let is_here = |host: &HeaderValue| {
        host.to_str()
            .is_ok_and(|host| is_beyond_dns(host_name(host)))
    };
    if !headers.get(HOST).is_none_or(is_here) {
        return Err("call it by an IP address or `localhost`");
    }
    if is_cross_site(headers) || headers.contains_key(ORIGIN) {
        return Err("it is for programs, not for pages in a browser");
    }
    let mut marks = headers.get_all(MARK).iter();
    match (marks.next().map(HeaderValue::as_bytes), marks.next()) {
        (Some(b"1"), None) => Ok(()),
        _ => Err("the header `X-M2M-Sidecar: 1` is missing"),
    }
}

/// The answer of a token endpoint (RFC 6749 §5.1). `Cache-Control: no-cache` means that the
/// upstream refused the previous token: the program gets another one if an outbound listener would
/// fetch one.
async fn token(
    State(api): State<Api>,
    Path(credential): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(source) = api.sources.get(&credential) else {
        return no_such_credential().await;
    };
    token_of(source, is_refused(&headers)).await
}

/// The token of a credential. `is_refused`: the upstream refused the previous one.
async fn token_of(source: &TokenSource, is_refused: bool) -> Response {
    match source.token().await {
        Ok(token) => {
            let token = if is_refused {
                source.replacement(&token).await.unwrap_or(token)
            } else {
                token
            };
            answer(&token, source.usable_for(&token))
        }
        Err(reason) => unavailable(&reason),
    }
}

fn unavailable(reason: &TokenUnavailable) -> Response {
    let text = "no access token is available; the sidecar's log and `/status` say why";
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let mut answer = error_answer(status, "temporarily_unavailable", text);
    let seconds = HeaderValue::from(reason.retry_after_secs());
    answer.headers_mut().insert(RETRY_AFTER, seconds);
    answer
}

fn is_refused(headers: &HeaderMap) -> bool {
    let directives = headers
        .get_all(CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    directives
        .flat_map(|value| value.split(','))
        .any(|it| it.trim().eq_ignore_ascii_case("no-cache"))
}

fn answer(token: &AccessToken, usable_for: Duration) -> Response {
    let expires_in = usable_for.as_secs();
    let body = json!({
        "access_token": token.secret().expose_secret(),
        "token_type": "Bearer",
        "expires_in": expires_in,
    });
    // The sidecar's copy is wiped.
    let body = SecretString::from(line(body.to_string()));
    ([JSON, NO_STORE, NO_CACHE], body.expose_secret().to_owned()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(pairs: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check(&headers).is_ok()
    }

    #[test]
    fn only_programs_on_this_machine_that_mean_it_are_let_in() {
        let (here, mark) = (("host", "127.0.0.1:9902"), (MARK, "1"));
        for host in ["127.0.0.1:9902", "localhost", "[::1]:9902"] {
            assert!(is_allowed(&[("host", host), mark]), "{host}");
        }
        assert!(!is_allowed(&[here]), "no mark");
        assert!(!is_allowed(&[here, (MARK, "0")]));
        assert!(!is_allowed(&[here, mark, mark]));
        assert!(is_allowed(&[mark]), "HTTP/1.0");
        assert!(!is_allowed(&[("host", "rebound.example:9902"), mark]));
        for (name, value) in [
            ("origin", "http://127.0.0.1:9902"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!is_allowed(&[here, mark, (name, value)]), "{name}: {value}");
        }
        assert!(is_allowed(&[here, mark, ("sec-fetch-site", "none")]));
    }
}
