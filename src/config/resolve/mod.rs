//! Raw → resolved: what the schema cannot say.
//!
//! Whole sections were checked before; one with errors is passed over here, the others are still
//! judged, so that one run reports everything. What comes out is only used when no error was found
//! at all.

mod admin;
mod credential;
mod inbound;
mod issuer;
mod listeners;
mod loops;
mod never_works;
mod outbound;
mod revocation;
mod token_size;

use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::check::quoted;
use super::files::{self, FileError};
use super::problem::Findings;
use super::tree::{Data, KeyPath, Node};
use super::value::{FilePath, GoDuration};
use super::{Config, FixedFile, Management, OwnListener, Shutdown, raw};
use crate::domain::listen::Listen;
use crate::domain::name::nearest;
use crate::http_client::FetchTimeouts;
use crate::proxy::connection::{ClientTimeouts, MaxConnections};
use crate::proxy::upstream;
use crate::store;
use crate::telemetry::LogConfig;

/// The bounds of a fetch's timeouts.
const FETCH_TIMEOUT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_mins(1));

/// Resolves a checked tree.
pub(super) fn resolve(tree: &Node, findings: &mut Findings) -> Config {
    let mut resolver = Resolver::new(tree, findings);
    resolver.needs_a_role();
    listeners::check(&mut resolver);
    let store: raw::Store = resolver
        .section(&KeyPath::root("store"))
        .unwrap_or_default();
    if store.must_exist && store.url.0.file().is_none() {
        let message = "a store in memory is a new one at every start";
        resolver
            .findings
            .error(&KeyPath::root("store").key("mustExist"), message);
    }
    let encryption_key = issuer::encryption_key(&mut resolver, store.encryption_key_file.as_ref());
    let mut issuer = resolver.entry("issuer", issuer::resolve);
    if let Some(role) = &mut issuer {
        role.issuer.encryption_key.clone_from(&encryption_key);
    }
    let state_dir = resolver
        .section(&KeyPath::root("stateDir"))
        .unwrap_or_else(raw::default_state_dir)
        .0;
    let mut authorities = resolver.members("authorities", inbound::resolve_authority);
    inbound::check_issuers(&mut resolver, &authorities);
    if let Some(role) = &mut issuer {
        issuer::users(&mut resolver, role, &authorities);
        token_size::settle(&mut resolver, role, &mut authorities);
    }
    let inbound = resolver.items("inbound", |resolver, path, raw| {
        inbound::resolve_listener(resolver, path, raw, &authorities, issuer.as_ref())
    });
    let log: raw::Log = resolver.section(&KeyPath::root("log")).unwrap_or_default();
    let shutdown: raw::Shutdown = resolver
        .section(&KeyPath::root("shutdown"))
        .unwrap_or_default();
    let probes = resolver.entry("probes", |resolver, path, raw: raw::Probes| {
        let max_connections = resolver.max_connections(path, raw.max_connections);
        let hosts: Vec<String> = raw.hosts.into_iter().map(|host| host.0).collect();
        Some((
            OwnListener {
                listen: raw.listen.0,
                max_connections,
            },
            hosts,
        ))
    });
    let (probes, metrics_hosts) = probes.unzip();
    let admin = resolver.entry("admin", admin::resolve);
    let readiness = resolver
        .section(&KeyPath::root("readiness"))
        .unwrap_or_else(raw::default_readiness);
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
    let local_api = resolver.entry("localApi", outbound::resolve_local_api);
    outbound::check_local_api(&mut resolver, local_api.is_some(), &credentials);
    let outbound = resolver.items("outbound", outbound::resolve_listener);
    let threads = resolver.section(&KeyPath::root("threads")).unwrap_or(0);
    Config {
        fixed_files: resolver.fixed_files,
        log: resolve_log(&log),
        threads,
        shutdown: Shutdown {
            delay: shutdown.delay.0,
            grace_period: shutdown.grace_period.0,
        },
        store: store.url.0,
        store_must_exist: store.must_exist,
        probes,
        metrics_hosts: metrics_hosts.unwrap_or_default(),
        admin,
        readiness,
        issuer,
        authorities,
        inbound,
        credentials,
        outbound,
        local_api,
        state_dir,
    }
}

