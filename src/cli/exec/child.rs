//! The command of `exec`: its start, its signals and its end.

use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::process::Command;
use std::task::Poll;

use anyhow::Context;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpgrp, kill_process, wait};
use rustix::termios::tcgetpgrp;
use tokio::signal::unix::{self, SignalKind, signal};

/// The signals that are passed to the command.
const PASSED: &[(SignalKind, Signal)] = &[
    (SignalKind::terminate(), Signal::TERM),
    (SignalKind::interrupt(), Signal::INT),
    (SignalKind::quit(), Signal::QUIT),
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
    (SignalKind::alarm(), Signal::ALARM),
    (SignalKind::window_change(), Signal::WINCH),
];

/// The signals of this process.
pub(super) struct Signals {
    passed: Vec<(unix::Signal, Signal)>,
    /// A child process has ended.
    child: unix::Signal,
}

impl Signals {
    /// Installs the handlers. A child process gets the default actions.
    pub fn listen() -> anyhow::Result<Self> {
        let open = |kind| signal(kind).context("cannot listen for signals");
        let passed = PASSED.iter();
        let passed = passed.map(|(kind, signal)| Ok((open(*kind)?, *signal)));
        Ok(Self {
            passed: passed.collect::<anyhow::Result<_>>()?,
            child: open(SignalKind::child())?,
        })
    }

    /// Waits for a signal that is passed on.
    pub async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.next_event().await {
                return signal;
            }
        }
    }

    /// Waits for a signal that is passed on; `None`: a child process has ended.
    async fn next_event(&mut self) -> Option<Signal> {
        poll_fn(|cx| {
            if self.child.poll_recv(cx).is_ready() {
                return Poll::Ready(None);
            }
            for (received, signal) in &mut self.passed {
                if received.poll_recv(cx).is_ready() {
                    return Poll::Ready(Some(*signal));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The running command.
pub(super) struct Child(Pid);

impl Child {
    /// Starts the command with the standard streams and the process group of this process.
    ///
    /// # Errors
    /// Those of the system.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        id.map(Self)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Passes signals on until the command has ended. Gives its exit code.
    pub async fn until_end(self, signals: &mut Signals) -> u8 {
        loop {
            // The command is not reaped between this and the signal, so its id is still its own.
            if let Some(code) = self.reap() {
                return code;
            }
            match signals.next_event().await {
                Some(signal) if is_of_terminal(signal) => {}
                Some(signal) => {
                    if let Err(error) = kill_process(self.0, signal) {
                        tracing::warn!(%error, "a signal cannot be passed to the command");
                    }
                }
                None => {}
            }
        }
    }

    /// Takes ended child processes out of the process table. As process 1 these are also orphans.
    /// Gives the exit code of the command if it is among them.
    fn reap(&self) -> Option<u8> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((id, status))) if id == self.0 => return Some(code(status)),
                Ok(Some(_)) => {}
                Ok(None) => return None,
                // Without child processes there is no command.
                Err(_) => return Some(1),
            }
        }
    }
}

fn code(status: WaitStatus) -> u8 {
    let code = status.exit_status();
    let code = code.and_then(|code| u8::try_from(code).ok());
    let by_signal = status.terminating_signal().map(code_of_signal);
    code.or(by_signal).unwrap_or(1)
}

/// The exit code after a signal, as shells give it.
pub(super) fn code_of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// Whether the terminal has sent a signal to the command already: it sends Ctrl-C and the like to
/// every process of its foreground group.
fn is_of_terminal(signal: Signal) -> bool {
    let is_kind = matches!(signal, Signal::INT | Signal::QUIT | Signal::WINCH);
    let foreground = || tcgetpgrp(File::open("/dev/tty").ok()?).ok();
    is_kind && foreground().is_some_and(|group| group == getpgrp())
}
