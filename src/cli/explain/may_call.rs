//! Whether a client of an issuer may call a listener, and the lines of both files that decide.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use super::input::fields;
use super::lines::Lines;
use super::{Explanation, Options, find_listener};
use crate::app::would_issue::{self, NoToken, WouldIssue};
use crate::cli::{Ended, load, runtime};
use crate::config::{Config, Item, Places, process_environment};
use crate::domain::clock::SystemClock;
use crate::issuer::Client;
use crate::proxy::dry_run::Request;
use crate::proxy::inbound;

/// Evaluates the request with the token that the client would get, and prints the decision.
pub(super) fn explain(options: &Options, config: &Config, to: &str) -> anyhow::Result<()> {
    let listener = find_listener(config, to)?;
    let id = options.from.as_deref().unwrap_or_default();
    let file = &options.file.config;
    let issuer_file = options.issuer_config.as_deref().unwrap_or(file);
    let others = options.issuer_config.as_deref().map(load).transpose()?;
    let issuers = others.as_ref().unwrap_or(config);
    let mut lines = Lines::default();
    let client = would_issue::client(issuers, id).map_err(usage)?;
    client_lines(&mut lines, options, client, issuer_file)?;
    let asked = (options.audiences.as_slice(), options.scopes.as_slice());
    let issued = would_issue::would_issue(issuers, id, asked, Arc::new(SystemClock));
    let issued = match runtime()?.block_on(issued) {
        Ok(issued) => issued,
        Err(NoToken::Refused(error)) => return no_token(lines, options.json, &error.to_string()),
        Err(error) => return Err(usage(error)),
    };
    lines.add("issuer", format!("{} issues the token", issued.issuer));
    listener_lines(&mut lines, config, listener, &issued, file)?;
    let asked = Explanation {
        config,
        listener,
        request: Request {
            method: options.method.as_str(),
            target: &options.path,
            fields: fields(&[], Some(&issued.token))?,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        },
        token: Some(&issued.token),
        issued: Some(&issued),
    };
    asked.print(options.json, lines)
}

fn usage(error: NoToken) -> anyhow::Error {
    match error {
        NoToken::NoIssuer | NoToken::UnknownClient(..) | NoToken::OfUser => {
            Ended::Usage(error.to_string()).into()
        }
        error => error.into(),
    }
}

/// The client, and the lines that give it its audiences and scopes.
fn client_lines(
    lines: &mut Lines,
    options: &Options,
    client: &Client,
    file: &Path,
) -> anyhow::Result<()> {
    let places = Places::read(file, &process_environment)?;
    let place = places.client(&client.id);
    let place = |of: &dyn Fn(&Item<'_>) -> String| place.as_ref().map(of).unwrap_or_default();
    let id = client.id.escape_debug();
    lines.add("client", format!("{id}, {}", place(&|item| item.place())));
    let audiences = if client.allowed_audiences.is_empty() {
        "the issuer's URL".to_owned()
    } else {
        client.allowed_audiences.join(" ")
    };
    let at = place(&|item| item.member("allowedAudiences"));
    lines.add("may ask for", format!("audiences {audiences}, {at}"));
    let scopes = if client.allowed_scopes.is_empty() {
        "none".to_owned()
    } else {
        client.allowed_scopes.to_string()
    };
    let at = place(&|item| item.member("allowedScopes"));
    lines.add("", format!("scopes {scopes}, {at}"));
    for (what, asked) in [
        ("audiences", &options.audiences),
        ("scopes", &options.scopes),
    ] {
        if !asked.is_empty() {
            lines.add(
                "asks for",
                format!("{what} {}", asked.join(" ").escape_debug()),
            );
        }
    }
    if client.disabled {
        let at = place(&|item| item.member("disabled"));
        lines.add("", format!("the client is disabled, {at}"));
    }
    if !client.allowed_networks.is_empty() {
        let networks: Vec<_> = client
            .allowed_networks
            .iter()
            .map(ToString::to_string)
            .collect();
        let at = place(&|item| item.member("allowedNetworks"));
        lines.add("", format!("only from {}, {at}", networks.join(" ")));
    }
    let binding = client.bound_access_tokens;
    if binding.to_certificate || binding.to_dpop_key {
        let text = "its tokens are bound to a key, which the question does not have: the token \
                    here is not bound";
        lines.add("binding", text.to_owned());
    }
    Ok(())
}

/// The lines of the listener that decide about its callers, before its rules.
fn listener_lines(
    lines: &mut Lines,
    config: &Config,
    listener: &inbound::Config,
    issued: &WouldIssue,
    file: &Path,
) -> anyhow::Result<()> {
    let places = Places::read(file, &process_environment)?;
    let Some(item) = places.listener(&listener.name) else {
        return Ok(());
    };
    lines.name_file(file.display().to_string());
    lines.add("called", item.place());
    let mut known = config.authorities.iter();
    let trusted = known.find(|authority| {
        listener.verifier.authorities.contains(&authority.name)
            && authority.issuer_name().is(&issued.issuer)
    });
    let trusted = match trusted {
        Some(authority) => format!("trusts the issuer as `{}`", authority.name),
        None => "trusts no authority with this issuer".to_owned(),
    };
    lines.add("", format!("{trusted}, {}", item.member("authorities")));
    lines.add(
        "",
        format!("accepts the audiences of {}", item.member("audiences")),
    );
    Ok(())
}

/// Prints that the issuer gives no token.
fn no_token(mut lines: Lines, as_json: bool, why: &str) -> anyhow::Result<()> {
    lines.add("token", format!("REFUSED by the issuer: {why}"));
    lines.add(
        "decision",
        "deny: the client gets no token for this".to_owned(),
    );
    if as_json {
        let said = serde_json::json!({ "passes": false, "said": lines.members() });
        crate::cli::print_json(&said)?;
    } else {
        crate::cli::print(lines.text())?;
    }
    Err(Ended::Refused.into())
}
