//! The issuers that plgd's server trusts: for the tokens API, and for the assertions of clients.

use std::time::Duration;

use super::signing::file_path;
use super::source::Source;
use crate::config::address::{HttpUrl, IssuerUrl};
use crate::config::tree::KeyPath;
use crate::config::value::{FilePath, GoDuration};
use crate::domain::issuer_name::canonical;

/// The name of the issuer's own authority.
pub(super) const OWN: &str = "self";

/// An authority of the new configuration.
pub(super) struct Authority {
    pub name: String,
    pub issuer: String,
    /// plgd's `caPool`.
    pool: Vec<String>,
    pub ca_file: Option<String>,
    /// `revocation.maxAge`, if it is not the default.
    pub max_age: Option<GoDuration>,
    /// Whether it is an m2m-oauth-server, which can be asked for revocations.
    pub is_m2m: bool,
}

impl Authority {
    /// Adds the settings of another endpoint of this authority.
    fn merge(
        &mut self,
        source: &mut Source<'_>,
        http: &KeyPath,
        pool: &[String],
        max_age: Option<GoDuration>,
    ) {
        if !pool.is_empty() && pool != self.pool {
            let message = "ignored: this authority already has another `caPool` above";
            source.lost(&http.key("tls").key("caPool"), message);
        }
        // The shorter age is used, so that no status is kept longer than in either service.
        let plgds = GoDuration(Duration::from_secs(30));
        let ages = [self.max_age, max_age].map(|age| age.unwrap_or(plgds));
        if self.max_age != max_age {
            let shorter = ages.into_iter().min_by_key(|age| age.0);
            self.max_age = shorter.filter(|age| *age != plgds);
        }
    }
}

/// All authorities, each once.
pub(super) struct Authorities {
    list: Vec<Authority>,
}

const TUNING: &str = "timeouts and connection limits of plgd's HTTP client are not imported: the \
                      sidecar has its own";
const CLIENT_CERTIFICATE: &str = "the sidecar sends no client certificate to an authority: if an \
                                  authority requires one, set `jwksFile` to a file with its keys";
const PLATFORM: &str =
    "`caFile` is trusted in addition to the platform's certificates, not instead of them";
const CRL: &str = "revocation lists of TLS certificates (crl) are not supported";
const AUDIENCE: &str = "not imported: plgd never compares this key with a token's `aud`";
const NAME: &str = "plgd reads the issuer's name from its discovery document, but here `issuer` \
                    must be that name, except for slashes at its end: compare it with the \
                    `issuer` at <authority>/.well-known/openid-configuration";

impl Authorities {
    /// A list with the issuer itself.
    pub(super) fn new(own: &str) -> Self {
        let own = Authority {
            name: OWN.to_owned(),
            issuer: own.to_owned(),
            pool: Vec::new(),
            ca_file: None,
            max_age: None,
            is_m2m: true,
        };
        Self { list: vec![own] }
    }

    pub(super) fn into_list(self) -> Vec<Authority> {
        self.list
    }

    /// Reads a section `authorization` and returns the names of its authorities.
    pub(super) fn read(&mut self, source: &mut Source<'_>, path: &KeyPath) -> Vec<String> {
        let audience = path.key("audience");
        if source.text(&audience).is_some() {
            source.lost_once(&audience, AUDIENCE);
        }
        let max_age = Self::max_age(
            source,
            &path.key("tokenTrustVerification").key("cacheExpiration"),
        );
        let endpoints = source.items(&path.key("endpoints"));
        let (authority, http) = (path.key("authority"), path.key("http"));
        let places = if endpoints.is_empty() && source.has(&authority) {
            // The older form with a single authority.
            vec![path.clone()]
        } else {
            let message = "not imported: plgd ignores this key if `endpoints` is set";
            source.pass_lost(&authority, message);
            source.pass(&http);
            endpoints
        };
        let mut names: Vec<String> = Vec::new();
        for place in places {
            if let Some(name) = self
                .endpoint(source, &place, max_age)
                .filter(|name| !names.contains(name))
            {
                names.push(name);
            }
        }
        names
    }

    fn max_age(source: &mut Source<'_>, path: &KeyPath) -> Option<GoDuration> {
        let asked = source
            .duration(path)
            .filter(|asked| *asked != Duration::from_secs(30))?;
        let given = asked.clamp(Duration::from_secs(1), Duration::from_mins(10));
        if given != asked {
            source.lost(
                path,
                format!("it must be from 1s to 10m; {} is used", GoDuration(given)),
            );
        }
        Some(GoDuration(given))
    }

