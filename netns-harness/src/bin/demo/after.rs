//! [`Guard`]: a process beside the demo that cleans up when the demo is interrupted (Ctrl-C, a closed terminal, a
//! `kill -9`), instead of leaving that to the next run.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use netns_harness::{sweep, wait_for};

/// The process beside. It waits for its standard input to end, which happens when the demo ends, however it ends.
pub struct Guard(Child);

impl Guard {
    /// Starts it, out of the reach of the terminal's Ctrl-C.
    pub fn post() -> Result<Guard> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(own);
        command.arg("--after").stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        Ok(Guard(command.spawn().context("cannot start the process that cleans up")?))
    }

    /// The demo has cleaned up by itself.
    pub fn dismiss(mut self) -> Result<()> {
        if let Some(mut line) = self.0.stdin.take() {
            std::io::Write::write_all(&mut line, b"done")?;
        }
        self.0.wait().map(drop).context("the process that cleans up was lost")
    }
}

/// What the process beside does.
pub fn wait_and_sweep() -> Result<()> {
    let demo = std::os::unix::process::parent_id();
    let mut told = String::new();
    std::io::stdin().read_to_string(&mut told)?;
    if told == "done" {
        return Ok(());
    }
    // Its descriptors are closed a moment before it counts as dead.
    wait_for("the demo to end", Duration::from_secs(10), || {
        ensure!(std::os::unix::process::parent_id() != demo, "it is still there");
        Ok(())
    })?;
    sweep().map(drop)
}
