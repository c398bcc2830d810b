//! The server: listener, issuer, store and logs.

use std::net::{IpAddr, SocketAddr};

use super::authorities::{Authorities, OWN};
use super::source::Source;
use super::{ReadFile, Target, clients, signing};
use crate::config::address::{IssuerUrl, ListenAddress};
use crate::config::name::ClaimName;
use crate::config::tree::KeyPath;
use crate::issuer::RESERVED_CLAIMS;

const GRPC: &str = "the gRPC API (CreateToken, GetTokens, DeleteTokens) is not supported: callers \
                    must use the HTTP API";
const TLS: &str = "the issuer's listener supports only plain HTTP: put a proxy with this \
                   certificate in front (nginx, the ingress) that forwards HTTP to the sidecar";
const CLIENT_CERTIFICATES: &str = "the sidecar does not request client certificates: let the \
                                   proxy in front request them where necessary";
const LIMITS: &str = "readTimeout, readHeaderTimeout, writeTimeout and idleTimeout are not \
                      imported: those of the sidecar are fixed";
const STORE: &str = "tokens are stored in SQLite instead of MongoDB, and existing tokens are not \
                     imported. plgd's services refuse tokens that the tokens API does not list: \
                     reissue them. Services that check only signatures also accept blacklisted \
                     tokens: if there are any, start with a new signing key";
const CLEAN_UP: &str = "not needed: expired tokens are deleted automatically";
const TRACES: &str = "traces are not supported; configure `probes` to serve metrics";
const DUMP_BODY: &str = "bodies are never logged, because they contain secrets and tokens";
const LOOPBACK: &str = "this address is replaced by loopback, because plain HTTP would expose \
                        secrets to the network. If the proxy that ends TLS runs on another \
                        machine and the network between is trusted, change `issuer.listen` and \
                        add that proxy to `issuer.trustedProxies`";

const HTTP_PORT: u16 = 9101;

const VALUES: &str = "these are values of the Helm chart: missing values are imported with the \
                      chart's defaults. Deployment settings (image, certificates, ingress, \
                      MongoDB) are ignored";
const NO_CLIENTS: &str = "the values contain neither clients nor an authority \
                          (`global.authority`) for the chart's client `jwt-private-key`, so no \
                          client is imported: create clients with `m2m-sidecar client create`";

/// Reads the whole configuration. `of_values`: it was generated from values of the Helm chart.
/// `None`: required parts are missing.
pub(super) fn target(
    source: &mut Source<'_>,
    of_values: bool,
    read: ReadFile<'_>,
) -> Option<Target> {
    let root = KeyPath::root;
    let signer = root("oauthSigner");
    if !source.has(&signer) {
        let message = "this is not a configuration of an m2m-oauth-server: `oauthSigner` is \
                       missing";
        source.refuse(&KeyPath::default(), message);
        return None;
    }
    if of_values {
        source.lost(&KeyPath::default(), VALUES);
    }
    let (log_level, log_encoding) = log(source, &root("log"));
    let url = url(source, &signer.key("domain"), of_values);
    let mut authorities = Authorities::new(&url);
    let listen = apis(source, &root("apis"));
    let authorization = root("apis").key("grpc").key("authorization");
    let mut trusted = authorities.read(source, &authorization);
    trusted.retain(|name| name != OWN);
    trusted.insert(0, OWN.to_owned());
    let owner_claim = owner_claim(source, &signer.key("ownerClaim"));
    let caller = authorization.key("ownerClaim");
    if source
        .text(&caller)
        .is_some_and(|claim| claim != owner_claim)
    {
        source.lost(
            &caller,
            "ignored: plgd uses `oauthSigner.ownerClaim` to list tokens, and this value differs \
             from it",
        );
    }
    storage(source, &root("clients"));
    let (private_key_file, algorithm) =
        signing::signing(source, &signer.key("privateKeyFile"), read);
    let device_id_claim = device_id_claim(source, &signer, &owner_claim);
    let clients = clients::clients(source, &signer.key("clients"), &mut authorities, read);
    if clients.is_empty() && of_values {
        source.lost(&signer.key("clients"), NO_CLIENTS);
    } else if clients.is_empty() {
        source.refuse(&signer.key("clients"), "no client could be imported");
    }
    Some(Target {
        log_level,
        log_encoding,
        url,
        listen,
        owner_claim,
        device_id_claim,
        algorithm,
        private_key_file,
        trusted,
        clients,
        authorities: authorities.into_list(),
    })
}

fn log(source: &mut Source<'_>, path: &KeyPath) -> (Option<&'static str>, Option<&'static str>) {
    let level = path.key("level");
    let level = match source
        .text(&level)
        .map(|text| text.to_ascii_lowercase())
        .as_deref()
    {
        None => None,
        Some("debug") => Some("debug"),
        Some("info") => Some("info"),
        Some("warn") => Some("warn"),
        Some("error") => Some("error"),
        Some(_) => {
            source.lost(&level, "this level is not supported; `error` is used");
            Some("error")
        }
    };
    let encoding = source.text(&path.key("encoding"));
    let encoding = encoding.map(|text| if text == "json" { "json" } else { "text" });
    if source.flag(&path.key("stacktrace").key("enabled")) {
        source.lost(&path.key("stacktrace"), "stack traces are not logged");
    }
    if source.flag(&path.key("dumpBody")) {
        source.lost(&path.key("dumpBody"), DUMP_BODY);
    }
    // Log lines always have UTC times.
    for key in ["stacktrace", "encoderConfig"] {
        source.pass(&path.key(key));
    }
    (level, encoding)
}

