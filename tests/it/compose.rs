//! Plays docker-compose.yml with its own configurations, without Docker.
//! The test starts itself again in new namespaces, where it may create networks and mounts. They
//! end with the test.

mod engine;
mod project;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use engine::{Engine, must, until};
use project::{Mount, Project, Service};

/// Set for the test that runs in the namespaces.
const INSIDE: &str = "M2M_SIDECAR_COMPOSE_INSIDE";
/// A plain user's `PATH` may lack the directories of `ip` and `chroot`.
const SYSTEM_PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";
/// The required programs, each with its Debian package.
const TOOLS: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("chroot", "coreutils"),
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("nsenter", "util-linux"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// As root of a user namespace, which plain users may be; else as real root.
const WAYS: &[&[&str]] = &[&["--map-root-user"], &[]];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

fn in_namespaces(way: &[&str]) -> Command {
    let path = std::env::var_os("PATH")
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut command = Command::new("unshare");
    command.args(way).args([
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command
        .env("PATH", format!("{path}:{SYSTEM_PATH}"))
        .stdin(Stdio::null());
    command
}

/// The options of `unshare` that this machine allows; panics with the reason when it allows none.
fn way() -> &'static [&'static str] {
    let has = |tool: &str| {
        let found = shell(&format!("PATH=$PATH:{SYSTEM_PATH}; command -v {tool}"))
            .output()
            .expect("sh");
        found.status.success()
    };
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| !has(tool)).collect();
    let packages = missing
        .iter()
        .map(|(_, package)| *package)
        .collect::<Vec<_>>()
        .join(" ");
    assert!(
        missing.is_empty(),
        "this test needs {missing:?}: sudo apt-get install {packages}"
    );
    let mut why = String::new();
    for way in WAYS {
        let probe = "ip link add br0 type bridge && mount -t tmpfs tmpfs /tmp";
        let tried = in_namespaces(way)
            .args(["sh", "-c", probe])
            .output()
            .expect("unshare");
        if tried.status.success() {
            return way;
        }
        why.push_str(&String::from_utf8_lossy(&tried.stderr));
    }
    panic!(
        "this test plays docker-compose.yml in namespaces, and this machine allows none ({}). A \
        plain user needs user \
         namespaces (kernel.unprivileged_userns_clone=1, user.max_user_namespaces>0; on Ubuntu \
         kernel.apparmor_restrict_unprivileged_userns=0); in a container it needs \
         CAP_SYS_ADMIN, as by `--privileged`",
        why.trim().replace('\n', "; ")
    );
}

#[test]
fn docker_compose_is_played_with_its_own_configuration_files() {
    if std::env::var_os(INSIDE).is_some() {
        return play();
    }
    let me = std::env::current_exe().expect("this test");
    let name = "compose::docker_compose_is_played_with_its_own_configuration_files";
    let played = in_namespaces(way())
        .arg(me)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output();
    let played = played.expect("unshare");
    let (out, err) = (
        String::from_utf8_lossy(&played.stdout),
        String::from_utf8_lossy(&played.stderr),
    );
    assert!(
        played.status.success() && out.contains("1 passed"),
        "{out}\n{err}"
    );
}

/// The command that creates the secrets, from the file.
fn secrets_command(file: &str) -> String {
    let line = file
        .lines()
        .find_map(|line| line.strip_prefix("#   install -d"));
    format!(
        "install -d{}",
        line.expect("docker-compose.yml shows how secrets are made")
    )
}

fn play() {
    let (dir, own) = (
        TempDir::new().expect("a directory"),
        TempDir::new().expect("a directory"),
    );
    let file = fs::read_to_string(root().join("docker-compose.yml")).expect("docker-compose.yml");
    for name in ["docker-compose.yml", "Dockerfile", "conf", "examples"] {
        symlink(root().join(name), dir.path().join(name)).expect("a link");
    }
    must(shell(&secrets_command(&file)).current_dir(dir.path()));
    let mode = |name: &str| {
        fs::metadata(dir.path().join(name))
            .expect(name)
            .permissions()
            .mode()
            & 0o777
    };
    // Only the container's user can read them.
    assert_eq!((mode("secrets"), mode("secrets/legacy")), (0o700, 0o444));

    let mut world = World {
        engine: Engine::new(dir.path(), own.path(), Project::read(dir.path())),
        seen: 0,
    };
    for (what, part) in PARTS {
        eprintln!("{what}");
        part(&mut world);
    }
    let secret = fs::read_to_string(dir.path().join("secrets/legacy")).expect("the secret");
    for name in world.engine.names() {
        let log = world.engine.log(name);
        assert!(
            !log.contains(secret.trim()) && !log.contains("eyJ"),
            "a secret or token in the log of {name}"
        );
    }
}

/// A step of the scenario.
type Part = (&'static str, fn(&mut World));

/// The steps in order. Each begins and ends with all services running.
const PARTS: &[Part] = &[
    (
        "every service starts, and the legacy service is served",
        start,
    ),
    ("other clients are refused", refuse_unauthenticated_clients),
    ("services are restarted", restart_services),
    ("the devices move to another address", move_devices),
    ("the issuer goes, and comes back elsewhere", lose_issuer),
    ("a sidecar writes nothing", run_read_only),
    ("every service ends in peace", end),
];

struct World {
    engine: Engine,
    /// The length of the legacy service's log that was read.
    seen: usize,
}

impl World {
    /// The answers to the legacy service since the last call: statuses with bodies.
    fn answers(&mut self) -> Vec<(u16, String)> {
        let log = self.engine.log("legacy");
        let (mut answers, mut body) = (Vec::new(), String::new());
        let mut read = self.seen;
        for line in log[self.seen..].split_inclusive('\n') {
            read += line.len();
            match line
                .strip_suffix('\n')
                .and_then(|line| line.split_once(" HTTP "))
            {
                Some((rest, status)) => {
                    body.push_str(rest);
                    answers.push((status.parse().expect("a status"), std::mem::take(&mut body)));
                    self.seen = read;
                }
                None => body.push_str(line),
            }
        }
        answers
    }

    /// Skips the answers up to now.
    fn forget(&mut self) {
        self.answers();
    }

    /// Waits until the service gets answers again.
    fn recovers(&mut self) {
        until("the legacy service is served", || {
            self.answers()
                .iter()
                .any(|(status, body)| *status == 200 && is_legacy(body))
                .then_some(())
        });
    }

    /// Checks that some calls succeed.
    fn is_served_without_a_gap(&mut self) {
        let mut served = 0;
        until("three calls of the legacy service", || {
            for (status, body) in self.answers() {
                assert!(status == 200 && is_legacy(&body), "{status} {body}");
                served += 1;
            }
            (served >= 3).then_some(())
        });
    }

    /// A command of the binary in a sidecar's container.
    fn command(&self, sidecar: &str, arguments: &[&str]) -> Result<String, String> {
        let program = self.engine.service(sidecar).command[0].clone();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let output = self.engine.exec(
            sidecar,
            &[program].into_iter().chain(arguments).collect::<Vec<_>>(),
        );
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stderr))
        }
    }

    fn signing_keys(&self) -> String {
        let (code, keys) = curl(
            self.engine.address("issuer"),
            ":8080/.well-known/jwks.json",
            &[],
        );
        assert_eq!(code, "200", "{keys}");
        keys
    }
}

