//! `explain`: which rule and which check decide about a request, and why.
//!
//! The request is judged by the code that judges requests ([`inbound::judge`]). Checks have an order and the first that
//! fails decides, so its reason says how far the request came; here it is only put into words.

mod shown;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueHint};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use zeroize::Zeroizing;

use super::{ConfigFile, Ended};
use crate::app::explain::{KeysFetched, listener_verifier, own_paths};
use crate::config::Config;
use crate::domain::clock::SystemClock;
use crate::domain::path::NormalPath;
use crate::domain::reason::Reason;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::files::{self, ReadError};
use crate::proxy::inbound::{self, Judged};
use crate::proxy::respond;
use crate::verifier::rules::Rules;
use crate::verifier::{Access, Audiences, MAX_TOKEN_BYTES, Mode, Needs, RuleConfig};
use shown::Shown;

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Exits with 0 when the request would be let through, with 1 when it would be refused. The token is read from a file or
from standard input, never printed; of its claims only iss, sub, client_id, aud, scope, exp, nbf and iat are. Its
signature is checked with keys that are fetched for it, from where `run` would fetch them; those of the
configuration's own issuer from the sidecar that runs it. Without a token nothing is fetched. Neither limits are
judged, nor is it asked whether the token was revoked.

Examples:
  m2m-sidecar explain --config sidecar.yaml --listener devices --path /devices/7
  m2m-sidecar token --config client.yaml --credential reporting |
    m2m-sidecar explain --config sidecar.yaml --listener devices --method DELETE --path /devices/7 --token-file -";

/// Which request.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// The inbound listener's name
    #[arg(long, value_name = "NAME")]
    listener: String,
    /// The request's method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: Method,
    /// The request's path as the client sends it
    #[arg(long, value_name = "PATH")]
    path: String,
    /// A file with the access token that the request carries; `-` for standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
}

/// Judges the request and prints why it is judged so.
pub fn explain(options: &Options) -> anyhow::Result<()> {
    let config = super::load(&options.file.config)?;
    let Some(listener) = config.inbound.iter().find(|listener| listener.name == options.listener) else {
        let names: Vec<_> = config.inbound.iter().map(|listener| listener.name.as_str()).collect();
        let names = names.join(", ");
        return Err(Ended::Usage(format!(
            "no inbound listener is named `{}`; known are: {names}",
            options.listener
        ))
        .into());
    };
    let token = options.token_file.as_deref().map(read_token).transpose()?;
    let path = options.path.split('?').next().unwrap_or_default();
    let request = Request { config: &config, listener, method: &options.method, path, token: token.as_ref() };
    let (lines, passes) = super::runtime()?.block_on(request.explain())?;
    super::print(lines.0.trim_end())?;
    if passes { Ok(()) } else { Err(Ended::Refused.into()) }
}

fn read_token(file: &Path) -> anyhow::Result<SecretString> {
    let mut bytes = Zeroizing::new(Vec::new());
    // Longer than any token, so that one that is too long is still seen to be.
    let most = 4 * MAX_TOKEN_BYTES as u64;
    let read = if file == Path::new("-") {
        std::io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    let unusable = |error: ReadError| Ended::Usage(format!("the token file {} {error}", file.display()));
    read.map_err(|error| unusable(error.into()))?;
    Ok(SecretString::from(files::text(&bytes).map_err(unusable)?.trim()))
}

/// A request to a listener.
struct Request<'a> {
    config: &'a Config,
    listener: &'a inbound::Config,
    method: &'a Method,
    path: &'a str,
    token: Option<&'a SecretString>,
}

/// How a request was judged.
enum Outcome {
    Own,
    Passes(Reason),
    PassesInShadow(Reason),
    Refused(Reason),
}

