//! The current token in a file, for programs that read it there.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::TokenSource;
use crate::domain::secret::{ExposeSecret, SecretString};
use crate::domain::token_use::SinkFormat;
use crate::files::private::{Access, replace_for};
use crate::files::{accounts, blocking};
use crate::jose::refresh::Backoff;
use crate::token_source::access_token::AccessToken;
use crate::token_source::{CredentialStatus, Event};

/// The file for the current token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    pub path: PathBuf,
    /// The permission bits.
    pub mode: u32,
    /// The names or numbers of its owner; `None`: ours.
    pub user: Option<String>,
    pub group: Option<String>,
    pub format: SinkFormat,
}

/// The pauses after failures to write.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
    jitter: 0.1,
};

/// How often a missing file is looked for: a volume may have been emptied.
const LOOK_EVERY: Duration = Duration::from_secs(10);

impl TokenSource {
    /// Writes each new token into the file of the sink, until the future is dropped. The file then
    /// stays: its token is valid until its end. Ends at once without a sink.
    pub async fn run_sink(self) {
        let Some(sink) = &self.0.config.sink else {
            return;
        };
        let mut state = self.0.state.subscribe();
        let mut written: Option<AccessToken> = None;
        let mut failures = 0;
        loop {
            state.borrow_and_update();
            let mut pause = LOOK_EVERY;
            if let Some(token) = self.current()
                && !is_written(sink, written.as_ref(), &token).await
            {
                match self.write_sink(sink, &token).await {
                    Ok(()) => (written, failures) = (Some(token), 0),
                    Err(error) => {
                        self.sink_failed(sink, &error, failures);
                        failures += 1;
                        pause = BACKOFF.pause(failures, fastrand::f64());
                    }
                }
            }
            tokio::select! {
                changed = state.changed() => if changed.is_err() {
                    return;
                },
                () = sleep(pause) => {}
            }
        }
    }

    async fn write_sink(&self, sink: &Sink, token: &AccessToken) -> io::Result<()> {
        let content = content(sink.format, token);
        let to = sink.clone();
        blocking(move || write(&to, &content)).await?;
        let (credential, now) = (&self.0.config.name, self.0.clock.now());
        self.0.status.rcu(|s| CredentialStatus {
            sink_written_at: Some(now),
            sink_error: None,
            ..(**s).clone()
        });
        (self.0.observer)(Event::Written {
            credential,
            ok: true,
        });
        Ok(())
    }

    fn sink_failed(&self, sink: &Sink, error: &io::Error, failures: u32) {
        let (credential, path) = (&self.0.config.name, sink.path.display());
        let text: Arc<str> = format!("{path}: {error}").into();
        self.0.status.rcu(|s| CredentialStatus {
            sink_error: Some(text.clone()),
            ..(**s).clone()
        });
        (self.0.observer)(Event::Written {
            credential,
            ok: false,
        });
        // Not for each try.
        if failures.is_power_of_two() || failures == 0 {
            tracing::warn!(
                credential,
                %path,
                %error,
                "the token cannot be written into the file of `sink`; it is tried again"
            );
        }
    }
}

/// Whether the file has this token.
async fn is_written(sink: &Sink, written: Option<&AccessToken>, token: &AccessToken) -> bool {
    let is_same = written.is_some_and(|written| {
        written.is_same_as(token) && written.usable_until() == token.usable_until()
    });
    let path = sink.path.clone();
    is_same && blocking(move || path.exists()).await
}

/// The content of a file in this format.
fn content(format: SinkFormat, token: &AccessToken) -> SecretString {
    let ends = || token.usable_until().to_rfc3339();
    let text = token.secret().expose_secret();
    match format {
        SinkFormat::Raw => token.secret().clone(),
        SinkFormat::Json => {
            json!({ "access_token": text, "token_type": "Bearer", "expires_at": ends() })
                .to_string()
                .into()
        }
        // client.authentication.k8s.io/v1, as the exec plugins of kubectl write it.
        SinkFormat::ExecCredential => json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "kind": "ExecCredential",
            "spec": { "interactive": false },
            "status": { "token": text, "expirationTimestamp": ends() },
        })
        .to_string()
        .into(),
    }
}