fn is_legacy(body: &str) -> bool {
    body.contains(r#""x-m2m-client-id": "legacy""#)
        && body.contains(r#""x-m2m-scope": "devices:read""#)
}

/// The answer to a client on the network: status (000: no answer) and body.
fn curl(host: &str, rest: &str, more: &[&str]) -> (String, String) {
    let url = format!("http://{host}{rest}");
    let output = Command::new("curl")
        .args([
            "--silent",
            "--max-time",
            "10",
            "--write-out",
            "\n%{http_code}",
        ])
        .args(more)
        .arg(url)
        .output()
        .expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, code) = text.rsplit_once('\n').expect("a status");
    (code.to_owned(), body.to_owned())
}

fn start(world: &mut World) {
    world.engine.up();
    for sidecar in ["issuer", "devices-sidecar", "legacy-sidecar"] {
        let checked = world
            .command(sidecar, &["check"])
            .expect("a configuration without errors");
        assert!(checked.contains("ok"), "{checked}");
    }
    world.recovers();
    world.is_served_without_a_gap();
}

fn refuse_unauthenticated_clients(world: &mut World) {
    let devices = world.engine.address("devices-sidecar");
    assert_eq!(curl(devices, ":8081/api/v1/devices", &[]).0, "401");
    assert_eq!(curl(devices, ":8081/healthz", &[]).0, "200");
    // The API, the probes and the outbound listener are reachable only in their own namespace.
    for (host, port) in [(devices, ":9090/"), (devices, ":9900/metrics")] {
        assert_eq!(curl(host, port, &[]).0, "000", "{port}");
    }
    assert_eq!(
        curl(
            world.engine.address("legacy-sidecar"),
            ":9000/api/v1/devices",
            &[]
        )
        .0,
        "000"
    );
    let token = world
        .command("legacy-sidecar", &["token", "--credential", "devices"])
        .expect("a token");
    let bearer = format!("Authorization: Bearer {token}");
    let (code, body) = curl(devices, ":8081/api/v1/devices", &["--header", &bearer]);
    assert!(code == "200" && is_legacy(&body), "{code} {body}");
    let (code, _) = curl(
        devices,
        ":8081/api/v1/devices",
        &["--header", &bearer, "--request", "DELETE"],
    );
    assert_eq!(code, "403");
}

fn restart_services(world: &mut World) {
    let sidecars = ["devices-sidecar", "legacy-sidecar"];
    let before = sidecars.map(|sidecar| world.engine.pid(sidecar));
    world.engine.stop("devices");
    world.forget();
    until("the sidecar says that the API is gone", || {
        world
            .answers()
            .iter()
            .any(|(status, _)| *status == 502)
            .then_some(())
    });
    world.engine.start("devices");
    world.recovers();
    world.engine.restart("legacy");
    world.forget();
    world.is_served_without_a_gap();
    assert_eq!(sidecars.map(|sidecar| world.engine.pid(sidecar)), before);
}

fn move_devices(world: &mut World) {
    let before = (
        world.engine.address("devices-sidecar").to_owned(),
        world.engine.pid("legacy-sidecar"),
    );
    world.engine.restart("devices-sidecar");
    assert_ne!(world.engine.address("devices-sidecar"), before.0);
    world.forget();
    world.recovers();
    assert_eq!(world.engine.pid("legacy-sidecar"), before.1);
}

fn lose_issuer(world: &mut World) {
    let (keys, address) = (
        world.signing_keys(),
        world.engine.address("issuer").to_owned(),
    );
    world.engine.stop("issuer");
    world.forget();
    // The keys are known, and the token is still valid.
    world.is_served_without_a_gap();
    // A sidecar that starts meanwhile has the keys from its volume.
    world.engine.restart("devices-sidecar");
    world.forget();
    world.recovers();
    // A sidecar that needs a token starts too, is healthy, and answers 503 until it has one.
    world.engine.restart("legacy-sidecar");
    world.forget();
    until("the legacy service gets 503 without a token", || {
        let answers = world.answers();
        assert!(
            answers
                .iter()
                .all(|(status, _)| *status == 503 || *status == 0),
            "{answers:?}"
        );
        answers
            .iter()
            .any(|(status, _)| *status == 503)
            .then_some(())
    });
    assert!(
        world
            .command("legacy-sidecar", &["token", "--credential", "devices"])
            .is_err()
    );

    world.engine.start("issuer");
    world.engine.wait_for_health("issuer");
    assert_ne!(world.engine.address("issuer"), address);
    assert_eq!(world.signing_keys(), keys, "the keys are on the volume");
    world.recovers();
    world
        .command("legacy-sidecar", &["token", "--credential", "devices"])
        .expect("a token");
}

/// Inbound in front of outbound, on a read-only root: neither the working directory nor `stateDir`
/// is writable.
fn run_read_only(world: &mut World) {
    let service = world.engine.service("legacy-sidecar");
    let config = root()
        .join("tests/it/compose/read-only.yaml")
        .display()
        .to_string();
    let mounts = service
        .mounts
        .iter()
        .map(|mount| match mount.target.as_str() {
            "/etc/m2m-sidecar/config.yaml" => Mount {
                source: config.clone(),
                ..mount.clone()
            },
            _ => mount.clone(),
        });
    let service = Service {
        mounts: mounts.collect(),
        ..service.clone()
    };
    world.engine.add("read-only", service);
    world.engine.start("read-only");
    world.engine.wait_for_health("read-only");
    for directory in [
        "/",
        "/data",
        "/etc",
        "/tmp",
        "/var/lib",
        "/run/secrets",
        "/usr/local/bin",
    ] {
        let touch = ["touch", &format!("{directory}/x")].map(str::to_owned);
        let refused = world.engine.exec("read-only", &touch);
        let why = String::from_utf8_lossy(&refused.stderr);
        assert!(why.contains("Read-only file system"), "{directory}: {why}");
    }
    let token = world
        .command("read-only", &["token", "--credential", "devices"])
        .expect("a token");
    let bearer = format!("Authorization: Bearer {token}");
    until("the keys are there, and the request went both ways", || {
        let address = world.engine.address("read-only");
        let (code, body) = curl(address, ":8081/api/v1/devices", &["--header", &bearer]);
        (code == "200" && is_legacy(&body)).then_some(())
    });
    assert_eq!(
        curl(
            world.engine.address("read-only"),
            ":8081/api/v1/devices",
            &[]
        )
        .0,
        "401"
    );
    assert!(
        world
            .engine
            .log("read-only")
            .contains("the state directory cannot be made")
    );
    world.engine.stop("read-only");
}

fn end(world: &mut World) {
    for name in ["legacy-sidecar", "devices-sidecar", "issuer"] {
        world.engine.stop(name);
    }
}
