//! The requests of each case, with their configuration and tokens.

use std::path::Path;
use std::process::Command;

use crate::load::{self, Load};
use crate::sidecar::{SECRET, Sidecar};
use crate::upstream::Upstream;

/// The configurations of the side-by-side benchmark.
const PLAIN: &str = include_str!("../side-by-side/rivals/ours.plain.yaml");
const INBOUND: &str = include_str!("../side-by-side/rivals/ours.inbound.yaml");
const OUTBOUND: &str = include_str!("../side-by-side/rivals/ours.outbound.yaml");
const TOKEN: &str = include_str!("../side-by-side/rivals/ours.token.yaml");

/// The issuer of the tokens that inbound verifies and outbound injects.
const AUTHORITY: &str = r#"
log: { level: warn, encoding: text }
threads: 1
store: { url: "sqlite:@RUN@/ours.db" }
stateDir: "@RUN@/ours.state"
probes: { listen: "@ADMIN@" }
issuer:
  url: "http://issuer.test"
  listen: "@LISTEN@"
  signing: { algorithm: @ALGORITHM@ }
  clients:
    - id: bench
      secretFile: "@RUN@/ours.secret"
      owner: "1"
      allowedGrantTypes: [client_credentials]
      allowedAudiences: [bench]
"#;

#[derive(Clone, Copy)]
pub enum Algorithm {
    Es256,
    Rs256,
}

/// How many tokens of each algorithm are issued.
const TOKENS: usize = 500;

/// Requests of one kind.
pub struct Case {
    pub name: &'static str,
    /// The status of every answer.
    pub status: u16,
    kind: Kind,
}

enum Kind {
    Plain,
    Upload,
    /// Inbound with this many different tokens, whose signatures are right or wrong.
    Inbound(Algorithm, usize, Signature),
    /// Inbound with a bearer token that is no JWT.
    Garbage,
    Outbound,
    Issue,
}

enum Signature {
    Right,
    Wrong,
}

/// The cases of benches/instructions.txt.
pub fn counted() -> Vec<Case> {
    use Algorithm::{Es256, Rs256};
    let case = |name, status, kind| Case { name, status, kind };
    let inbound = Kind::Inbound;
    vec![
        case("plain", 200, Kind::Plain),
        case("inbound RS256", 200, inbound(Rs256, 1, Signature::Right)),
        case("inbound ES256", 200, inbound(Es256, 1, Signature::Right)),
        case("outbound", 200, Kind::Outbound),
        case("issue ES256", 200, Kind::Issue),
        case("bad RS256", 401, inbound(Rs256, TOKENS, Signature::Wrong)),
        case("garbage", 401, Kind::Garbage),
    ]
}

/// Those, and what a profile needs besides: bodies, tokens that are new.
pub fn training() -> Vec<Case> {
    use Algorithm::{Es256, Rs256};
    let case = |name, status, kind| Case { name, status, kind };
    let mut cases = counted();
    let inbound = Kind::Inbound;
    cases.extend([
        case("bodies", 200, Kind::Upload),
        case("many RS256", 200, inbound(Rs256, TOKENS, Signature::Right)),
        case("many ES256", 200, inbound(Es256, TOKENS, Signature::Right)),
        case("bad ES256", 401, inbound(Es256, TOKENS, Signature::Wrong)),
    ]);
    cases
}

impl Case {
    pub fn config(&self, tokens: &Tokens, upstream: &Upstream) -> String {
        let (template, algorithm) = match self.kind {
            Kind::Plain | Kind::Upload => (PLAIN, Algorithm::Es256),
            Kind::Inbound(algorithm, ..) => (INBOUND, algorithm),
            Kind::Garbage => (INBOUND, Algorithm::Rs256),
            Kind::Outbound => (OUTBOUND, Algorithm::Es256),
            Kind::Issue => (TOKEN, Algorithm::Es256),
        };
        let authority = tokens.by(algorithm).sidecar.address;
        template
            .replace("@UPSTREAM@", &upstream.address.to_string())
            .replace(
                "@JWKS_URL@",
                &format!("http://{authority}/.well-known/jwks.json"),
            )
            .replace("@TOKEN_URL@", &format!("http://{authority}/oauth/token"))
            .replace("@ISSUER@", "http://issuer.test")
            .replace("@AUDIENCE@", "bench")
    }

    /// The requests that are sent in a cycle.
    pub fn requests(&self, tokens: &Tokens) -> Vec<Vec<u8>> {
        match &self.kind {
            Kind::Plain => vec![load::request("GET", "/", "", "")],
            Kind::Upload => {
                vec![load::request("POST", "/echo", "", &"x".repeat(16 * 1024))]
            }
            Kind::Outbound => vec![load::request("GET", "/with-token", "", "")],
            Kind::Issue => vec![token_request()],
            Kind::Inbound(algorithm, number, signature) => {
                let tokens = &tokens.by(*algorithm).tokens;
                let chosen = (0..*number).map(|at| {
                    let token = &tokens[at];
                    match signature {
                        Signature::Right => token.clone(),
                        Signature::Wrong => with_signature_of(token, &tokens[at ^ 1]),
                    }
                });
                chosen.map(|token| with_token(&token)).collect()
            }
            Kind::Garbage => vec![with_token(&"x".repeat(500))],
        }
    }
}

fn with_token(token: &str) -> Vec<u8> {
    let field = format!("Authorization: Bearer {token}\r\n");
    load::request("GET", "/", &field, "")
}

fn with_signature_of(token: &str, other: &str) -> String {
    let (signed, _) = token.rsplit_once('.').expect("a JWT");
    let (_, signature) = other.rsplit_once('.').expect("a JWT");
    format!("{signed}.{signature}")
}

fn token_request() -> Vec<u8> {
    let field = "Content-Type: application/x-www-form-urlencoded\r\n";
    let body = format!("grant_type=client_credentials&client_id=bench&client_secret={SECRET}");
    load::request("POST", "/oauth/token", field, &body)
}

/// One running issuer for each algorithm, and tokens of it.
pub struct Tokens {
    es256: Issued,
    rs256: Issued,
}

struct Issued {
    sidecar: Sidecar,
    tokens: Vec<String>,
}

impl Tokens {
    pub fn of(binary: &Path) -> Self {
        let issued = |algorithm| {
            let config = AUTHORITY.replace("@ALGORITHM@", algorithm);
            let requests = |address| Load {
                address,
                requests: vec![token_request()],
                status: 200,
            };
            let (sidecar, load) = Load::start(|| Command::new(binary), &config, requests);
            let answers = load.answers(TOKENS);
            Issued {
                tokens: answers.iter().map(|it| token_of(it)).collect(),
                sidecar,
            }
        };
        Self {
            es256: issued("ES256"),
            rs256: issued("RS256"),
        }
    }

    pub fn end(self) {
        self.es256.sidecar.end();
        self.rs256.sidecar.end();
    }

    fn by(&self, algorithm: Algorithm) -> &Issued {
        match algorithm {
            Algorithm::Es256 => &self.es256,
            Algorithm::Rs256 => &self.rs256,
        }
    }
}

fn token_of(answer: &str) -> String {
    let (_, rest) = answer.split_once("\"access_token\":\"").expect("a token");
    rest.split_once('"').expect("a JSON string").0.to_owned()
}
