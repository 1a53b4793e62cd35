//! A command of the user's as a process: no shell, its input given, its output taken up to a limit, its errors logged, its life
//! limited.
//!
//! This and nothing else in the daemon starts a process (docs/adr/0016-commands-of-the-extension-backend.md).
#![allow(clippy::disallowed_types, reason = "running commands is what the extension backend is")]

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use super::orders::Call;

/// Octets of output that are kept: it becomes part of a lease.
const LONGEST: usize = 16 * 1024;

/// Lines of errors that are logged, and the characters of each.
const LINES: usize = 50;
const WIDTH: usize = 500;

/// What the daemon's own settings begin with; there are passwords among them.
const OWN: [&str; 2] = ["FLANNELD_", "TOWPATH"];

/// Runs a command to its end and gives what it printed, without the white space around it.
///
/// # Errors
/// One sentence: it cannot be started, failed, or took too long, and then it and all that it started have been killed.
pub(super) async fn run(call: &Call, (name, limit): (&str, Duration)) -> Result<String, String> {
    let text = call.line.text();
    let inherited: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !OWN.iter().any(|own| name.starts_with(own)))
        .collect();
    let given =
        |wanted: &str| call.environment.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
    let other = |wanted: &str| inherited.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let arguments = call.line.arguments(|name| given(name).or_else(|| other(name)));
    let Some((program, arguments)) = arguments.split_first() else {
        return Err(format!("nothing is left of `{text}` once its variables are replaced"));
    };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(inherited.iter().map(|(name, value)| (name, value)));
    command.envs(call.environment.iter().map(|(name, value)| (*name, value)));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // In a group of its own, so that what it starts ends with it; and nothing of it outlives a daemon that ends.
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| {
        format!("`{text}`: {program} cannot be started: {error}; is it installed where towpathd runs (in its image)?")
    })?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = call.input.clone();
    let work = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // One that does not read its input closes it.
                stdin.write_all(input.as_bytes()).await.ok();
            }
        };
        let ((), output, errors) = tokio::join!(feed, bounded(stdout), bounded(stderr));
        (child.wait().await, output, errors)
    };
    let Ok((ended, output, errors)) = timeout(limit, work).await else {
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).ok();
        }
        return Err(format!("`{text}` did not end within {} s and was killed", limit.as_secs()));
    };
    log(name, &errors);
    let status = ended.map_err(|error| format!("`{text}`: its end is not known: {error}"))?;
    if !status.success() {
        let last = lines(&errors).last().or_else(|| lines(&output).last());
        return Err(format!("`{text}` ended with {status}: {}", last.unwrap_or_else(|| "it said nothing".to_owned())));
    }
    if output.len() > LONGEST {
        return Err(format!("`{text}` printed more than {LONGEST} octets; a lease has no room for more"));
    }
    let output = String::from_utf8(output).map_err(|_| format!("`{text}` printed what is not UTF-8"))?;
    Ok(output.trim().to_owned())
}

/// Reads to the end; what is over the limit is read and dropped, but for the octet that tells.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    let mut piece = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut piece).await {
        let room = (LONGEST + 1).saturating_sub(kept.len()).min(length);
        kept.extend_from_slice(piece.get(..room).unwrap_or_default());
    }
    kept
}

fn log(name: &str, errors: &[u8]) {
    let mut lines = lines(errors);
    lines.by_ref().take(LINES).for_each(|line| tracing::info!("{name}: {line}"));
    if lines.next().is_some() {
        tracing::info!("{name}: and more");
    }
}

/// Lines with something in them, of a length that a log can have, and no control characters.
fn lines(octets: &[u8]) -> impl Iterator<Item = String> {
    let text = String::from_utf8_lossy(octets).into_owned();
    let shown = |line: &str| line.chars().filter(|letter| !letter.is_control()).take(WIDTH).collect::<String>();
    let lines: Vec<String> = text.lines().map(shown).filter(|line| !line.trim().is_empty()).collect();
    lines.into_iter()
}
