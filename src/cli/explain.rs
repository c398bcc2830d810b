//! `explain`: shows which rule and which check decide about a request, and why.
//!
//! The code that handles requests evaluates it ([`dry_run`](crate::proxy::dry_run)) and reports the
//! checks; this file only formats them.

mod authority;
mod input;
mod lines;
mod may_call;
mod shown;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueHint};
use http::Method;
use serde_json::json;

use super::{ConfigFile, Ended};
use crate::app::explain::{Evaluation, Explained, KeysFetched, own_paths};
use crate::app::would_issue::WouldIssue;
use crate::config::Config;
use crate::domain::clock::SystemClock;
use crate::domain::duration::written;
use crate::domain::path::NormalPath;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::proxy::dry_run::Request;
use crate::proxy::inbound::{self, Received};
use crate::verifier::rules::{Rules, nearest};
use crate::verifier::{Access, Audiences, Check, Needs, RuleConfig};
use input::{fields, peer, read_token};
use lines::{Lines, claims_of, equals_of, scopes_of};
use shown::Shown;

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Exits with 0 when the request would pass, with 1 when it would be refused. The token is read from a
file or from standard input and never printed. Of its claims only iss, sub, client_id, aud, scope,
exp, nbf and iat are printed. As in `run`, its signature is verified with keys that are fetched for
it, and its issuer is queried about revocation. An opaque token is introspected. The
configuration's own issuer is queried at the running sidecar. Without a token nothing is fetched.
For `limits` the request counts as the first one, because the counters of a running sidecar are not
available. If no rule matches, the nearest one and the difference are printed.

With `--to LISTENER` and `--from CLIENT` no token is needed and nothing is fetched: the issuer's own
code makes the token that the client would get, and the listener's own code decides about it. The
lines of both files that decide are named. Clients of the store are not read.

Examples:
  m2m-sidecar explain --config sidecar.yaml --listener devices --path /devices/7
  m2m-sidecar token --config client.yaml --credential reporting |
    m2m-sidecar explain --config sidecar.yaml --listener devices --method DELETE --path /devices/7 \
    --token-file -
  m2m-sidecar explain --config devices.yaml --issuer-config issuer.yaml --from reporting \
    --to devices --method DELETE --path /devices/7";

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// The name of a listener of `inbound` or `decisions`
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "to",
        conflicts_with = "to"
    )]
    listener: Option<String>,
    /// The same, for the question whether the client `--from` may call it; no token is needed
    #[arg(
        long,
        value_name = "NAME",
        requires = "from",
        conflicts_with_all = ["headers", "token_file"]
    )]
    to: Option<String>,
    /// The request's method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: Method,
    /// The request's path as the client sends it, with its query if it has one
    #[arg(long, value_name = "PATH")]
    path: String,
    /// A further header of the request, such as `Content-Length: 5000`; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// With `--to`, the id of the calling client. With `--listener`, the address that the request
    /// comes from [default: 127.0.0.1]
    #[arg(long, value_name = "CLIENT|ADDRESS")]
    from: Option<String>,
    /// With `--to`: the configuration of the client's issuer, if it is another file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "to")]
    issuer_config: Option<PathBuf>,
    /// With `--to`: an audience that the client asks for; may be repeated. Default: all it is
    /// allowed
    #[arg(long = "audience", value_name = "AUDIENCE", requires = "to")]
    audiences: Vec<String>,
    /// With `--to`: a scope that the client asks for; may be repeated. Default: all it is allowed
    #[arg(long = "scope", value_name = "SCOPE", requires = "to")]
    scopes: Vec<String>,
    /// A file with the access token that the request carries; `-` for standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,
    /// Print the decision and what led to it as JSON
    #[arg(long)]
    json: bool,
}

/// Evaluates the request and prints the decision with its reasons.
pub fn explain(options: &Options) -> anyhow::Result<()> {
    let config = super::load(&options.file.config)?;
    if let Some(to) = &options.to {
        return may_call::explain(options, &config, to);
    }
    let listener = find_listener(&config, options.listener.as_deref().unwrap_or_default())?;
    let token = options.token_file.as_deref().map(read_token).transpose()?;
    let asked = Explanation {
        config: &config,
        listener,
        request: Request {
            method: options.method.as_str(),
            target: &options.path,
            fields: fields(&options.headers, token.as_ref())?,
            peer: peer(options.from.as_deref())?,
        },
        token: token.as_ref(),
        issued: None,
    };
    asked.print(options.json, Lines::default())
}