impl Request<'_> {
    async fn explain(&self) -> anyhow::Result<(Lines, bool)> {
        let verifier_config = &self.listener.verifier;
        let mut lines = Lines::default();
        let shadow =
            if verifier_config.mode == Mode::Shadow { ", in shadow mode: it enforces nothing" } else { "" };
        lines.add("listener", format!("{}{shadow}", self.listener.name));
        lines.add("request", format!("{} {}", self.method, self.path.escape_debug()));
        let own = own_paths(self.config, self.listener);
        let path = NormalPath::parse_with(self.path, self.listener.ordinary);
        match &path {
            Ok(path) => lines.add("path", format!("{} in normal form", path.as_str())),
            Err(why) => lines.add("path", format!("REFUSED: {why}")),
        }
        let rule = match &path {
            Ok(path) if !own.contains(path.as_str()) => {
                let position = Rules::compile(&verifier_config.rules)?.position(path, self.method.as_str());
                let rule =
                    position.and_then(|position| Some((position, verifier_config.rules.get(position)?)));
                lines.rule(rule, verifier_config.rules.len());
                rule.map(|(_, rule)| rule)
            }
            _ => None,
        };
        let shown = self.token.map(|token| Shown::read(token.expose_secret()));
        let is_public = rule.is_some_and(|rule| rule.access == Access::Public);
        let issuer =
            shown.as_ref().and_then(|shown| shown.text("iss")).filter(|_| path.is_ok() && !is_public);
        let clock = Arc::new(SystemClock);
        let (verifier, keys) = listener_verifier(self.config, self.listener, issuer, clock).await?;
        let judged = inbound::judge(
            &verifier,
            Some(&own),
            self.method,
            (self.path, self.listener.ordinary),
            &self.headers()?,
        )
        .await;
        let outcome = match &judged {
            Ok(Judged::Own(_)) => Outcome::Own,
            Ok(Judged::Permitted(_, permit)) if permit.would_be_refused() => {
                Outcome::PassesInShadow(permit.reason())
            }
            Ok(Judged::Permitted(_, permit)) => Outcome::Passes(permit.reason()),
            Err(refusal) => Outcome::Refused(refusal.reason),
        };
        if let (
            Some(shown),
            Outcome::Passes(reason) | Outcome::PassesInShadow(reason) | Outcome::Refused(reason),
        ) = (&shown, &outcome)
            && *reason != Reason::Public
        {
            lines.add("token", shown.summary());
            self.checks(&mut lines, shown, rule, keys, *reason);
        }
        let passes = lines.outcome(&outcome);
        if passes && shown.is_some() && !is_public {
            lines.add("revocation", "not asked for".to_owned());
        }
        if passes && self.listener.limits.is_some() {
            lines.add("limits", "not judged: they depend on what else comes".to_owned());
        }
        Ok((lines, passes))
    }

    fn headers(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        if let Some(token) = self.token {
            let text = SecretString::from(["Bearer ", token.expose_secret()].concat());
            let mut value = HeaderValue::from_str(text.expose_secret()).map_err(|_| {
                Ended::Usage("the token file holds characters that no header can carry".to_owned())
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }

    /// The checks of the token up to the one that decided. What comes after it was not looked at.
    fn checks(
        &self,
        lines: &mut Lines,
        shown: &Shown,
        rule: Option<&RuleConfig>,
        keys: Option<KeysFetched>,
        reason: Reason,
    ) {
        use Reason as R;
        let verifier = &self.listener.verifier;
        let authority = self.config.authorities.iter().find(|authority| {
            verifier.authorities.contains(&authority.name)
                && Some(authority.issuer.as_str()) == shown.text("iss")
        });
        let issuer = match authority {
            Some(authority) => format!("`iss` is that of the authority `{}`", authority.name),
            None => format!("known are the authorities {}", verifier.authorities.join(", ")),
        };
        let keys = match keys {
            Some(Ok(count)) => format!("kid {}; keys fetched: {count}", shown.header_text("kid")),
            Some(Err(why)) => format!("{why} (a running sidecar may still have keys that it fetched before)"),
            None => format!("kid {}", shown.header_text("kid")),
        };
        let skew = authority.map_or(0, |authority| authority.clock_skew.as_secs());
        let accepted = match &verifier.audiences {
            Audiences::Any => "any".to_owned(),
            Audiences::OneOf(accepted) => accepted.join(", "),
        };
        let needs = match rule.map(|rule| &rule.access) {
            Some(Access::Token(needs)) => needs.clone(),
            _ => Needs::default(),
        };
        let checks: [(&str, &[Reason], String); 12] = [
            (
                "form",
                &[R::MalformedAuthorization, R::TokenTooLarge, R::MalformedToken, R::CriticalHeader],
                format!("{} bytes", shown.bytes),
            ),
            ("algorithm", &[R::Algorithm], shown.header_text("alg")),
            ("type", &[R::TokenType], shown.header_text("typ")),
            ("issuer", &[R::UnknownIssuer], issuer),
            ("key", &[R::KeysUnavailable, R::UnknownKid], keys),
            ("signature", &[R::Signature], String::new()),
            ("claims", &[R::NoExpiry, R::SenderConstrained, R::MalformedClaims], String::new()),
            (
                "times",
                &[R::Expired, R::NotYetValid, R::IssuedInFuture],
                format!("{}, skew {skew} s", shown.times()),
            ),
            ("audience", &[R::Audience], format!("accepted: {accepted}")),
            ("some rule", &[R::NoRule], String::new()),
            ("scopes", &[R::Scope], scopes_of(&needs)),
            ("rule's claims", &[R::Claim], claims_of(&needs)),
        ];
        let decided = checks.iter().position(|(_, reasons, _)| reasons.contains(&reason));
        for (place, (name, _, detail)) in checks.into_iter().enumerate() {
            let verdict = match decided {
                // Another check refused, whose place among these is not known: nothing is claimed.
                None if reason != R::Permitted => return,
                Some(decided) if place == decided => "REFUSED",
                _ => "ok",
            };
            let asked = !matches!(name, "some rule" | "scopes" | "rule's claims") || !detail.is_empty();
            if asked || verdict == "REFUSED" {
                let separator = if detail.is_empty() { "" } else { ": " };
                lines.add(name, format!("{verdict}{separator}{detail}"));
            }
            if verdict == "REFUSED" {
                return;
            }
        }
    }
}

fn scopes_of(needs: &Needs) -> String {
    let all = (!needs.scopes.is_empty()).then(|| format!("all of {}", needs.scopes));
    let any = (!needs.any_scope.is_empty()).then(|| format!("one of {}", needs.any_scope));
    all.into_iter().chain(any).collect::<Vec<_>>().join(" and ")
}

fn claims_of(needs: &Needs) -> String {
    let claim = |need: &crate::verifier::ClaimNeed| format!("{} = {}", need.name, need.values.join(" or "));
    needs.claims.iter().map(claim).collect::<Vec<_>>().join(", ")
}

/// What is said, one thing a line.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, what: &str, text: String) {
        self.0.push_str(format!("{what:<14} {text}").trim_end());
        self.0.push('\n');
    }

    fn rule(&mut self, rule: Option<(usize, &RuleConfig)>, count: usize) {
        let Some((position, rule)) = rule else {
            return self.add("rule", format!("none of {count} matches"));
        };
        let methods =
            if rule.methods.is_empty() { String::new() } else { format!(", {}", rule.methods.join(" ")) };
        let paths = rule.paths.join(" ");
        self.add("rule", format!("{} of {count}, on line {}: {paths}{methods}", position + 1, rule.line));
        let needs = match &rule.access {
            Access::Public => "nothing: the rule is public".to_owned(),
            Access::Token(needs) => {
                let further = [("scopes", scopes_of(needs)), ("claims", claims_of(needs))];
                let further = further.iter().filter(|(_, text)| !text.is_empty());
                further
                    .fold("a valid token".to_owned(), |said, (what, text)| format!("{said}; {what}: {text}"))
            }
        };
        self.add("needs", needs);
    }

    /// Says what becomes of the request; whether it passes.
    fn outcome(&mut self, outcome: &Outcome) -> bool {
        let status = |reason| respond::table(reason).map_or(500, |row| row.status);
        let (decision, passes, reason) = match outcome {
            Outcome::Own => ("allow (local)".to_owned(), true, Reason::Local),
            Outcome::Passes(reason) => (format!("allow ({})", reason.code()), true, *reason),
            Outcome::PassesInShadow(reason) => (
                format!("shadow ({}), enforced it would be {}", reason.code(), status(*reason)),
                true,
                *reason,
            ),
            Outcome::Refused(reason) => {
                (format!("deny ({}), {}", reason.code(), status(*reason)), false, *reason)
            }
        };
        self.add("decision", decision);
        self.add("", reason.meaning().to_owned());
        if !matches!(outcome, Outcome::Own | Outcome::Passes(_)) {
            self.add("advice", reason.advice().to_owned());
        }
        passes
    }
}
