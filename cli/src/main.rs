//! `towpathctl`: the table of contents. What is asked of the daemon goes through `client`, which prints what the daemon
//! rendered; `cleanup` alone looks at the kernel itself, because no daemon runs then. `install` and `migrate` ask a cluster's API.
#![forbid(unsafe_code)]

mod arguments;
mod bgp;
mod cleanup;
mod client;
mod cluster;
mod consent;
mod copy;
mod host_files;
mod install;
mod migrate;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches};

use arguments::{Arguments, Command, Probe, Rollout};
use client::{Heard, Question};
use consent::Consent;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    let name = Path::new(&name).file_name().and_then(OsStr::to_str).unwrap_or("towpathctl").to_owned();
    let done = match name.as_str() {
        name if copy::NAMES.contains(&name) => copy::run(name, words).map(|()| 0).map_err(Into::into),
        _ => run(&arguments(&name)),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// The command line; kubectl's plugins are called by its own name in their help (kubectl(1), "Extend kubectl with plugins").
fn arguments(name: &str) -> Arguments {
    let shown = if name == "kubectl-towpath" { "kubectl towpath" } else { "towpathctl" };
    let matches = Arguments::command().name(shown).bin_name(shown).get_matches();
    Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

const RELEASE: &str = "\
This node gives its lease back. Its pods keep running, and other nodes lose their way to them.
Go on?";

/// Does what is asked; gives the exit status.
fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let ask = |question: &Question| relay(arguments, question);
    match &arguments.command {
        Command::Status(form) => ask(&Question::new("status", form.output)),
        Command::Rollout { question: Rollout::Status(form) } => ask(&Question::new("rollout", form.output)),
        Command::Bgp { question } => {
            if let Some((text, exit)) = question.offline()? {
                print(&text).context("standard output")?;
                return Ok(exit);
            }
            let unasked = matches!(question, bgp::Bgp::Drain { yes: false, .. });
            if unasked && consent::ask(bgp::LEAVE)? == Consent::Refused {
                return Ok(1);
            }
            let (asked, output) = question.asked();
            ask(&Question::new("bgp", output).of_bgp(&asked)?)
        }
        Command::Plan(form) => ask(&Question::new("plan", form.output)),
        Command::Explain { address, form } => ask(&Question::new("explain", form.output).about(*address)),
        Command::Release { yes } => {
            if !yes && consent::ask(RELEASE)? == Consent::Refused {
                return Ok(1);
            }
            ask(&Question::new("release", arguments::Output::Text))
        }
        Command::Probe { what: Probe::Offloads(form) } => ask(&Question::new("probe-offloads", form.output)),
        Command::RotateKeys => ask(&Question::new("rotate-keys", arguments::Output::Text)),
        Command::Cleanup(wish) => Ok(cleanup::run(wish, &arguments.socket)?),
        Command::HostFiles(wish) => {
            print(&host_files::run(wish)?).context("standard output")?;
            Ok(0)
        }
        Command::Install(wish) => {
            print(&install::run(wish)?).context("standard output")?;
            Ok(0)
        }
        Command::Migrate { direction } => {
            // Whoever cannot be told goes on being migrated: stopping half-way would be worse.
            let mut say = |text: &str| {
                if let Err(error) = print(text) {
                    eprintln!("standard output: {error}");
                }
            };
            Ok(migrate::run(direction, &mut say)?)
        }
        Command::Version => {
            print(&format!("towpathctl {}\n", env!("CARGO_PKG_VERSION"))).context("standard output")?;
            Ok(0)
        }
    }
}

/// Prints what the daemon answers.
fn relay(arguments: &Arguments, question: &Question) -> anyhow::Result<u8> {
    let (mut exit, mut printed) = (0, Ok(()));
    client::hear(&arguments.socket, question, |reply| {
        exit = reply.exit;
        if reply.exit == 2 {
            eprint!("towpathctl: {}", reply.text);
            return Heard::Some;
        }
        match write(&reply.text) {
            Ok(()) => Heard::Some,
            Err(error) => {
                printed = seen_enough(error);
                Heard::Enough
            }
        }
    })?;
    printed.context("standard output")?;
    Ok(exit)
}

/// To standard output. Whoever reads it may have seen enough (`| head`): that is no error.
fn print(text: &str) -> io::Result<()> {
    write(text).or_else(seen_enough)
}

fn seen_enough(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}
