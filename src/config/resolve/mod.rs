//! Raw → resolved: the checks that the schema cannot express.
//!
//! A section whose form is wrong was reported before and is skipped here. The other sections are
//! still checked, so that one run reports every problem. The result is used only if there was no
//! error at all.

mod admin;
mod authority;
mod bound_tokens;
mod connections;
mod credential;
mod decisions;
mod egress;
mod inbound;
mod introspection;
mod issuer;
mod listeners;
mod loops;
mod mistakes;
mod outbound;
mod resolver;
mod response_fields;
mod revocation;
mod routes;
mod rules;
mod tenants;
mod throttle;
mod tls;
mod token_size;
mod websocket;

use std::path::PathBuf;

use super::address::ListenAddress;
use super::environment::Environment;
use super::problem::Findings;
use super::tree::{Data, KeyPath, Node};
use super::{Config, Management, OwnListener, Place, Shutdown, raw};
use crate::domain::encryption::EncryptionKey;
use crate::store;
use crate::telemetry::LogConfig;
use resolver::Resolver;

/// Resolves a checked tree.
pub(super) fn resolve(
    tree: &Node,
    environment: Environment<'_>,
    findings: &mut Findings,
) -> Config {
    let mut resolver = Resolver::new(tree, findings);
    check_roles(&mut resolver);
    listeners::check(&mut resolver);
    egress::resolve(&mut resolver, environment);
    let (store, encryption_key) = resolve_store(&mut resolver);
    let state_dir = state_dir(&mut resolver);
    let mut issuer = resolver.entry("issuer", issuer::resolve);
    let mut authorities = resolver.members("authorities", authority::resolve);
    authority::check_issuers(&mut resolver, &authorities);
    if let Some(role) = &mut issuer {
        role.issuer.encryption_key.clone_from(&encryption_key);
        issuer::users::resolve(&mut resolver, role, &authorities);
        token_size::settle(&mut resolver, role, &mut authorities);
    }
    let inbound = resolver.items("inbound", |resolver, path, raw| {
        inbound::resolve(resolver, path, raw, &authorities, issuer.as_ref())
    });
    let decisions = resolver.items("decisions", |resolver, path, raw| {
        decisions::resolve(resolver, path, raw, &authorities)
    });
    let (probes, metrics_hosts) = resolver.entry("probes", resolve_probes).unzip();
    let admin = resolver.entry("admin", admin::resolve);
    let credentials = resolver.members("credentials", |resolver, path, name, raw| {
        credential::resolve(
            resolver,
            path,
            name,
            raw,
            &state_dir,
            encryption_key.as_ref(),
        )
    });
    credential::check_sinks(&mut resolver, &credentials);
    issuer::check_certificates(&mut resolver, issuer.as_ref(), &inbound);
    let local_api = resolver.entry("localApi", outbound::resolve_local_api);
    let (local_api, local_audiences) = local_api.unzip();
    let local_audiences = local_audiences.flatten();
    let served = (local_api.is_some(), local_audiences.is_some());
    outbound::check_local_api(&mut resolver, served, &credentials);
    let outbound = resolver.items("outbound", outbound::resolve);
    bound_tokens::check(&mut resolver, &outbound, &credentials);
    let log: raw::Log = resolver.top("log").unwrap_or_default();
    let shutdown: raw::Shutdown = resolver.top("shutdown").unwrap_or_default();
    Config {
        threads: resolver.top("threads").unwrap_or(0),
        readiness: resolver
            .top("readiness")
            .unwrap_or_else(raw::default_readiness),
        log: LogConfig {
            level: log.level.into(),
            encoding: log.encoding,
        },
        shutdown: Shutdown {
            delay: shutdown.delay.0,
            grace_period: shutdown.grace_period.0,
        },
        store: store.url.0,
        store_must_exist: store.must_exist,
        probes,
        metrics_hosts: metrics_hosts.unwrap_or_default(),
        admin,
        issuer,
        authorities,
        inbound,
        decisions,
        credentials,
        outbound,
        local_api,
        local_audiences,
        state_dir,
        resolved_files: resolver.resolved_files,
    }
}

/// Resolves the section `probes` alone.
pub(super) fn probes(tree: &Node, findings: &mut Findings) -> Option<Place> {
    let probes: Option<raw::Probes> = Resolver::new(tree, findings).top("probes");
    probes.map(|probes| place(probes.listen, probes.tls))
}

/// The place of a listener. Files are not read.
fn place(listen: ListenAddress, tls: Option<raw::ServerTls>) -> Place {
    Place {
        listen: listen.0,
        certificate: tls.map(|tls| tls.cert_file.0),
    }
}

/// Resolves the sections `admin` and `stateDir` alone, without reading files.
pub(super) fn management(tree: &Node, findings: &mut Findings) -> Option<Management> {
    let mut resolver = Resolver::new(tree, findings);
    let admin: raw::Admin = resolver.top("admin")?;
    Some(Management {
        place: place(admin.listen, admin.tls),
        token_file: admin.token_file.map(|file| file.0),
        state_dir: state_dir(&mut resolver),
    })
}

/// Resolves the section `store` alone, without its key.
pub(super) fn store(tree: &Node, findings: &mut Findings) -> store::Config {
    let store: Option<raw::Store> = Resolver::new(tree, findings).top("store");
    store.unwrap_or_default().url.0
}

fn state_dir(resolver: &mut Resolver<'_>) -> PathBuf {
    resolver
        .top("stateDir")
        .unwrap_or_else(raw::default_state_dir)
        .0
}

fn resolve_store(resolver: &mut Resolver<'_>) -> (raw::Store, Option<EncryptionKey>) {
    let store: raw::Store = resolver.top("store").unwrap_or_default();
    if store.must_exist && store.url.0.file().is_none() {
        let path = KeyPath::root("store").key("mustExist");
        resolver.error(
            &path,
            "a store in memory is created at every start, so it never exists before",
        );
    }
    let key = resolver.encryption_key(store.encryption_key_file.as_ref());
    (store, key)
}

fn resolve_probes(
    resolver: &mut Resolver<'_>,
    path: &KeyPath,
    raw: raw::Probes,
) -> Option<(OwnListener, Vec<String>)> {
    let max_connections = resolver.max_connections(path, raw.max_connections);
    let hosts = raw.hosts.into_iter().map(|host| host.0).collect();
    Some((
        OwnListener {
            listen: raw.listen.0,
            max_connections,
            tls: resolver.server_tls(path, raw.tls),
        },
        hosts,
    ))
}

fn check_roles(resolver: &mut Resolver<'_>) {
    let is_configured = |key: &&str| {
        let node = resolver.tree.find(&KeyPath::root(key));
        node.is_some_and(|node| !matches!(&node.data, Data::List(items) if items.is_empty()))
    };
    // Credentials alone are enough for the `token` command.
    if !["issuer", "inbound", "decisions", "outbound", "credentials"]
        .iter()
        .any(is_configured)
    {
        let message = "there is nothing to run: configure at least one of `issuer`, `inbound`, \
                       `decisions`, `outbound` and `credentials`";
        resolver.error(&KeyPath::default(), message);
    }
}
