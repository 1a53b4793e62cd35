//! [`Process`]: a program that runs in a namespace, with its log in a file, to be waited for, signalled and started
//! again. It ends with the lab, whatever happens to the test.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::namespace::{Namespace, child_pid, wait_exit};
use crate::spawner::{self, Life};
use crate::wait_for;

/// How long a program may take to end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A program in a namespace. Clones are the same program; dropping them does not end it, the lab's end does.
#[derive(Clone, Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    namespace: Namespace,
    run: Arc<Mutex<Run>>,
}

#[derive(Debug)]
struct Run {
    /// `None` only while it is being started.
    command: Option<Command>,
    child: Option<Child>,
    ended: Option<ExitStatus>,
    started: Instant,
    /// Where in the log this run begins, octets.
    log_begin: usize,
}

/// What a program is to be started with, besides its command.
pub(crate) struct Start<'a> {
    pub name: &'a str,
    /// Gets `NAME.log`.
    pub directory: &'a Path,
    pub life: Life,
}

impl Process {
    pub(crate) fn start(namespace: &Namespace, mut command: Command, start: Start) -> Result<Process> {
        let log = start.directory.join(format!("{}.log", start.name));
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot write the log {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        spawner::prepare(&mut command, start.life);
        let run = Run { command: Some(command), child: None, ended: None, started: Instant::now(), log_begin: 0 };
        let run = Arc::new(Mutex::new(run));
        let process = Process { name: start.name.to_owned(), log, namespace: namespace.clone(), run };
        process.restart()?;
        Ok(process)
    }

    /// Starts it again with the same command, after killing it when it still runs. The log is appended to.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn restart(&self) -> Result<()> {
        self.kill()?;
        let mut run = self.lock();
        let command = run.command.take().with_context(|| format!("{} could not be started before", self.name))?;
        run.log_begin = self.log_bytes().len();
        run.started = Instant::now();
        let (command, child) =
            spawner::spawn(self.namespace.path(), command).with_context(|| format!("in {}", self.namespace.name()))?;
        *run = Run { command: Some(command), child: Some(child), ended: None, ..*run };
        Ok(())
    }

    /// The process id; an error when it does not run.
    ///
    /// # Errors
    /// How it ended, with the end of its log.
    pub fn pid(&self) -> Result<Pid> {
        let mut run = self.lock();
        run.reap()?;
        match (&run.child, run.ended) {
            (Some(child), None) => child_pid(child),
            (_, ended) => {
                drop(run);
                let how = ended.map_or("was never started".to_owned(), |status| format!("ended with {status}"));
                bail!("{} in {} {how}; its log ends:\n{}", self.name, self.namespace.name(), self.log_tail(20))
            }
        }
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.pid().is_ok()
    }

    /// When it was last started: `exec` happened a moment later.
    pub fn started(&self) -> Instant {
        self.lock().started
    }

    /// Sends a signal (`Signal::STOP` and `Signal::CONT` pause and go on).
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// `kill -9`, it and all that it started, and waits for its end. Nothing happens when it has ended already.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self) -> Result<()> {
        let Ok(pid) = self.pid() else { return Ok(()) };
        kill_process_group(pid, Signal::KILL).with_context(|| format!("cannot kill {}", self.name))?;
        self.wait(STOP_LIMIT).map(drop)
    }

    /// SIGTERM, then waits for its end.
    ///
    /// # Errors
    /// When it does not run, or does not end within a minute (then it is killed).
    pub fn stop(&self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(STOP_LIMIT).or_else(|late| {
            self.kill()?;
            Err(late)
        })
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        if let Ok(pid) = self.pid() {
            // Not under the lock: others may ask meanwhile. The pid stays its own until it is reaped, below.
            wait_exit(pid, limit)?;
        }
        let mut run = self.lock();
        run.reap()?;
        run.ended.with_context(|| format!("{} still runs after {limit:?}", self.name))
    }

    /// Waits until `look` gives `Ok`; gives up at once when the program ends.
    ///
    /// # Errors
    /// What was last seen, or how the program ended; with the end of its log.
    pub fn wait_ready<T>(&self, limit: Duration, mut look: impl FnMut() -> Result<T>) -> Result<T> {
        let what = format!("{} in {} to be ready", self.name, self.namespace.name());
        // The outer result waits, the inner one is the answer.
        let seen = wait_for(&what, limit, || match look() {
            Ok(seen) => Ok(Ok(seen)),
            Err(last) => match self.pid() {
                Ok(_) => Err(last),
                Err(ended) => Ok(Err(ended)),
            },
        });
        match seen {
            Ok(answer) => answer,
            Err(late) => Err(late.context(format!("the log of {} ends:\n{}", self.name, self.log_tail(20)))),
        }
    }

    /// All that it has written so far, to standard output and standard error, over all its runs.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log_bytes()).into_owned()
    }

    /// What it has written since it was last started.
    pub fn log_of_this_run(&self) -> String {
        let begin = self.lock().log_begin;
        String::from_utf8_lossy(self.log_bytes().get(begin..).unwrap_or_default()).into_owned()
    }

    /// The last lines of the log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Waits until the log of this run has this text.
    ///
    /// # Errors
    /// As [`Process::wait_ready`].
    pub fn wait_log(&self, text: &str, limit: Duration) -> Result<()> {
        self.wait_ready(limit, || {
            ensure!(self.log_of_this_run().contains(text), "no `{text}` in the log");
            Ok(())
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file with its log.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    fn log_bytes(&self) -> Vec<u8> {
        std::fs::read(&self.log).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Run> {
        // The state is whole after each statement: a panic elsewhere does not make it wrong.
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    fn reap(&mut self) -> Result<()> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            self.ended = Some(status);
            self.child = None;
        }
        Ok(())
    }
}