/// Replaces the file as a whole. Mode and owner are set before it has its name. Blocks.
fn write(sink: &Sink, content: &SecretString) -> io::Result<()> {
    let user = sink.user.as_deref().map(accounts::user).transpose()?;
    let group = sink.group.as_deref().map(accounts::group).transpose()?;
    let access = Access {
        mode: sink.mode,
        owner: match (user, group) {
            (None, None) => None,
            (user, group) => Some((
                user.unwrap_or_else(|| rustix::process::geteuid().as_raw()),
                group.unwrap_or_else(|| rustix::process::getegid().as_raw()),
            )),
        },
    };
    replace_for(&sink.path, content.expose_secret().as_bytes(), access)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::Value;
    use tokio::time::Instant;

    use super::*;
    use crate::domain::clock::UnixTime;
    use crate::token_source::access_token::{Grant, Moment};

    fn token() -> AccessToken {
        AccessToken::new(Grant {
            token: "t0k3n".into(),
            lifetime: Duration::from_secs(600),
            requested: Moment {
                monotonic: Instant::now(),
                wall: UnixTime(1_796_000_000),
            },
            identity: [0; 32],
        })
    }

    fn parsed(format: SinkFormat) -> Value {
        serde_json::from_str(content(format, &token()).expose_secret()).unwrap()
    }

    #[test]
    fn each_format_holds_the_token_and_its_end() {
        assert_eq!(
            content(SinkFormat::Raw, &token()).expose_secret(),
            "t0k3n",
            "without a line end"
        );
        let ends = UnixTime(1_796_000_000 + 595).to_rfc3339().unwrap();
        let expected = json!({
            "access_token": "t0k3n",
            "token_type": "Bearer",
            "expires_at": ends,
        });
        assert_eq!(parsed(SinkFormat::Json), expected);
    }

    /// The schema of `ExecCredential` in client.authentication.k8s.io/v1: the two members of the
    /// type are compared exactly; `spec` is required, and in it `interactive`. `status` has `token`
    /// or a client certificate; `expirationTimestamp` is a `metav1.Time`, which is RFC 3339 in UTC
    /// with whole seconds.
    #[test]
    fn an_exec_credential_has_the_members_of_its_schema() {
        let credential = parsed(SinkFormat::ExecCredential);
        assert_eq!(credential["apiVersion"], "client.authentication.k8s.io/v1");
        assert_eq!(credential["kind"], "ExecCredential");
        let members = |value: &Value| {
            let members = value.as_object().unwrap().keys().cloned();
            members.collect::<Vec<_>>()
        };
        assert_eq!(
            members(&credential),
            ["apiVersion", "kind", "spec", "status"]
        );
        assert_eq!(credential["spec"], json!({ "interactive": false }));
        let status = &credential["status"];
        assert_eq!(members(status), ["expirationTimestamp", "token"]);
        assert_eq!(status["token"], "t0k3n");
        let ends = status["expirationTimestamp"].as_str().unwrap();
        assert_eq!(ends.len(), "2026-11-30T20:00:00Z".len(), "{ends}");
        assert!(ends.ends_with('Z') && UnixTime::from_rfc3339(ends).is_some());
    }

    #[test]
    fn the_file_has_its_mode_from_the_beginning_and_no_other_file_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = Sink {
            path: dir.path().join("token"),
            mode: 0o640,
            user: None,
            group: None,
            format: SinkFormat::Raw,
        };
        for content in ["first", "second, and longer"] {
            write(&sink, &content.into()).unwrap();
            assert_eq!(std::fs::read_to_string(&sink.path).unwrap(), content);
            let mode = std::fs::metadata(&sink.path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o640);
        }
        sink.user = Some("no-such-user-here".to_owned());
        assert!(write(&sink, &"third".into()).is_err());
        assert_eq!(
            std::fs::read_to_string(&sink.path).unwrap(),
            "second, and longer"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        sink.path = dir.path().join("missing/token");
        assert!(write(&sink, &"third".into()).is_err());
    }
}
