//! The connections of a listener: to its clients and to its upstream.

use std::time::Duration;

use super::resolver::Resolver;
use crate::config::address::UpstreamUrl;
use crate::config::raw;
use crate::config::tree::KeyPath;
use crate::config::value::{FilePath, GoDuration};
use crate::http_client::FetchTimeouts;
use crate::proxy::connection::{ClientTimeouts, MaxConnections};
use crate::proxy::tls::PairFiles;
use crate::proxy::upstream;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_hours(1);

/// The timeouts for pauses of a client within a request.
pub(super) struct Pauses {
    pub read: GoDuration,
    pub write: GoDuration,
}

impl From<raw::ClientPauses> for Pauses {
    fn from(raw: raw::ClientPauses) -> Self {
        Self {
            read: raw.read,
            write: raw.write,
        }
    }
}

impl From<raw::ProgramPauses> for Pauses {
    fn from(raw: raw::ProgramPauses) -> Self {
        Self {
            read: raw.read,
            write: raw.write,
        }
    }
}

impl Resolver<'_> {
    /// The timeouts of requests to an authority. The time to connect is part of the total.
    pub fn fetch_timeouts(&mut self, path: &KeyPath, raw: raw::FetchTimeouts) -> FetchTimeouts {
        for (key, value) in [("connect", raw.connect), ("total", raw.total)] {
            let least = Duration::from_millis(10);
            self.duration(&path.key(key), value, least, Duration::from_mins(1));
        }
        FetchTimeouts {
            connect: raw.connect.0.min(raw.total.0),
            total: raw.total.0,
        }
    }

    /// An upstream with its certificates.
    pub fn upstream(
        &mut self,
        path: &KeyPath,
        url: UpstreamUrl,
        tls: Option<raw::UpstreamTls>,
        timeouts: raw::Timeouts,
    ) -> Option<upstream::Config> {
        let keys = (path.key("upstreamTls"), path.key("upstreamTimeouts"));
        self.upstream_at(keys, url, tls, timeouts)
    }

    /// The same, with the places of the settings.
    pub fn upstream_at(
        &mut self,
        (tls_path, timeouts_path): (KeyPath, KeyPath),
        url: UpstreamUrl,
        tls: Option<raw::UpstreamTls>,
        timeouts: raw::Timeouts,
    ) -> Option<upstream::Config> {
        if tls.is_some() && !url.tls {
            self.error(&tls_path, "TLS settings need an https upstream");
        }
        let tls = tls.filter(|_| url.tls).unwrap_or_default();
        let identity = self.identity(&tls_path, tls.cert_file, tls.key_file);
        // Changes are read while it runs.
        let ca_file = tls.ca_file.as_ref();
        let checked = self.certificates(&tls_path.key("caFile"), ca_file);
        let server_name = tls.server_name;
        Some(upstream::Config {
            tls: url.tls,
            server_name: server_name.map_or_else(|| url.host.clone(), |name| name.0),
            host: url.host,
            port: url.port,
            socket: url.socket,
            h2c: url.h2c,
            identity,
            proxy: None,
            timeouts: self.timeouts(&timeouts_path, timeouts),
            ca_file: checked?.and(tls.ca_file).map(|file| file.0),
        })
    }

    /// The client certificate for an upstream.
    fn identity(
        &mut self,
        path: &KeyPath,
        certificate: Option<FilePath>,
        key: Option<FilePath>,
    ) -> Option<PairFiles> {
        match (certificate, key) {
            (Some(certificate), Some(key)) => Some(self.pair((path.clone(), certificate, key))),
            (None, None) => None,
            _ => {
                let message = "a client certificate needs both `certFile` and `keyFile`";
                self.error(path, message);
                None
            }
        }
    }

    fn timeouts(&mut self, path: &KeyPath, raw: raw::Timeouts) -> upstream::Timeouts {
        for (key, value) in [
            ("connect", raw.connect),
            ("read", raw.read),
            ("write", raw.write),
            ("idle", raw.idle),
        ] {
            if value.0 < MILLISECOND {
                self.error(&path.key(key), "it must be at least 1ms");
            }
        }
        raw.into()
    }

    /// How long an idle client connection stays open.
    pub fn keep_alive(&mut self, path: &KeyPath, value: GoDuration) -> Duration {
        let path = path.key("keepAlive");
        self.duration(&path, value, Duration::from_secs(1), HOUR);
        // Responses announce it in seconds.
        if value.0.subsec_nanos() != 0 {
            self.error(&path, "it must be a number of whole seconds");
        }
        value.0
    }

    /// The limits on client connections.
    pub fn max_connections(&mut self, path: &KeyPath, raw: raw::MaxConnections) -> MaxConnections {
        let number = |number: Option<u32>| number.and_then(|number| usize::try_from(number).ok());
        let (total, per_address) = (number(raw.total), number(raw.per_address));
        if let (Some(total), Some(per_address)) = (total, per_address)
            && per_address > total
        {
            let path = path.key("maxConnections").key("perAddress");
            self.error(
                &path,
                format!("it must not be more than `total`, which is {total}"),
            );
        }
        MaxConnections { total, per_address }
    }

    /// The timeouts for the clients of a listener: idle, and for pauses within a request.
    pub fn client_timeouts(
        &mut self,
        path: &KeyPath,
        keep_alive: GoDuration,
        pauses: impl Into<Pauses>,
    ) -> ClientTimeouts {
        let (timeouts, pauses) = (path.key("downstreamTimeouts"), pauses.into());
        for (key, value) in [("read", pauses.read), ("write", pauses.write)] {
            self.duration(&timeouts.key(key), value, MILLISECOND, HOUR * 24);
        }
        ClientTimeouts {
            keep_alive: self.keep_alive(path, keep_alive),
            read: pauses.read.0,
            write: pauses.write.0,
        }
    }
}

impl From<raw::Timeouts> for upstream::Timeouts {
    fn from(raw: raw::Timeouts) -> Self {
        Self {
            connect: raw.connect.0,
            read: raw.read.0,
            write: raw.write.0,
            idle: raw.idle.0,
        }
    }
}

/// Whether others can read and change the traffic with a URL.
pub(super) fn is_open(url: &url::Url) -> bool {
    url.scheme() == "http" && !is_this_machine(url.host_str().unwrap_or_default())
}

/// Whether a host is certainly this machine, so that others cannot read the traffic with it.
pub(super) fn is_this_machine(host: &str) -> bool {
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