/// The listener with a name.
fn find_listener<'c>(config: &'c Config, name: &str) -> anyhow::Result<&'c inbound::Config> {
    let deciding = config.decisions.iter().map(|it| &it.listener);
    let mut listeners = config.inbound.iter().chain(deciding);
    let names: Vec<_> = listeners.clone().map(|it| it.name.as_str()).collect();
    let found = listeners.find(|it| it.name == name);
    found.ok_or_else(|| {
        Ended::Usage(format!(
            "no listener of `inbound` or `decisions` is named `{name}`; known are: {}",
            names.join(", ")
        ))
        .into()
    })
}

/// A request to a listener.
struct Explanation<'a> {
    config: &'a Config,
    listener: &'a inbound::Config,
    request: Request<'a>,
    token: Option<&'a SecretString>,
    /// The issuer of a token that was made for the question.
    issued: Option<&'a WouldIssue>,
}

impl Explanation<'_> {
    /// Prints the decision and what led to it, after the lines so far.
    fn print(&self, as_json: bool, lines: Lines) -> anyhow::Result<()> {
        let (lines, passes) = super::runtime()?.block_on(self.explain(lines))?;
        if as_json {
            super::print_json(&json!({ "passes": passes, "said": lines.members() }))?;
        } else {
            super::print(lines.text())?;
        }
        if passes {
            Ok(())
        } else {
            Err(Ended::Refused.into())
        }
    }

    async fn explain(&self, mut lines: Lines) -> anyhow::Result<(Lines, bool)> {
        lines.listener(self.listener);
        lines.add(
            "request",
            format!(
                "{} {}",
                self.request.method,
                self.request.target.escape_debug()
            ),
        );
        let (is_path_clear, rule) = match self.request.read(self.listener) {
            Ok(head) => self.rule(&mut lines, &head.received())?,
            Err(fault) => {
                lines.add("path", format!("REFUSED: {}", fault.description()));
                (false, None)
            }
        };
        let shown = self.token.map(|token| Shown::read(token.expose_secret()));
        // Nothing is fetched if no token has to be verified.
        let is_public = rule.is_some_and(|rule| rule.access == Access::Public);
        let is_read = is_path_clear && !is_public;
        let issuer = shown
            .as_ref()
            .and_then(|shown| shown.text("iss"))
            .filter(|_| is_read);
        let token = self.token.filter(|_| is_read);
        let clock = Arc::new(SystemClock);
        let explained = match self.issued {
            Some(issued) => Explained::of_issued(self.config, self.listener, issued, clock)?,
            None => Explained::new(self.config, self.listener, (token, issuer), clock).await?,
        };
        let evaluation = explained.evaluate(&self.request, token).await?;
        let shown = shown.map(|shown| match evaluation.claims() {
            Some(claims) => shown.with_claims(claims),
            None => shown,
        });
        if let (Some(shown), false) = (&shown, evaluation.outcome.checks.is_empty()) {
            lines.add("token", shown.summary());
            let words = Checks {
                asked: self,
                shown,
                rule,
                keys: explained.keys(),
                evaluation: &evaluation,
            };
            words.checks(&mut lines);
        }
        let passes = lines.decision(self.listener, evaluation.outcome.decision);
        Ok((lines, passes))
    }

    /// Names the rule that matches the request, or the nearest one. Returns also whether its path
    /// has one reading.
    fn rule(
        &self,
        lines: &mut Lines,
        received: &Received<'_>,
    ) -> anyhow::Result<(bool, Option<&RuleConfig>)> {
        let path = match NormalPath::parse_with(received.path, self.listener.ordinary) {
            Ok(path) => path,
            Err(why) => {
                lines.add("path", format!("REFUSED: {why}"));
                return Ok((false, None));
            }
        };
        lines.add("path", format!("{} in normal form", path.as_str()));
        if own_paths(self.config, self.listener).contains(path.as_str()) {
            return Ok((true, None));
        }
        let request = received.with(&path);
        let rules = &self.listener.verifier.rules;
        let case = self.listener.verifier.path_case;
        let position = match Rules::compile(rules, case)?.position(&request) {
            Ok(position) => position,
            Err(why) => {
                lines.add("rule", format!("REFUSED: {why}"));
                return Ok((true, None));
            }
        };
        let rule = position.and_then(|position| Some((position, rules.get(position)?)));
        lines.rule(rule, rules.len());
        if rule.is_none()
            && let Some(nearest) = nearest(rules, &request, case)
            && let Some(config) = rules.get(nearest.rule)
        {
            lines.nearest(&nearest, config, rules.len());
        }
        Ok((true, rule.map(|(_, rule)| rule)))
    }
}