fn url(source: &mut Source<'_>, path: &KeyPath, of_values: bool) -> String {
    let url = source
        .text(path)
        .map(|domain| format!("https://{domain}/m2m-oauth-server"));
    let url = url.filter(|url| {
        let parsed = url.parse::<IssuerUrl>();
        parsed.is_ok_and(|parsed| parsed.url().path() == "/m2m-oauth-server")
    });
    url.unwrap_or_else(|| {
        let key = if of_values { "`global.domain`: " } else { "" };
        source.refuse(
            path,
            format!("{key}the host of `iss`, with or without a port, is missing"),
        );
        String::new()
    })
}

fn apis(source: &mut Source<'_>, path: &KeyPath) -> String {
    let (grpc, http) = (path.key("grpc"), path.key("http"));
    let grpc_address = source.text(&grpc.key("address"));
    if grpc_address.is_some() {
        source.lost(&grpc.key("address"), GRPC);
    }
    for key in [
        "sendMsgSize",
        "recvMsgSize",
        "enforcementPolicy",
        "keepAlive",
    ] {
        source.pass(&grpc.key(key));
    }
    // In older versions, without gRPC, this section was part of `http`.
    for tls in [grpc.key("tls"), http.key("tls")] {
        if source.has(&tls) {
            source.lost(&tls, TLS);
        }
        if source.flag(&tls.key("clientCertificateRequired"))
            || source.flag(&tls.key("crl").key("enabled"))
        {
            source.lost(&tls.key("clientCertificateRequired"), CLIENT_CERTIFICATES);
        }
        source.pass(&tls);
    }
    let timeouts = [
        "readTimeout",
        "readHeaderTimeout",
        "writeTimeout",
        "idleTimeout",
    ]
    .map(|key| http.key(key));
    if let Some(first) = timeouts.iter().find(|path| source.has(path)) {
        source.lost(first, LIMITS);
    }
    timeouts.iter().for_each(|path| source.pass(path));
    listen(source, &http.key("address"), grpc_address.as_deref())
}

/// The issuer's listener: plgd's port on loopback. The shipped file has no address for HTTP; in the
/// bundle and the chart it is the port after that of gRPC.
fn listen(source: &mut Source<'_>, path: &KeyPath, grpc: Option<&str>) -> String {
    let port_of = |address: &str| {
        address
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok())
    };
    let Some(address) = source.text(path) else {
        let port = grpc
            .and_then(port_of)
            .filter(|port| *port > 0)
            .and_then(|port| port.checked_add(1));
        let address =
            SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port.unwrap_or(HTTP_PORT)).to_string();
        source.lost(
            path,
            format!(
                "the address for HTTP is missing, so plgd's server uses a free \
                                   port; {address} is used"
            ),
        );
        return address;
    };
    let near = |ListenAddress(listen): ListenAddress| {
        let address = listen.address();
        address.filter(|address| address.ip().is_loopback())
    };
    if let Some(address) = address.parse().ok().and_then(near) {
        return address.to_string();
    }
    let Some(port) = port_of(&address) else {
        source.refuse(path, "expected an address with a port");
        return String::new();
    };
    source.lost(path, LOOPBACK);
    SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port).to_string()
}

fn storage(source: &mut Source<'_>, clients: &KeyPath) {
    let storage = clients.key("storage");
    let cron = storage.key("cleanUpDeletedTokens");
    if source.text(&cron).is_some() {
        source.lost(&cron, CLEAN_UP);
    }
    if source.has(&storage) {
        source.lost(&storage, STORE);
    }
    for key in ["use", "mongoDB", "cqlDB"] {
        source.pass(&storage.key(key));
    }
    let collector = clients.key("openTelemetryCollector");
    if source.flag(&collector.key("grpc").key("enabled")) {
        source.lost(&collector, TRACES);
    }
    source.pass(&collector);
}

fn owner_claim(source: &mut Source<'_>, path: &KeyPath) -> String {
    let name = claim(source, path).unwrap_or_else(|| "sub".to_owned());
    if name != "sub" && RESERVED_CLAIMS.contains(&name.as_str()) {
        source.refuse(
            path,
            "the sidecar sets this claim itself; use `sub` or a new claim",
        );
    }
    name
}

fn device_id_claim(source: &mut Source<'_>, signer: &KeyPath, owner_claim: &str) -> Option<String> {
    let claimed = claim(source, &signer.key("deviceIDClaim"));
    let chart = signer.key("deviceIdClaim");
    let misspelt = claim(source, &chart);
    if misspelt.is_some() {
        let message = if claimed.is_some() {
            "ignored: plgd's server uses only `deviceIDClaim`"
        } else {
            "imported as `deviceIDClaim`, although plgd's server ignores this spelling of the \
             Helm chart: tokens for an assertion with this claim now carry it"
        };
        source.lost(&chart, message);
    }
    let is_taken = |name: &String| name == owner_claim || RESERVED_CLAIMS.contains(&name.as_str());
    let name = claimed.or(misspelt);
    if name.as_ref().is_some_and(is_taken) {
        source.lost(
            &signer.key("deviceIDClaim"),
            "not imported: the sidecar sets this claim itself",
        );
        return None;
    }
    name
}

fn claim(source: &mut Source<'_>, path: &KeyPath) -> Option<String> {
    let claim = source.text(path)?;
    if claim.parse::<ClaimName>().is_err() {
        source.refuse(path, "expected the name of a claim");
    }
    Some(claim)
}
