//! When a daemon says that it is ready, and what a process has used.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netns_harness::{Process, wait_for};

/// How long a daemon may take to be ready.
const LIMIT: Duration = Duration::from_secs(120);

/// Where a daemon says `READY=1` (sd_notify(3)).
pub struct ReadySocket {
    socket: UnixDatagram,
    path: PathBuf,
}

impl ReadySocket {
    /// A new one; what was there before is gone.
    pub fn bind(directory: &Path) -> Result<ReadySocket> {
        let path = directory.join("notify");
        std::fs::remove_file(&path).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?;
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(ReadySocket { socket, path })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long after `began` the daemon said so.
    pub fn wait(&self, process: &Process, began: Instant) -> Result<Duration> {
        let mut message = [0; 512];
        loop {
            let length = self.socket.recv(&mut message).with_context(|| process.log_tail(20))?;
            if String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1") {
                return Ok(began.elapsed());
            }
        }
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, seconds.
    pub cpu: f64,
    /// Resident memory, MB.
    pub rss: f64,
    /// The most that it ever was, MB.
    pub peak: f64,
}

/// What a process has used until now.
pub fn usage(process: &Process) -> Result<Usage> {
    let pid = process.pid()?.as_raw_nonzero();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let megabytes = |key: &str| -> Result<f64> {
        let value = status.lines().find_map(|line| line.strip_prefix(key)).with_context(|| key.to_owned())?;
        Ok(value.trim().trim_end_matches(" kB").trim().parse::<f64>()? / 1000.0)
    };
    // USER_HZ is 100 on every architecture that Linux has today (proc(5)).
    Ok(Usage { cpu: ticks / 100.0, rss: megabytes("VmRSS:")?, peak: megabytes("VmHWM:")? })
}

/// Lets time pass in which nobody asks the daemon anything.
pub fn idle(time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    wait_for("idle time to pass", time * 2, || {
        ensure!(Instant::now() >= until, "not yet");
        Ok(())
    })
}
