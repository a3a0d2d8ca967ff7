//! A broker's process, as its parent has it: started, told, signalled, and known to have ended.
//!
//! It ends with its parent, whatever becomes of that:
//!
//! | what happens | what ends it |
//! |---|---|
//! | the parent is killed, or leaves without a word | its stdin closes, and it ends where it stands |
//! | the same while it is stopped (SIGSTOP), or while a fork of the parent holds its stdin | Linux sends it SIGKILL when the thread that started it ends: it asked for that |
//! | the parent drops it | SIGKILL |
//!
//! So each has a thread of its own in the parent, which starts it, reads its answers, and outlives it. It is in a process group
//! of its own: Ctrl-C is the parent's, as it is with brokers in its threads. A signal is never sent to a process that was reaped:
//! its id may be another's by then.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::{oneshot, watch};

use super::orders::{FromChild, Line, ToChild};

/// How many of the last lines of its log are kept,
const KEPT_LINES: usize = 100;
/// and how many are told with its end.
const TOLD_LINES: usize = 10;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit(ExitStatus);

impl Exit {
    /// Its exit code, or the negative number of the signal that ended it.
    pub(super) fn code(&self) -> i32 {
        self.0.code().or_else(|| self.0.signal().map(|signal| -signal)).unwrap_or(-1)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.signal() {
            Some(signal) => write!(f, "signal {signal} ended its process"),
            None => write!(f, "its process ended with exit code {}", self.code()),
        }
    }
}

/// It has ended, and answers no more.
#[derive(Debug)]
pub(super) struct Gone;

/// The way to its stdin.
#[derive(Debug)]
struct Pipe {
    stdin: ChildStdin,
    /// Whether it is stopped, and reads nothing.
    paused: bool,
    /// What it is told when it goes on: a pipe that nobody reads takes only so much.
    later: Vec<u8>,
}

/// A broker's process.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    pipe: Mutex<Pipe>,
    next: AtomicU64,
    /// Those who wait for an answer; `None` once none will come.
    asked: Mutex<Option<HashMap<u64, oneshot::Sender<FromChild>>>>,
    /// Held where it is signalled or reaped.
    alive: Mutex<bool>,
    ended: watch::Sender<Option<Exit>>,
    log: Mutex<VecDeque<String>>,
}

impl Child {
    /// Starts `command`. `changed` is called when it has ended.
    pub(super) async fn start(command: &[OsString], changed: impl FnOnce() + Send + 'static) -> io::Result<Arc<Child>> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (started, starting) = oneshot::channel();
        std::thread::Builder::new().name("strandline-keeper".to_owned()).spawn(move || {
            // Whoever waits for it may be gone: then it is dropped, and ended, at once.
            match command.spawn() {
                Ok(process) => keep(process, started, changed),
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        starting.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Its process id.
    pub(super) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Tells it something, and waits for its answer.
    pub(super) async fn ask(&self, says: ToChild) -> Result<FromChild, Gone> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.asked.lock().as_mut().ok_or(Gone)?.insert(id, sender);
        let mut line = serde_json::to_vec(&Line { id, says }).map_err(|_| Gone)?;
        line.push(b'\n');
        self.send(&line);
        answer.await.map_err(|_| Gone)
    }

    fn send(&self, line: &[u8]) {
        let mut pipe = self.pipe.lock();
        if pipe.paused {
            pipe.later.extend(line);
        } else {
            // Where it fails it has ended, and no answer comes.
            let _ = pipe.stdin.write_all(line);
        }
    }

    /// Stops it (SIGSTOP): when this returns, it does nothing more until it is resumed.
    pub(super) fn pause(&self) {
        self.pipe.lock().paused = true;
        let alive = self.alive.lock();
        if *alive && kill_process(self.pid, Signal::STOP).is_ok() {
            // The signal arrives a moment later; its parent is told when it has.
            let either = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = waitid(WaitId::Pid(self.pid), either);
        }
    }

    /// Ends a pause (SIGCONT); it is told what it missed.
    pub(super) fn resume(&self) {
        let mut pipe = self.pipe.lock();
        self.signal(Signal::CONT);
        pipe.paused = false;
        let later = std::mem::take(&mut pipe.later);
        let _ = pipe.stdin.write_all(&later);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.pipe.lock().paused
    }

    /// Sends it a signal, unless it has ended.
    pub(super) fn signal(&self, signal: Signal) {
        let alive = self.alive.lock();
        if *alive {
            // It cannot fail: the process is ours, and not reaped.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// How it ended; `None` while it has not.
    pub(super) fn exit(&self) -> Option<Exit> {
        *self.ended.borrow()
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) -> Exit {
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(exit) = *ended.borrow_and_update() {
                return exit;
            }
            // The sender is ours.
            let _ = ended.changed().await;
        }
    }

    /// The last lines of its log.
    pub(super) fn log(&self) -> Vec<String> {
        self.log.lock().iter().cloned().collect()
    }

    /// How it ended, and what it said last.
    pub(super) fn last_words(&self) -> String {
        let exit = self.exit().map_or_else(|| "its process ends".to_owned(), |exit| exit.to_string());
        let log = self.log();
        match &log[log.len().saturating_sub(TOLD_LINES)..] {
            [] => exit,
            last => format!("{exit}; the last lines of its log:\n{}", last.join("\n")),
        }
    }
}

/// Reads what a process answers until it ends, and reaps it.
fn keep(
    mut process: std::process::Child,
    started: oneshot::Sender<io::Result<Arc<Child>>>,
    changed: impl FnOnce() + Send + 'static,
) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let (Some(pid), Some(stdin), Some(stdout), Some(stderr)) =
        (pid, process.stdin.take(), process.stdout.take(), process.stderr.take())
    else {
        // All of them were asked for.
        return;
    };
    let child = Arc::new(Child {
        pid,
        pipe: Mutex::new(Pipe { stdin, paused: false, later: Vec::new() }),
        next: AtomicU64::new(0),
        asked: Mutex::new(Some(HashMap::new())),
        alive: Mutex::new(true),
        ended: watch::Sender::new(None),
        log: Mutex::default(),
    });
    if started.send(Ok(child.clone())).is_err() {
        child.signal(Signal::KILL);
    }
    std::thread::scope(|threads| {
        threads.spawn(|| read_log(&child, stderr));
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let Ok(Line { id, says }) = serde_json::from_str::<Line<FromChild>>(&line) else {
                tracing::warn!(%line, "a broker's process says what is no answer");
                continue;
            };
            let asked = child.asked.lock().as_mut().and_then(|asked| asked.remove(&id));
            // Who asked may have gone.
            asked.map(|asked| asked.send(says));
        }
    });
    // It stays a zombie, and its id its own, until nobody can signal it any more.
    let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    *child.alive.lock() = false;
    let exit = process.wait().unwrap_or_else(|_| ExitStatus::from_raw(0));
    child.asked.lock().take();
    child.ended.send_replace(Some(Exit(exit)));
    changed();
}

fn read_log(child: &Child, stderr: ChildStderr) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut log = child.log.lock();
        if log.len() == KEPT_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
}
