//! Reads docker-compose.yml and the Dockerfile.
//! Unknown keys are refused, so that the test cannot miss a part of the file.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::Duration;

use saphyr_parser::{Event, Parser, StrInput};
use serde_json::{Map, Value};

/// The image that the Dockerfile builds; every other image is one of the services beside the
/// sidecars.
const OUR_IMAGE: &str = "m2m-sidecar";

/// Keys of a service that the test plays or checks.
const SERVICE_KEYS: &[&str] = &[
    "build",
    "cap_drop",
    "command",
    "depends_on",
    "entrypoint",
    "healthcheck",
    "image",
    "init",
    "mem_limit",
    "network_mode",
    "pids_limit",
    "ports",
    "read_only",
    "restart",
    "secrets",
    "security_opt",
    "stop_grace_period",
    "user",
    "volumes",
];

pub struct Project {
    pub services: BTreeMap<String, Service>,
}

#[derive(Clone)]
pub struct Service {
    /// Whether it runs the image of the Dockerfile.
    pub is_sidecar: bool,
    pub command: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    /// The service whose network namespace it joins.
    pub network_of: Option<String>,
    pub depends_on: Vec<Dependency>,
    pub healthcheck: Vec<String>,
    pub stop_grace_period: Duration,
}

#[derive(Clone)]
pub struct Mount {
    /// Relative to the project's directory.
    pub source: String,
    pub target: String,
    pub read_only: bool,
}

#[derive(Clone)]
pub struct Dependency {
    pub service: String,
    /// Whether Compose restarts it with that service.
    pub restart: bool,
}

impl Project {
    /// Reads `docker-compose.yml` and `Dockerfile` of a directory.
    pub fn read(root: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(root.join(name)).expect(name);
        let image = Image::read(&text("Dockerfile"));
        let file = yaml(&text("docker-compose.yml"));
        let secrets = object(&file["secrets"]);
        let services = object(&file["services"]).iter();
        let services: BTreeMap<_, _> = services
            .map(|(name, value)| (name.clone(), service(name, value, secrets, &image)))
            .collect();
        let volumes = object(&file["volumes"]);
        for mount in services.values().flat_map(|service| &service.mounts) {
            let named = mount.source.strip_prefix("volumes/");
            assert!(
                named.is_none_or(|name| volumes.contains_key(name)),
                "no volume {}",
                mount.source
            );
        }
        Self { services }
    }

    /// The services, each after its dependencies.
    pub fn start_order(&self) -> Vec<&str> {
        let mut order: Vec<&str> = Vec::new();
        while order.len() < self.services.len() {
            let next = self.services.iter().find(|(name, service)| {
                let waits = |needed: &Dependency| !order.contains(&needed.service.as_str());
                !order.contains(&name.as_str()) && !service.depends_on.iter().any(waits)
            });
            order.push(
                next.expect("dependencies without a circle, on services that exist")
                    .0,
            );
        }
        order
    }
}

/// The last stage of the Dockerfile.
struct Image {
    entrypoint: Vec<String>,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    healthcheck: Vec<String>,
}

impl Image {
    fn read(dockerfile: &str) -> Self {
        let joined = dockerfile.replace("\\\n", " ");
        let stage = &joined[joined.rfind("\nFROM ").expect("a last stage")..];
        let all = |word: &str| -> Vec<&str> {
            stage
                .lines()
                .filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '))
                .collect()
        };
        let one = |word: &str| {
            *all(word)
                .last()
                .unwrap_or_else(|| panic!("{word} in the Dockerfile"))
        };
        let list = |text: &str| {
            serde_json::from_str(text).expect("the form with brackets: there is no shell")
        };
        assert_eq!(
            (one("USER"), one("WORKDIR"), one("STOPSIGNAL")),
            ("65532:65532", "/", "SIGTERM")
        );
        let (_, healthcheck) = one("HEALTHCHECK").split_once(" CMD ").expect("a command");
        let environment = all("ENV")
            .into_iter()
            .map(|line| line.split_once('=').expect("NAME=VALUE"));
        Self {
            entrypoint: list(one("ENTRYPOINT")),
            command: list(one("CMD")),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            healthcheck: list(healthcheck),
        }
    }
}

