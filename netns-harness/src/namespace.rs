//! [`Namespace`]: a named network namespace, work done inside it and commands run inside it.
//!
//! It does not know what the namespace is for (node, pod, switch), and it is not removed on drop: the lab does that.

use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::spawner::{self, Life};

/// Where `ip netns` keeps the names.
pub(crate) const NAMES: &str = "/run/netns";

/// A command that takes longer than this hangs.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// A network namespace with a name in `/run/netns`. Cheap to clone: it is only the name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    name: String,
    path: PathBuf,
}

impl Namespace {
    /// Makes one, with its loopback device up. `ip netns add NAME`.
    pub(crate) fn create(name: &str) -> Result<Namespace> {
        let namespace = Namespace::named(name);
        finish(Command::new("ip").args(["netns", "add", name]), None)?;
        namespace.run(["ip", "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Gives a name to the one that is at `file`. Whatever had the name before loses it.
    pub(crate) fn adopt(name: &str, file: &Path) -> Result<Namespace> {
        let namespace = Namespace::named(name);
        if namespace.exists() {
            namespace.remove()?;
        }
        std::fs::write(&namespace.path, "")?;
        let mounted = rustix::mount::mount_bind(file, &namespace.path);
        mounted.with_context(|| format!("cannot mount {} as {name}", file.display()))?;
        Ok(namespace)
    }

    /// The one with this name, whether it exists or not.
    pub(crate) fn named(name: &str) -> Namespace {
        Namespace { name: name.to_owned(), path: Path::new(NAMES).join(name) }
    }

    /// The name, as `ip netns exec` takes it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file, as `nsenter --net=` and `CNI_NETNS` take it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does something on a thread inside the namespace. A socket made there belongs to the namespace for ever and may
    /// be used from any thread. `/proc/sys/net` is the namespace's, `/sys/class/net` is not.
    ///
    /// # Errors
    /// When the namespace is gone, and what `work` says.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let inside = || {
            spawner::enter(&spawner::open_namespace(&self.path)?)?;
            work()
        };
        // The thread ends in the namespace and is never used for anything else.
        std::thread::scope(|scope| scope.spawn(inside).join())
            .map_err(|_| anyhow!("what ran inside {} panicked", self.name))?
    }

    /// Runs a command to its end and gives its standard output. `ip netns exec NAME …`, without its mounts.
    ///
    /// # Errors
    /// What was run and where, its exit status and standard error, when the status is not 0.
    pub fn run<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<String> {
        self.feed(words, "")
    }

    /// Like [`Namespace::run`], with text on standard input.
    ///
    /// # Errors
    /// As [`Namespace::run`].
    pub fn feed<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>, input: &str) -> Result<String> {
        let command = command(words)?;
        let typed = spawner::words(&command);
        let output = self.output(command, input)?;
        read(&typed, &output).with_context(|| format!("in {}", self.name))
    }

    /// Like [`Namespace::run`], for commands that print JSON (`ip -j`, `bridge -j`, `nft -j`). No output is null.
    ///
    /// # Errors
    /// As [`Namespace::run`], and when the output is not JSON.
    pub fn json<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<serde_json::Value> {
        let text = self.run(words)?;
        let text = if text.trim().is_empty() { "null" } else { &text };
        serde_json::from_str(text).with_context(|| format!("not JSON, in {}: {text}", self.name))
    }

    /// Runs a command to its end, whatever its end is, with text on standard input.
    ///
    /// # Errors
    /// When it cannot be started or does not end within a minute (it is killed then).
    pub fn output(&self, mut command: Command, input: &str) -> Result<Output> {
        spawner::prepare(&mut command, Life::WithOwner);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let typed = spawner::words(&command);
        let (_, child) = spawner::spawn(&self.path, command).with_context(|| format!("in {}", self.name))?;
        collect(child, input).with_context(|| format!("in {}: {typed}", self.name))
    }

    /// The processes that live in the namespace. `ip netns pids NAME`.
    pub(crate) fn processes(&self) -> Result<Vec<Pid>> {
        let text = finish(Command::new("ip").args(["netns", "pids", &self.name]), None)?;
        let own = std::process::id();
        let numbers = text.lines().filter_map(|line| line.trim().parse::<i32>().ok());
        Ok(numbers.filter(|pid| pid.unsigned_abs() != own).filter_map(Pid::from_raw).collect())
    }

    /// Whether the name is there.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Takes the name away; the kernel removes the rest once nothing lives in it. `ip netns delete NAME`.
    pub(crate) fn remove(&self) -> Result<()> {
        use rustix::mount::{UnmountFlags, unmount};
        // EINVAL: the name is there, but nothing is mounted on it (somebody was interrupted half-way).
        match unmount(&self.path, UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot unmount {}", self.path.display())),
        }
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Words to a command.
fn command<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> Result<Command> {
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().context("no command given")?);
    command.args(words);
    Ok(command)
}

/// Runs a command where we are, and gives its standard output.
pub(crate) fn finish(command: &mut Command, input: Option<&str>) -> Result<String> {
    let typed = spawner::words(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    spawner::prepare(command, Life::BeyondOwner);
    let child = command.spawn().with_context(|| format!("cannot start {typed}"))?;
    let output = collect(child, input.unwrap_or_default()).with_context(|| typed.clone())?;
    read(&typed, &output)
}

fn read(typed: &str, output: &Output) -> Result<String> {
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{typed}` ended with {}: {}", output.status, error.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Feeds a child, reads all it says, and kills its group when it does not end.
fn collect(mut child: Child, input: &str) -> Result<Output> {
    let pid = child_pid(&child)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input.as_bytes()) {
            // A command that does not read its input is not in trouble for that.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
    }
    let (output, ended) = std::thread::scope(|scope| {
        let watch = scope.spawn(move || -> Result<bool> {
            let ended = wait_exit(pid, COMMAND_LIMIT)?;
            if !ended {
                kill_process_group(pid, Signal::KILL)?;
            }
            Ok(ended)
        });
        (child.wait_with_output(), watch.join())
    });
    let output = output?;
    if let Ok(Ok(false)) = ended {
        bail!("did not end within {COMMAND_LIMIT:?} and was killed");
    }
    Ok(output)
}

/// A child's process id.
pub(crate) fn child_pid(child: &Child) -> Result<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child without a process id")
}

/// Waits for a process to end; whether it did. Without reaping it, and without asking again and again (pidfd_open(2)).
pub(crate) fn wait_exit(pid: Pid, limit: Duration) -> Result<bool> {
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(true),
        Err(error) => return Err(error).context("pidfd_open"),
    };
    let limit = Timespec::try_from(limit).context("a limit beyond the clock")?;
    let mut ready = [PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)];
    loop {
        match poll(&mut ready, Some(&limit)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("poll"),
        }
    }
}
