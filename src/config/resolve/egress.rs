//! Ways out: the proxies of requests to authorities, of the file and of the environment.

use url::Url;

use super::loops;
use super::resolver::Resolver;
use crate::config::environment::Environment;
use crate::config::files;
use crate::config::raw::{EgressProxy, EgressWord, OwnEgressProxy, OwnEgressWord, Proxy};
use crate::config::tree::KeyPath;
use crate::domain::no_proxy;
use crate::http_client::{self, Egress};
use crate::proxy::upstream;

/// Resolves the top-level `egressProxy`, whose default is the environment's.
pub(super) fn resolve(resolver: &mut Resolver<'_>, environment: Environment<'_>) {
    let raw = resolver.top("egressProxy");
    resolver.egress = match raw {
        Some(EgressProxy::Word(EgressWord::None)) => Egress::default(),
        Some(EgressProxy::Proxy(proxy)) => {
            resolver.egress_proxy(&KeyPath::root("egressProxy"), proxy)
        }
        None | Some(EgressProxy::Word(EgressWord::Environment)) => {
            of_environment(resolver, environment)
        }
    };
}

impl Resolver<'_> {
    /// The ways out of one part, whose default is the top level's.
    pub fn own_egress(&mut self, path: &KeyPath, raw: Option<OwnEgressProxy>) -> Egress {
        match raw {
            None | Some(OwnEgressProxy::Word(OwnEgressWord::Shared)) => self.egress.clone(),
            Some(OwnEgressProxy::Word(OwnEgressWord::None)) => Egress::default(),
            Some(OwnEgressProxy::Proxy(proxy)) => {
                self.egress_proxy(&path.key("egressProxy"), proxy)
            }
        }
    }

    /// The ways out of a listener's upstreams, by default none.
    pub fn listener_egress(&mut self, path: &KeyPath, raw: Option<OwnEgressProxy>) -> Egress {
        let egress = raw.map(|raw| self.own_egress(path, Some(raw)));
        egress.unwrap_or_default()
    }

    /// Sends the connections to an upstream through its proxy. `path`: the upstream's URL.
    pub fn send_through(&mut self, path: &KeyPath, egress: &Egress, to: &mut upstream::Config) {
        if to.socket.is_some() {
            return;
        }
        to.proxy = egress.way(to.tls, &to.host, to.port).cloned();
        if to.proxy.is_some() && !to.tls {
            let message = "the listener's `egressProxy` reaches only https upstreams: use \
                           `https://`, or name this host in `noProxy`";
            self.error(path, message);
        }
    }

    /// A proxy of the file, for both schemes.
    fn egress_proxy(&mut self, path: &KeyPath, raw: Proxy) -> Egress {
        let url = path.key("url");
        let mut proxy = raw.url.0;
        if let Some(listener) = own_listener(self, proxy.url()) {
            let message = format!("it leads back to this sidecar's own listener `{listener}`");
            self.error(&url, message);
        }
        if let Some(file) = raw.password_file {
            let path = path.key("passwordFile");
            if !proxy.has_user() {
                let message = "`passwordFile` needs a user: name it in `url` \
                               (`http://USER@proxy.example:3128`)";
                self.error(&path, message);
            }
            self.secret(&path, &file, files::read_secret);
            if !proxy.is_https() && !super::connections::is_this_machine(&proxy.place().0) {
                let message = "plain http to the proxy: an attacker on the network between can \
                               read the password of the proxy";
                self.warn(&url, message);
            }
            proxy = proxy.with_password_file(file.0);
        }
        let straight = raw.no_proxy.into_iter().map(|entry| entry.0).collect();
        Egress::new(Some(proxy.clone()), Some(proxy), straight)
    }
}

/// The proxies of the environment's variables, as curl and Go read them.
fn of_environment(resolver: &mut Resolver<'_>, environment: Environment<'_>) -> Egress {
    // A server that runs CGI programs sets HTTP_PROXY from the request field `Proxy` (httpoxy).
    let is_cgi = environment("REQUEST_METHOD").is_some();
    let http = if is_cgi {
        proxy_of(resolver, environment, &["http_proxy"])
    } else {
        proxy_of(resolver, environment, &["http_proxy", "HTTP_PROXY"])
    };
    let https = proxy_of(resolver, environment, &["https_proxy", "HTTPS_PROXY"]);
    let straight = first(environment, &["no_proxy", "NO_PROXY"]);
    let straight = straight.map_or_else(Vec::new, |(_, text)| no_proxy::entries(&text));
    if http.is_none() && https.is_none() {
        return Egress::default();
    }
    Egress::new(http, https, straight)
}

/// The first of these variables that is set and not empty.
fn first(environment: Environment<'_>, names: &[&'static str]) -> Option<(&'static str, String)> {
    let mut found = names
        .iter()
        .filter_map(|name| Some((*name, environment(name)?)));
    found.find(|(_, value)| !value.trim().is_empty())
}

/// The proxy of a variable; none if it is this sidecar's own listener, which would send requests
/// back.
fn proxy_of(
    resolver: &mut Resolver<'_>,
    environment: Environment<'_>,
    names: &[&'static str],
) -> Option<http_client::EgressProxy> {
    let (name, value) = first(environment, names)?;
    match http_client::EgressProxy::parse(&value) {
        Ok(proxy) => Some(proxy).filter(|proxy| own_listener(resolver, proxy.url()).is_none()),
        Err(why) => {
            // The value may hold a password.
            let message = format!(
                "the variable {name} of the environment names no usable proxy: {why}; correct or \
                 unset it, or set `egressProxy` (`egressProxy: none` uses no proxy)"
            );
            resolver.error(&KeyPath::default(), message);
            None
        }
    }
}

/// This sidecar's own listener that a URL certainly leads to.
fn own_listener(resolver: &Resolver<'_>, url: &Url) -> Option<KeyPath> {
    loops::listener_at(resolver, url)
}