/// The section `probes` alone.
pub(super) fn probes(tree: &Node, findings: &mut Findings) -> Option<Listen> {
    let probes: Option<raw::Probes> =
        Resolver::new(tree, findings).section(&KeyPath::root("probes"));
    probes.map(|probes| probes.listen.0)
}

/// The sections `admin` and `stateDir` alone; no file is read.
pub(super) fn management(tree: &Node, findings: &mut Findings) -> Option<Management> {
    let mut resolver = Resolver::new(tree, findings);
    let admin: raw::Admin = resolver.section(&KeyPath::root("admin"))?;
    let state_dir = resolver
        .section(&KeyPath::root("stateDir"))
        .unwrap_or_else(raw::default_state_dir)
        .0;
    Some(Management {
        listen: admin.listen.0,
        token_file: admin.token_file.map(|file| file.0),
        state_dir,
    })
}

/// The section `store` alone, without its key.
pub(super) fn store(tree: &Node, findings: &mut Findings) -> store::Config {
    let store: Option<raw::Store> = Resolver::new(tree, findings).section(&KeyPath::root("store"));
    store.unwrap_or_default().url.0
}

fn resolve_log(log: &raw::Log) -> LogConfig {
    LogConfig {
        level: match log.level {
            raw::LogLevel::Error => tracing::Level::ERROR,
            raw::LogLevel::Warn => tracing::Level::WARN,
            raw::LogLevel::Info => tracing::Level::INFO,
            raw::LogLevel::Debug => tracing::Level::DEBUG,
            raw::LogLevel::Trace => tracing::Level::TRACE,
        },
        encoding: log.encoding,
    }
}

/// The tree, and where problems go.
struct Resolver<'a> {
    tree: &'a Node,
    findings: &'a mut Findings,
    /// The files whose content is part of the configuration until the next start.
    fixed_files: Vec<FixedFile>,
}

impl<'a> Resolver<'a> {
    fn new(tree: &'a Node, findings: &'a mut Findings) -> Self {
        Self {
            tree,
            findings,
            fixed_files: Vec::new(),
        }
    }
}

