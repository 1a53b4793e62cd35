//! [`Guard`]: a process beside a program that cleans up when the program is interrupted (Ctrl-C, a closed terminal, a
//! `kill -9`), instead of leaving that to the next run.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{sweep, wait_for};
use anyhow::{Context, Result, bail, ensure};

/// The process beside. It waits for its standard input to end, which happens when the program ends, however it ends.
pub struct Guard(Child);

impl Guard {
    /// The word with which the program is started again as its own guard, and then calls [`Guard::wait_and_sweep`].
    pub const WORD: &str = "--after";

    /// Starts it, out of the reach of the terminal's Ctrl-C.
    ///
    /// # Errors
    /// When the program cannot be started a second time.
    pub fn post() -> Result<Guard> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = Command::new(own);
        command.arg(Guard::WORD).stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
        Ok(Guard(command.spawn().context("cannot start the process that cleans up")?))
    }

    /// Waits for the guard's end, which is after the program's: for ever, unless somebody ends the guard.
    ///
    /// # Errors
    /// That somebody has ended it.
    pub fn wait(mut self) -> Result<()> {
        // Its standard input stays open meanwhile: `Child::wait` would close it.
        let line = self.0.stdin.take();
        let ended = self.0.wait();
        drop(line);
        bail!("the process that cleans up has ended: {}", ended?)
    }

    /// The program has cleaned up by itself.
    ///
    /// # Errors
    /// When the guard has ended before.
    pub fn dismiss(mut self) -> Result<()> {
        if let Some(mut line) = self.0.stdin.take() {
            std::io::Write::write_all(&mut line, b"done")?;
        }
        self.0.wait().map(drop).context("the process that cleans up was lost")
    }

    /// What the process beside does.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn wait_and_sweep() -> Result<()> {
        let program = std::os::unix::process::parent_id();
        let mut told = String::new();
        std::io::stdin().read_to_string(&mut told)?;
        if told == "done" {
            return Ok(());
        }
        // Its descriptors are closed a moment before it counts as dead.
        wait_for("the program to end", Duration::from_secs(10), || {
            ensure!(std::os::unix::process::parent_id() != program, "it is still there");
            Ok(())
        })?;
        sweep().map(drop)
    }
}
