//! The table of protocols: every transport with every kind of request, through an inbound listener
//! and through an outbound listener in front of it.
//!
//! Each test is one row: a world of one transport, through which every kind of request goes.

mod caller;
mod exchange;
mod kinds;
mod service;
mod transports;

use caller::Caller;
use kinds::KINDS;
use service::{Listening, Service};
use transports::{Certificates, Place, Transport};

use crate::support::AUDIENCE;
use crate::support::authority::{Authority, Endpoint};
use crate::support::sidecar::Sidecar;

const CLIENT: &str = "caller";
const SECRET: &str = "secret-of-the-table-of-protocols";

/// A service, an inbound listener in front of it, and perhaps an outbound one in front of that.
struct World {
    transport: Transport,
    certificates: Certificates,
    authority: Authority,
    service: Service,
    inbound: Sidecar,
    outbound: Option<Sidecar>,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(transport: Transport, with_outbound: bool) -> Self {
        let certificates = Certificates::new();
        let dir = tempfile::TempDir::new().expect("a temporary directory");
        let path = dir.path().join("service.sock");
        let listening = if transport.is_socket() {
            Listening::Socket(&path)
        } else if transport.is_tls() {
            Listening::Tls(certificates.acceptor(transport))
        } else {
            Listening::Plain
        };
        let service = Service::start(listening, transport.is_http2()).await;
        let place = if transport.is_socket() {
            Place::Socket(path)
        } else {
            Place::Port(([127, 0, 0, 1], service.port).into())
        };
        let authority = Authority::start();
        authority.register_client(CLIENT, SECRET);
        let yaml = inbound(transport, &authority, &transport.url(&place));
        let inbound = certificates.files(Sidecar::builder()).start(&yaml).await;
        authority.wait_for_fetches(Endpoint::Jwks, 1).await;
        let mut world = Self {
            transport,
            certificates,
            authority,
            service,
            inbound,
            outbound: None,
            _dir: dir,
        };
        if with_outbound {
            let upstream = transport.url(&world.place(&world.inbound, "inbound"));
            let yaml = outbound(transport, &world.authority, &upstream);
            let builder = Sidecar::builder().secret_file("secret", CLIENT, SECRET);
            let sidecar = world.certificates.files(builder).start(&yaml).await;
            world.outbound = Some(sidecar);
        }
        world
    }

    fn place(&self, sidecar: &Sidecar, name: &str) -> Place {
        if self.transport.is_socket() {
            Place::Socket(sidecar.path(&format!("{name}.sock")))
        } else {
            Place::Port(sidecar.address(name))
        }
    }

    fn caller(&self) -> Caller {
        let token = self.authority.token().claim("client_id", CLIENT);
        let (place, token) = match &self.outbound {
            Some(outbound) => (self.place(outbound, "outbound"), None),
            None => (self.place(&self.inbound, "inbound"), Some(token.sign())),
        };
        Caller {
            place,
            http2: self.transport.is_http2(),
            tls: self.certificates.caller(self.transport),
            token,
            name: CLIENT,
        }
    }
}

fn inbound(transport: Transport, authority: &Authority, upstream: &str) -> String {
    format!(
        r#"
stateDir: "@DIR@"
authorities: {{ users: {{ issuer: "{}" }} }}
inbound:
  - name: inbound
    upstream: "{upstream}"
    authorities: [users]
    audiences: [{AUDIENCE}]
    rules: [{{ paths: ["/**"] }}]
{}
"#,
        authority.issuer(),
        transport.keys("inbound"),
    )
}

fn outbound(transport: Transport, authority: &Authority, upstream: &str) -> String {
    format!(
        r#"
stateDir: "@DIR@"
credentials:
  hub:
    authority: "{}"
    clientID: {CLIENT}
    clientSecretFile: "@DIR@/secret"
    audiences: [{AUDIENCE}]
outbound:
  - name: outbound
    upstream: "{upstream}"
    credential: hub
{}
"#,
        authority.issuer(),
        transport.keys("outbound"),
    )
}

/// Makes every kind of request, and compares the results with the table.
async fn row(transport: Transport, with_outbound: bool) {
    let world = World::new(transport, with_outbound).await;
    let caller = world.caller();
    for kind in KINDS {
        let outcome = kind.run(&caller, &world.service.events).await;
        assert_eq!(outcome, transport.expected(kind), "{transport:?} {kind:?}");
    }
}

/// One test for each row and each way.
macro_rules! table {
    ($($name:ident: $transport:ident,)*) => {
        mod through_inbound {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::row(super::Transport::$transport, false).await;
            })*
        }

        mod through_outbound_and_inbound {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::row(super::Transport::$transport, true).await;
            })*
        }
    };
}

table! {
    http1: Http1,
    http1_over_tls: Http1OverTls,
    http2_over_tls: Http2OverTls,
    h2c: H2c,
    unix: Unix,
    h2c_over_unix: H2cUnix,
    mutual_tls: MutualTls,
}
