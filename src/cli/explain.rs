//! `explain`: shows which rule and which check decide about a request, and why.
//!
//! The code that handles requests evaluates it ([`dry_run`](crate::proxy::dry_run)) and reports the
//! checks; this file only formats them.

mod input;
mod lines;
mod shown;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueHint};
use http::Method;
use serde_json::json;

use super::{ConfigFile, Ended};
use crate::app::explain::{Evaluation, Explained, KeysFetched, own_paths};
use crate::config::Config;
use crate::domain::clock::SystemClock;
use crate::domain::path::NormalPath;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::proxy::dry_run::Request;
use crate::proxy::inbound::{self, Received};
use crate::verifier::rules::{Rules, nearest};
use crate::verifier::{Access, Audiences, AuthorityConfig, Check, Needs, RuleConfig};
use input::{fields, read_token};
use lines::{Lines, claims_of, equals_of, scopes_of};
use shown::Shown;

/// Shown below the options.
pub const AFTER_HELP: &str = "\
Exits with 0 when the request would pass, with 1 when it would be refused. The token is read from a
file or from standard input and never printed. Of its claims only iss, sub, client_id, aud, scope,
exp, nbf and iat are printed. As in `run`, its signature is verified with keys that are fetched for
it, and its issuer is queried about revocation. The configuration's own issuer is queried at the
running sidecar. Without a token nothing is fetched. For `limits` the request counts as the first
one, because the counters of a running sidecar are not available. If no rule matches, the nearest
one and the difference are printed.

Examples:
  m2m-sidecar explain --config sidecar.yaml --listener devices --path /devices/7
  m2m-sidecar token --config client.yaml --credential reporting |
    m2m-sidecar explain --config sidecar.yaml --listener devices --method DELETE --path /devices/7 \
    --token-file -";

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// The name of a listener of `inbound` or `decisions`
    #[arg(long, value_name = "NAME")]
    listener: String,
    /// The request's method
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: Method,
    /// The request's path as the client sends it, with its query if it has one
    #[arg(long, value_name = "PATH")]
    path: String,
    /// A further header of the request, such as `Content-Length: 5000`; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The address that the request comes from
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
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
    let deciding = config.decisions.iter().map(|it| &it.listener);
    let mut listeners = config.inbound.iter().chain(deciding);
    let names: Vec<_> = listeners.clone().map(|it| it.name.as_str()).collect();
    let Some(listener) = listeners.find(|it| it.name == options.listener) else {
        return Err(Ended::Usage(format!(
            "no listener of `inbound` or `decisions` is named `{}`; known are: {}",
            options.listener,
            names.join(", ")
        ))
        .into());
    };
    let token = options.token_file.as_deref().map(read_token).transpose()?;
    let asked = Explanation {
        config: &config,
        listener,
        request: Request {
            method: options.method.as_str(),
            target: &options.path,
            fields: fields(&options.headers, token.as_ref())?,
            peer: options.from,
        },
        token: token.as_ref(),
    };
    let (lines, passes) = super::runtime()?.block_on(asked.explain())?;
    if options.json {
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

/// A request to a listener.
struct Explanation<'a> {
    config: &'a Config,
    listener: &'a inbound::Config,
    request: Request<'a>,
    token: Option<&'a SecretString>,
}

impl Explanation<'_> {
    async fn explain(&self) -> anyhow::Result<(Lines, bool)> {
        let mut lines = Lines::default();
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
        let explained =
            Explained::new(self.config, self.listener, issuer, Arc::new(SystemClock)).await?;
        let evaluation = explained.evaluate(&self.request).await?;
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
            Check::Algorithm => ("algorithm", self.shown.header_text("alg")),
            Check::Type => ("type", self.shown.header_text("typ")),
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

    fn authority(&self) -> Option<&AuthorityConfig> {
        let trusted = &self.asked.listener.verifier.authorities;
        let issuer = self.shown.text("iss")?;
        let mut known = self.asked.config.authorities.iter();
        known.find(|authority| {
            trusted.contains(&authority.name) && authority.issuer_name().is(issuer)
        })
    }

    fn needs(&self) -> Needs {
        match self.rule.map(|rule| &rule.access) {
            Some(Access::Token(needs)) => needs.clone(),
            _ => Needs::default(),
        }
    }

    fn issuer(&self) -> String {
        match self.authority() {
            Some(authority) => format!("`iss` is that of the authority `{}`", authority.name),
            None => {
                let trusted = &self.asked.listener.verifier.authorities;
                let iss = self.shown.text("iss").unwrap_or_default();
                let mut known = self.asked.config.authorities.iter();
                let nearly = known.find(|authority| {
                    trusted.contains(&authority.name) && authority.issuer_name().is_nearly(iss)
                });
                let nearly = nearly.map_or(String::new(), |authority| {
                    format!(
                        "; it differs from `{}`, the issuer of `{}`, by slashes only, which count \
                         unless the authority has \
                         `profile: plgd`",
                        authority.issuer, authority.name
                    )
                });
                format!("known are the authorities {}{nearly}", trusted.join(", "))
            }
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
        let skew = self
            .authority()
            .map_or(0, |authority| authority.clock_skew.as_secs());
        format!("{}, skew {skew} s", self.shown.times())
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
