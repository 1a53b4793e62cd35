//! Runs a command in a guest: `cargo run -p netns-harness --bin guest -- ip link add type ipip`. Ends as the command ends.

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result};
use netns_harness::Guest;

/// For a person who looks around.
const LIMIT: Duration = Duration::from_secs(3600);

fn main() -> Result<ExitCode> {
    let mut words = std::env::args_os().skip(1);
    let mut command = Command::new(words.next().context("say what to run in the guest: guest COMMAND [WORD...]")?);
    command.args(words);
    let status = Guest::built()?.run(&command, LIMIT, |line| println!("{line}"))?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}