fn service(name: &str, value: &Value, secrets: &Map<String, Value>, image: &Image) -> Service {
    for key in object(value).keys() {
        assert!(
            SERVICE_KEYS.contains(&key.as_str()),
            "{name}: `{key}` is not played"
        );
    }
    // The test sets no limits; it only checks that the file has them.
    assert!(
        !value["mem_limit"].is_null() && !value["pids_limit"].is_null(),
        "{name}"
    );
    // The test always does so.
    assert_eq!(value["read_only"], true, "{name}");
    assert_eq!(texts(&value["cap_drop"]), ["ALL"], "{name}");
    assert_eq!(
        texts(&value["security_opt"]),
        ["no-new-privileges:true"],
        "{name}"
    );
    for port in texts(&value["ports"]) {
        assert!(
            port.starts_with("127.0.0.1:"),
            "{name}: {port} is published to the world"
        );
    }
    let is_sidecar = value["image"] == OUR_IMAGE;
    let (entrypoint, command) = (texts(&value["entrypoint"]), texts(&value["command"]));
    let own = |given: Vec<String>, of_image: &[String]| {
        if given.is_empty() && is_sidecar {
            of_image.to_vec()
        } else {
            given
        }
    };
    let command = [
        own(entrypoint, &image.entrypoint),
        own(command, &image.command),
    ]
    .concat();
    let mut healthcheck = texts(&value["healthcheck"]["test"]);
    if is_sidecar {
        assert_eq!(healthcheck.remove(0), "CMD", "{name}");
        assert_eq!(healthcheck, image.healthcheck, "{name}");
    }
    let secret = |secret: String| Mount {
        source: secrets[&secret]["file"]
            .as_str()
            .expect("a file")
            .to_owned(),
        target: format!("/run/secrets/{secret}"),
        read_only: true,
    };
    let volumes = texts(&value["volumes"])
        .into_iter()
        .map(|volume| mount(&volume));
    Service {
        is_sidecar,
        command,
        environment: if is_sidecar {
            image.environment.clone()
        } else {
            Vec::new()
        },
        mounts: volumes
            .chain(texts(&value["secrets"]).into_iter().map(secret))
            .collect(),
        network_of: value["network_mode"].as_str().map(|mode| {
            mode.strip_prefix("service:")
                .unwrap_or_else(|| panic!("{name}: {mode} is not played"))
                .to_owned()
        }),
        depends_on: dependencies(name, &value["depends_on"]),
        healthcheck,
        // Docker's default is 10 s.
        stop_grace_period: value["stop_grace_period"]
            .as_str()
            .map_or(Duration::from_secs(10), seconds),
    }
}

fn dependencies(name: &str, value: &Value) -> Vec<Dependency> {
    let Some(map) = value.as_object() else {
        return Vec::new();
    };
    let dependency = |(service, how): (&String, &Value)| {
        assert_eq!(how["condition"], "service_healthy", "{name}: {service}");
        Dependency {
            service: service.clone(),
            restart: how["restart"] == true,
        }
    };
    map.iter().map(dependency).collect()
}

fn mount(text: &str) -> Mount {
    let [source, target, mode @ ..] = &text.split(':').collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };
    let source = if source.starts_with('.') {
        (*source).to_owned()
    } else {
        format!("volumes/{source}")
    };
    Mount {
        source,
        target: (*target).to_owned(),
        read_only: mode == ["ro"],
    }
}

fn seconds(text: &str) -> Duration {
    let number = text
        .strip_suffix('s')
        .and_then(|number| number.parse().ok());
    Duration::from_secs(number.unwrap_or_else(|| panic!("{text}: seconds are expected")))
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("a mapping")
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .map(|item| item.as_str().expect("a text").to_owned())
        .collect()
}

/// YAML as JSON, with anchors and merge keys (`<<`), as in Compose.
fn yaml(text: &str) -> Value {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
    };
    loop {
        match reader.next() {
            Event::StreamStart | Event::DocumentStart(_) => {}
            event => return reader.value(event),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Value>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Event<'a> {
        self.parser
            .next()
            .expect("not at its end yet")
            .expect("valid YAML")
            .0
    }

    fn value(&mut self, event: Event<'a>) -> Value {
        let (value, anchor) = match event {
            Event::Alias(id) => return self.anchors[&id].clone(),
            Event::Scalar(text, _, anchor, _) => {
                let value = match &*text {
                    "true" => Value::Bool(true),
                    "" => Value::Null,
                    text => text.into(),
                };
                (value, anchor)
            }
            Event::SequenceStart(anchor, _) => (Value::Array(self.items()), anchor),
            Event::MappingStart(anchor, _) => (Value::Object(self.members()), anchor),
            other => panic!("{other:?} is no value"),
        };
        self.anchors.insert(anchor, value.clone());
        value
    }

    fn items(&mut self) -> Vec<Value> {
        let mut items = Vec::new();
        loop {
            match self.next() {
                Event::SequenceEnd => return items,
                event => items.push(self.value(event)),
            }
        }
    }

    fn members(&mut self) -> Map<String, Value> {
        let (mut members, mut merged) = (Map::new(), Map::new());
        loop {
            let key = match self.next() {
                Event::MappingEnd => break,
                Event::Scalar(key, ..) => key.into_owned(),
                other => panic!("{other:?} is no key"),
            };
            let event = self.next();
            match (key.as_str(), self.value(event)) {
                ("<<", Value::Object(more)) => merged.extend(more),
                (_, value) => assert!(
                    members.insert(key.clone(), value).is_none(),
                    "{key} stands twice"
                ),
            }
        }
        // A mapping's own members replace merged ones.
        merged.extend(members);
        merged
    }
}