impl Resolver<'_> {
    /// Notes that a file is read at the start only.
    fn fixed(&mut self, path: &KeyPath, file: &FilePath) {
        self.fixed_files.push(FixedFile {
            key: path.to_string(),
            file: file.0.clone(),
        });
    }

    /// A section as its raw struct; `None` when it is not there or has errors.
    fn section<T: DeserializeOwned>(&mut self, path: &KeyPath) -> Option<T> {
        let node = self.tree.find(path)?;
        if self.findings.any_broken_under(path) {
            return None;
        }
        let section = serde_json::from_value(node.to_json()).ok();
        // A key that was passed over may have stood in the place of a required one.
        if section.is_none() && !self.findings.any_under(path) {
            // The schema is derived from the struct, so this is a fault of ours; serde's text could
            // show a value.
            self.findings.error(path, "this section cannot be read");
        }
        section
    }

    /// Resolves one section that may be left out. Nothing gets lost without an error.
    fn resolve_at<R: DeserializeOwned, T>(
        &mut self,
        path: &KeyPath,
        resolve: impl FnOnce(&mut Self, &KeyPath, R) -> Option<T>,
    ) -> Option<T> {
        let raw = self.section(path)?;
        let resolved = resolve(self, path, raw);
        if resolved.is_none() && !self.findings.any_under(path) {
            self.findings.error(path, "this section cannot be used");
        }
        resolved
    }

    fn entry<R: DeserializeOwned, T>(
        &mut self,
        key: &str,
        resolve: impl FnOnce(&mut Self, &KeyPath, R) -> Option<T>,
    ) -> Option<T> {
        self.resolve_at(&KeyPath::root(key), resolve)
    }

    /// Resolves the items of a list.
    fn items<R: DeserializeOwned, T>(
        &mut self,
        key: &str,
        resolve: impl Fn(&mut Self, &KeyPath, R) -> Option<T>,
    ) -> Vec<T> {
        let list = KeyPath::root(key);
        let paths = (0..self.tree.find(&list).map_or(0, Node::list_len)).map(|i| list.index(i));
        paths
            .filter_map(|path| self.resolve_at(&path, &resolve))
            .collect()
    }

    /// Resolves the members of a mapping; the name is handed on.
    fn members<R: DeserializeOwned, T>(
        &mut self,
        key: &str,
        resolve: impl Fn(&mut Self, &KeyPath, &str, R) -> Option<T>,
    ) -> Vec<T> {
        let mapping = KeyPath::root(key);
        self.names(key)
            .into_iter()
            .filter_map(|name| {
                self.resolve_at(&mapping.key(name), |resolver, path, raw| {
                    resolve(resolver, path, name, raw)
                })
            })
            .collect()
    }

    /// The names that a mapping declares, those with errors included.
    fn names<'t>(&self, key: &str) -> Vec<&'t str>
    where
        Self: 't,
    {
        self.tree
            .find(&KeyPath::root(key))
            .into_iter()
            .flat_map(Node::keys)
            .collect()
    }

    /// The text at a key, whatever its form.
    fn text<'t>(&self, path: &KeyPath) -> Option<&'t str>
    where
        Self: 't,
    {
        match &self.tree.find(path)?.data {
            Data::Text(text) => Some(&text.value),
            _ => None,
        }
    }

    /// A text as messages may show it: as the file has it, not as the environment filled it in.
    fn shown(&self, path: &KeyPath, text: &str) -> String {
        let template = match self.tree.find(path).map(|node| &node.data) {
            Some(Data::Text(text)) => text.template.as_deref(),
            _ => None,
        };
        template.unwrap_or(text).escape_debug().to_string()
    }

    /// Checks a reference to a member of `section`; `what` is what such a member is called.
    fn reference(&mut self, path: &KeyPath, name: &str, section: &str, what: &str) {
        let known = self.names(section);
        if known.contains(&name) {
            return;
        }
        let known = match (known.as_slice(), nearest(name, known.iter().copied())) {
            ([], _) => format!("there is nothing under `{section}`"),
            ([only], _) => format!("the only one is `{only}`"),
            (_, Some(nearest)) => {
                format!("the nearest is `{nearest}`, known are {}", quoted(&known))
            }
            (_, None) => format!("known are {}", quoted(&known)),
        };
        let shown = self.shown(path, name);
        self.findings
            .error(path, format!("no {what} is named `{shown}`; {known}"));
    }

    /// Reads a file that a key names.
    fn file<T>(
        &mut self,
        path: &KeyPath,
        file: &FilePath,
        read: fn(&Path) -> Result<T, FileError>,
    ) -> Option<T> {
        match read(&file.0) {
            Ok(content) => Some(content),
            Err(error) => {
                let shown = self.shown(path, &file.0.to_string_lossy());
                self.findings
                    .error(path, format!("the file `{shown}` {error}"));
                None
            }
        }
    }

    /// Reads a file with a secret that a key names, and warns when others can read it too.
    fn secret<T>(
        &mut self,
        path: &KeyPath,
        file: &FilePath,
        read: fn(&Path) -> Result<T, FileError>,
    ) -> Option<T> {
        let content = self.file(path, file, read)?;
        if let Some(mode) = files::read_by_others(&file.0) {
            let shown = self.shown(path, &file.0.to_string_lossy());
            let message = format!(
                "others can read the file `{shown}` (mode {mode:04o}): `chmod o-r {shown}`"
            );
            self.findings.warning(path, message);
        }
        Some(content)
    }

    /// Reads the certificates that an optional key names. The outer `None`: they cannot be read.
    #[expect(
        clippy::option_option,
        reason = "not there and not readable are two things"
    )]
    fn certificates(&mut self, path: &KeyPath, file: Option<&FilePath>) -> Option<Option<Vec<u8>>> {
        match file {
            None => Some(None),
            Some(file) => self.file(path, file, files::read_certificates).map(Some),
        }
    }

    /// Checks that a duration is within bounds.
    fn duration(&mut self, path: &KeyPath, value: GoDuration, least: Duration, most: Duration) {
        if value.0 < least || value.0 > most {
            let (least, most) = (GoDuration(least), GoDuration(most));
            self.findings
                .error(path, format!("it must be from {least} to {most}"));
        }
    }

    /// How long fetches may take; connecting is a part of the whole.
    fn fetch_timeouts(&mut self, path: &KeyPath, raw: raw::FetchTimeouts) -> FetchTimeouts {
        for (key, value) in [("connect", raw.connect), ("total", raw.total)] {
            self.duration(&path.key(key), value, FETCH_TIMEOUT.0, FETCH_TIMEOUT.1);
        }
        FetchTimeouts {
            connect: raw.connect.0.min(raw.total.0),
            total: raw.total.0,
        }
    }

    /// An upstream, its certificates read.
    fn upstream(
        &mut self,
        path: &KeyPath,
        url: super::address::UpstreamUrl,
        tls: Option<raw::UpstreamTls>,
        timeouts: raw::Timeouts,
    ) -> Option<upstream::Config> {
        let tls_path = path.key("upstreamTls");
        if tls.is_some() && !url.tls {
            self.findings
                .error(&tls_path, "only an https upstream has TLS settings");
        }
        let (ca_file, server_name) = tls.map_or((None, None), |tls| (tls.ca_file, tls.server_name));
        for (key, value) in [
            ("connect", timeouts.connect),
            ("read", timeouts.read),
            ("write", timeouts.write),
            ("idle", timeouts.idle),
        ] {
            if value.0 < Duration::from_millis(1) {
                self.findings.error(
                    &path.key("upstreamTimeouts").key(key),
                    "it must be at least 1ms",
                );
            }
        }
        ca_file
            .iter()
            .for_each(|file| self.fixed(&tls_path.key("caFile"), file));
        Some(upstream::Config {
            tls: url.tls,
            server_name: server_name.map_or_else(|| url.host.clone(), |name| name.0),
            host: url.host,
            port: url.port,
            ca_pem: self.certificates(&tls_path.key("caFile"), ca_file.as_ref())?,
            timeouts: self::timeouts(timeouts),
        })
    }

    /// How long an idle client connection is kept.
    fn keep_alive(&mut self, path: &KeyPath, value: GoDuration) -> Duration {
        let path = path.key("keepAlive");
        self.duration(
            &path,
            value,
            Duration::from_secs(1),
            Duration::from_hours(1),
        );
        // It is announced in seconds.
        if value.0.subsec_nanos() != 0 {
            self.findings
                .error(&path, "it must be a number of whole seconds");
        }
        value.0
    }

    /// How many client connections a listener holds.
    fn max_connections(&mut self, path: &KeyPath, raw: raw::MaxConnections) -> MaxConnections {
        let number = |number: Option<u32>| number.and_then(|number| usize::try_from(number).ok());
        let (total, per_address) = (number(raw.total), number(raw.per_address));
        if let (Some(total), Some(per_address)) = (total, per_address)
            && per_address > total
        {
            let message = format!(
                "it is more than `total`, which is {total}: at most that many can come from one address"
            );
            self.findings
                .error(&path.key("maxConnections").key("perAddress"), message);
        }
        MaxConnections { total, per_address }
    }

    /// How long a listener waits for its clients.
    fn client_timeouts(
        &mut self,
        path: &KeyPath,
        keep_alive: GoDuration,
        (read, write): (GoDuration, GoDuration),
    ) -> ClientTimeouts {
        let timeouts = path.key("downstreamTimeouts");
        for (key, value) in [("read", read), ("write", write)] {
            self.duration(
                &timeouts.key(key),
                value,
                Duration::from_millis(1),
                Duration::from_hours(24),
            );
        }
        ClientTimeouts {
            keep_alive: self.keep_alive(path, keep_alive),
            read: read.0,
            write: write.0,
        }
    }

    fn needs_a_role(&mut self) {
        let any = |key: &str| match self.tree.find(&KeyPath::root(key)).map(|node| &node.data) {
            Some(Data::List(items)) => !items.is_empty(),
            Some(_) => true,
            None => false,
        };
        // Credentials alone are enough for the `token` command.
        if !["issuer", "inbound", "outbound", "credentials"]
            .into_iter()
            .any(any)
        {
            let message = "there is nothing to run: none of `issuer`, `inbound`, `outbound` and `credentials` is configured";
            self.findings.error(&KeyPath::default(), message);
        }
    }
}

fn timeouts(raw: raw::Timeouts) -> upstream::Timeouts {
    upstream::Timeouts {
        connect: raw.connect.0,
        read: raw.read.0,
        write: raw.write.0,
        idle: raw.idle.0,
    }
}

/// Whether what is sent to a URL, or comes from it, can be read and changed on the way.
fn is_open(url: &url::Url) -> bool {
    url.scheme() == "http" && !is_this_machine(url.host_str().unwrap_or_default())
}

/// Whether a host is this machine for certain, so that nothing sent to it can be read on the way.
fn is_this_machine(host: &str) -> bool {
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