    fn endpoint(
        &mut self,
        source: &mut Source<'_>,
        path: &KeyPath,
        max_age: Option<GoDuration>,
    ) -> Option<String> {
        let place = path.key("authority");
        let http = path.key("http");
        let Some(issuer) = source.text(&place) else {
            source.pass(&http);
            source.lost(&place, "not imported: the endpoint has no `authority`");
            return None;
        };
        let own = self.list.iter().find(|known| known.name == OWN);
        if own.is_some_and(|own| canonical(&own.issuer) == canonical(&issuer)) {
            // It is read in process, without a connection.
            source.pass(&http);
            return Some(OWN.to_owned());
        }
        if issuer.parse::<HttpUrl>().is_err() || issuer.parse::<IssuerUrl>().is_err() {
            source.pass(&http);
            source.lost(
                &place,
                "the authority is not imported: this is not an http or https URL without a query",
            );
            return None;
        }
        let pool = source.texts(&http.key("tls").key("caPool"));
        let pool: Vec<_> = pool.into_iter().map(|(_, file)| file).collect();
        if let Some(known) = self
            .list
            .iter_mut()
            .find(|known| canonical(&known.issuer) == canonical(&issuer))
        {
            source.pass(&http);
            known.merge(source, &http, &pool, max_age);
            return Some(known.name.clone());
        }
        source.lost_once(&place, NAME);
        let name = self.name_for(&issuer);
        let ca_file = Self::connection(source, &http, &name, &pool);
        let is_m2m = canonical(&issuer).ends_with("/m2m-oauth-server");
        self.list.push(Authority {
            name: name.clone(),
            issuer,
            pool,
            ca_file,
            max_age,
            is_m2m,
        });
        Some(name)
    }

    /// Reads the section `http` of an endpoint. Only its trusted certificates are imported.
    fn connection(
        source: &mut Source<'_>,
        http: &KeyPath,
        name: &str,
        files: &[String],
    ) -> Option<String> {
        for key in [
            "maxIdleConns",
            "maxConnsPerHost",
            "maxIdleConnsPerHost",
            "idleConnTimeout",
            "timeout",
        ] {
            if source.has(&http.key(key)) {
                source.lost_once(http, TUNING);
            }
        }
        let tls = http.key("tls");
        let shown = [tls.key("certFile"), tls.key("keyFile")];
        if let [Some(_), _] | [_, Some(_)] = shown.each_ref().map(|path| source.text(path)) {
            source.lost_once(&tls, CLIENT_CERTIFICATE);
        }
        if source.flag(&tls.key("crl").key("enabled")) {
            source.lost_once(&tls.key("crl"), CRL);
        }
        source.pass(&tls.key("crl"));
        let system = source.flag(&tls.key("useSystemCAPool"));
        let pool = tls.key("caPool");
        let first = files.first()?;
        let instead = format!("{name}-ca.pem");
        let file = match file_path(first, &instead) {
            Ok(file) if files.len() == 1 => file,
            Ok(_) => {
                let message =
                    "only one file is supported: write these certificates one after another into";
                source.lost(&pool, format!("{message} /etc/m2m-sidecar/{instead}"));
                format!("/etc/m2m-sidecar/{instead}")
            }
            Err(file) => {
                source.lost(
                    &pool,
                    format!("the certificates are part of the configuration: write them to {file}"),
                );
                file
            }
        };
        if file.parse::<FilePath>().is_err() {
            source.refuse(&pool, "expected a file path");
        }
        if !system {
            source.lost_once(&pool, PLATFORM);
        }
        Some(file)
    }

    /// A name for an authority: its host, with a number if that name is taken.
    fn name_for(&self, issuer: &str) -> String {
        let host = issuer.parse::<HttpUrl>().ok();
        let host = host
            .as_ref()
            .and_then(|url| url.0.host_str())
            .unwrap_or("users");
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '.' || c == '-' {
                c
            } else {
                '_'
            }
        };
        // A name has at most 64 characters.
        let host: String = host.chars().map(plain).take(60).collect();
        let numbered = (2..=9999).map(|i| format!("{host}-{i}"));
        let free = |name: &String| !self.list.iter().any(|known| known.name == *name);
        std::iter::once(host.clone())
            .chain(numbered)
            .find(free)
            .unwrap_or(host)
    }
}
