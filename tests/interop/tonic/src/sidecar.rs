//! A sidecar with an issuer, two inbound listeners, and an outbound one before the first.

use std::net::TcpListener;
use std::process::{Child, Command};
use std::{fs, io};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

pub struct Sidecar {
    process: Child,
    pub plain: u16,
    pub tls: u16,
    pub outbound: u16,
    /// The authority of the listener's certificate.
    pub trusted: String,
}

impl Sidecar {
    /// Starts this binary in front of a service. Its files are in an empty directory.
    pub fn start(binary: &str, data: &str, service: u16) -> io::Result<Self> {
        let [issuer, plain, tls, outbound, probes] = free_ports()?;
        let trusted = certify(data);
        let secret = format!("{data}/secret");
        write(&secret, "a-secret-of-this-run-of-the-test")?;
        let rules = r#"[
      { paths: ["/test.Service/Secret"], scopes: [read] },
      { paths: ["/test.Service/Closed"], scopes: [closed] },
      { paths: ["/test.Service/*"], access: public }]"#;
        let inbound = format!(
            r#"
    upstream: h2c://127.0.0.1:{service}
    authorities: [self]
    audiences: any
    rules: {rules}"#
        );
        let configuration = format!(
            r#"
stateDir: {data}/state
store: {{ url: "sqlite:{data}/m2m.db" }}
probes: {{ listen: 127.0.0.1:{probes} }}
readiness: [listeners, store, authorities, credentials]
issuer:
  url: http://127.0.0.1:{issuer}
  listen: 127.0.0.1:{issuer}
  clients: [{{ id: caller, secretFile: {secret}, allowedScopes: [read] }}]
authorities: {{ self: {{ issuer: "http://127.0.0.1:{issuer}" }} }}
inbound:
  - name: plain
    listen: 127.0.0.1:{plain}{inbound}
  - name: tls
    listen: 127.0.0.1:{tls}
    tls: {{ certFile: {data}/tls.crt, keyFile: {data}/tls.key }}{inbound}
credentials:
  caller: {{ authority: "http://127.0.0.1:{issuer}", clientID: caller, clientSecretFile: {secret} }}
outbound:
  - name: outside
    listen: 127.0.0.1:{outbound}
    upstream: h2c://127.0.0.1:{plain}
    credential: caller
"#
        );
        let file = format!("{data}/sidecar.yaml");
        write(&file, &configuration)?;
        let log = fs::File::create(format!("{data}/log"))?;
        let process = Command::new(binary)
            .args(["run", "--config", &file])
            .stderr(log)
            .spawn()?;
        let sidecar = Self {
            process,
            plain,
            tls,
            outbound,
            trusted,
        };
        let ready = Command::new(binary)
            .args(["healthcheck", "--wait", "10", "--config", &file])
            .status()?;
        assert!(
            ready.success(),
            "{}",
            fs::read_to_string(format!("{data}/log"))?
        );
        Ok(sidecar)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_ports() -> io::Result<[u16; 5]> {
    let mut taken = Vec::new();
    let mut ports = [0; 5];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        taken.push(listener);
    }
    Ok(ports)
}

/// Writes the listener's certificate and key, and gives the certificate of its authority.
fn certify(data: &str) -> String {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("a certificate");
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    write(&format!("{data}/tls.crt"), &certificate.pem()).expect("a file");
    write(&format!("{data}/tls.key"), &key.serialize_pem()).expect("a file");
    authority.pem()
}

fn write(path: &str, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}
