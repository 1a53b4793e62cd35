//! Parts of the bench that the machine's kernel cannot do, in the lab's second one.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use netns_harness::Guest;

/// Runs this program there, with these words.
pub fn run(words: &[&str], limit: Duration) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(words);
    let status = Guest::built()?.run(&command, limit, |line| println!("{line}"))?;
    ensure!(status == 0, "the guest's part ended with {status}");
    Ok(())
}
