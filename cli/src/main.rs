//! `towpathctl`: the table of contents. What is asked of the daemon goes through `client`, which prints what the daemon
//! rendered; `cleanup` alone looks at the kernel itself, because no daemon runs then.
#![forbid(unsafe_code)]

mod arguments;
mod cleanup;
mod client;
mod consent;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use arguments::{Arguments, Command};
use client::Question;
use consent::Consent;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("towpathctl: {error:#}");
            ExitCode::from(2)
        }
    }
}

const RELEASE: &str = "\
This node gives its lease back. Its pods keep running, and other nodes lose their way to them.
Go on?";

/// Does what is asked; gives the exit status.
fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let ask = |question: &Question| relay(arguments, question);
    match &arguments.command {
        Command::Status(form) => ask(&Question::new("status", form.output)),
        Command::Plan(form) => ask(&Question::new("plan", form.output)),
        Command::Explain { address, form } => ask(&Question::new("explain", form.output).about(*address)),
        Command::Release { yes } => {
            if !yes && consent::ask(RELEASE)? == Consent::Refused {
                return Ok(1);
            }
            ask(&Question::new("release", arguments::Output::Text))
        }
        Command::Cleanup(wish) => Ok(cleanup::run(wish, &arguments.socket)?),
        Command::Version => {
            print(&format!("towpathctl {}\n", env!("CARGO_PKG_VERSION"))).context("standard output")?;
            Ok(0)
        }
    }
}

/// Prints what the daemon answers.
fn relay(arguments: &Arguments, question: &Question) -> anyhow::Result<u8> {
    let reply = client::ask(&arguments.socket, question)?;
    if reply.exit == 2 {
        eprint!("towpathctl: {}", reply.text);
    } else {
        print(&reply.text).context("standard output")?;
    }
    Ok(reply.exit)
}

/// To standard output. Whoever reads it may have seen enough (`| head`): that is no error.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