/// The information about the token checks.
struct Checks<'a> {
    asked: &'a Explanation<'a>,
    shown: &'a Shown,
    rule: Option<&'a RuleConfig>,
    keys: Option<&'a KeysFetched>,
    evaluation: &'a Evaluation,
}

impl Checks<'_> {
    /// Prints the token checks up to the one that decided, in the verifier's order.
    fn checks(&self, lines: &mut Lines) {
        let outcome = &self.evaluation.outcome;
        for check in &outcome.checks {
            let (name, detail) = self.words(*check);
            let refused = outcome.refused_by == Some(*check);
            // A rule without requirements needs no line.
            let of_rule = matches!(
                check,
                Check::Rule
                    | Check::RuleAuthority
                    | Check::Scopes
                    | Check::RuleClaims
                    | Check::Equals
            );
            if of_rule && detail.is_empty() && !refused {
                continue;
            }
            let separator = if detail.is_empty() { "" } else { ": " };
            lines.add(
                name,
                format!(
                    "{}{separator}{detail}",
                    if refused { "REFUSED" } else { "ok" }
                ),
            );
        }
    }

    fn words(&self, check: Check) -> (&'static str, String) {
        match check {
            Check::Form => ("form", format!("{} bytes", self.shown.bytes)),
            Check::Introspection => ("introspection", self.introspection()),
            Check::Algorithm => ("algorithm", self.shown.header_text("alg")),
            Check::Type => ("type", self.kind()),
            Check::Issuer => ("issuer", self.issuer()),
            Check::Key => ("key", self.key()),
            Check::Signature => ("signature", String::new()),
            Check::Claims => ("claims", String::new()),
            Check::Times => ("times", self.times()),
            Check::Audience => ("audience", self.audience()),
            Check::Binding => ("binding", String::new()),
            Check::Revocation => ("revocation", self.revocation()),
            Check::Rule => ("some rule", String::new()),
            Check::RuleAuthority => ("authority", self.needs().authorities.join(" or ")),
            Check::Scopes => ("scopes", scopes_of(&self.needs())),
            Check::RuleClaims => ("rule's claims", claims_of(&self.needs())),
            Check::Equals => ("equal", equals_of(&self.needs())),
            Check::Upgrade => ("upgrade", String::new()),
        }
    }

    fn needs(&self) -> Needs {
        match self.rule.map(|rule| &rule.access) {
            Some(Access::Token(needs)) => needs.clone(),
            _ => Needs::default(),
        }
    }

    fn key(&self) -> String {
        let kid = format!("kid {}", self.shown.header_text("kid"));
        match self.keys {
            Some(KeysFetched { count, error: None }) => format!("{kid}; keys fetched: {count}"),
            Some(KeysFetched {
                count: 0,
                error: Some(why),
            }) => {
                format!("{why} (a running sidecar may have keys from an earlier fetch)")
            }
            Some(KeysFetched {
                count,
                error: Some(why),
            }) => {
                format!("{kid}; {why}; keys that the sidecar has kept in `stateDir`: {count}")
            }
            None => kid,
        }
    }

    fn times(&self) -> String {
        let authority = self.authority();
        let skew = authority.map_or(0, |authority| authority.clock_skew.as_secs());
        let most = authority.and_then(|authority| authority.max_token_lifetime);
        let most = most.map_or(String::new(), |most| {
            format!(", exp at most {} away", written(most))
        });
        format!("{}, skew {skew} s{most}", self.shown.times())
    }

    fn audience(&self) -> String {
        match &self.asked.listener.verifier.audiences {
            Audiences::Any => "accepted: any".to_owned(),
            Audiences::OneOf(accepted) => format!("accepted: {}", accepted.join(", ")),
        }
    }

    fn revocation(&self) -> String {
        let method = self.evaluation.revocation.clone().unwrap_or_default();
        match &self.evaluation.revocation_error {
            Some(why) => {
                format!("{method}: {why} (a running sidecar may have an earlier result)")
            }
            None => method,
        }
    }
}
