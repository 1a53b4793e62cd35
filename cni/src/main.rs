//! THE PLUGIN `towpath`: one short life per pod. Environment and standard input in, one JSON object out, by the letter of
//! the CNI specification 1.1 and down to 0.3.0.
//!
//! The way of a request: [`environment`] and [`document`] are what was said, together a [`call::Call`]; [`plugin`] says of
//! which [`part`]s the name is made that we were called by; these do it, [`wire`] with `kernel::pod`, [`ipam_local`] with
//! `ipam::ledger`; [`outcome`] and [`error`] are what is answered. One process, one thread, no daemon needed.
#![forbid(unsafe_code)]

mod addresses;
mod bandwidth;
mod call;
mod delegate;
mod dns;
mod document;
mod environment;
mod error;
mod flannel;
mod invocation;
mod ipam_local;
mod log;
mod loopback;
mod masquerade;
mod outcome;
mod part;
mod plugin;
mod ports;
mod ranges;
mod request;
mod subnet_file;
mod translation;
mod tuning;
mod version;
mod wire;

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use kernel::netns::Netns;
use serde_json::{Value, json};

use call::{Attachments, Call, Said};
use document::Document;
use environment::{Command, Environment};
use error::Error;
use invocation::Invocation;
use log::Log;
use outcome::Outcome;
use plugin::Plugin;
use version::Version;

/// A configuration of this many octets, or more, is a mistake or an attack.
const TOO_LONG: u64 = 1_000_000;

fn main() -> ExitCode {
    let said = match Invocation::read(std::env::args_os().skip(1)) {
        Invocation::Plugin => return plugin(),
        Invocation::Help => Ok((invocation::help(), true)),
        Invocation::Release => Ok((format!("towpath {}\n", invocation::release()), true)),
        Invocation::Install { directory, replace } => invocation::install(&directory, replace),
        Invocation::Wrong(what) => Err(format!("{what}: towpath --help says what can be asked")),
    };
    let (good, written) = match said {
        Ok((text, good)) => (good, io::stdout().write_all(text.as_bytes())),
        Err(text) => (false, writeln!(io::stderr(), "{text}")),
    };
    if good && written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a container runtime starts.
fn plugin() -> ExitCode {
    let plugin = Plugin::called_as(&std::env::args_os().next().unwrap_or_default());
    let document = read_input().and_then(|text| Document::parse(&text));
    // Whatever goes wrong is told in the version that was asked in, if that can be made out.
    let version = document.as_ref().ok().and_then(|document| document.version().ok()).unwrap_or(Version::NEWEST);
    let (log, environment) = (Log::of(document.as_ref().ok()), Environment::of_process());
    let answer = answer(plugin, &environment, document);
    log.outcome((plugin, &environment), &answer);
    let (answer, code) = match answer {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(error) => (Some(error.to_json(version)), ExitCode::FAILURE),
    };
    let Some(answer) = answer else { return code };
    match io::stdout().write_all(format!("{answer}\n").as_bytes()) {
        Ok(()) => code,
        // Nobody heard the answer, so it was none: the runtime will ask for DEL.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Does what is asked; the answer is what goes to standard output, if anything.
fn answer(
    plugin: Plugin,
    environment: &Environment,
    document: Result<Document, Error>,
) -> Result<Option<Value>, Error> {
    let command = environment.command()?;
    if command == Command::Version {
        let asked = document.ok().and_then(|document| document.asked_version());
        let asked = asked.unwrap_or_else(|| Version::NEWEST.to_string());
        return Ok(Some(json!({ "cniVersion": asked, "supportedVersions": Version::ALL.map(Version::as_str) })));
    }
    let document = document?;
    let version = document.version()?;
    if version < command.since() {
        return Err(Error::VersionWithoutCommand { command, version });
    }
    let home = Netns::current().map_err(Error::of_netns)?;
    let call = Call::new(plugin, (command, version), Said { document: &document, environment, home: &home });
    let part = plugin.part();
    match command {
        Command::Version => Ok(None),
        Command::Add => {
            let attachment = environment.attachment()?;
            let mut outcome = Outcome::previous(&document)?.unwrap_or_default();
            part.validate(&call)?;
            // Made for good: nothing is taken back from here.
            drop(part.add(&call, &attachment, &mut outcome)?);
            Ok(Some(outcome.to_json(version)))
        }
        Command::Del => part.delete(&call, &environment.attachment()?).map(|()| None),
        Command::Check => {
            let attachment = environment.attachment()?;
            let previous = Outcome::previous(&document)?.ok_or_else(|| {
                let mistake = "`prevResult` is missing: CHECK compares with what ADD answered".to_owned();
                Error::Configuration { mistakes: vec![mistake] }
            })?;
            part.check(&call, &attachment, &previous).map(|()| None)
        }
        Command::Gc => part.collect(&call, &Attachments::of(&document)?).map(|()| None),
        Command::Status => {
            document.network()?;
            part.status(&call).map(|()| None).map_err(|reason| reason.of_status())
        }
    }
}

/// All of standard input; nothing when that is a person's terminal, who would wait for us as we for them.
fn read_input() -> Result<Vec<u8>, Error> {
    let stdin = io::stdin().lock();
    let mut text = Vec::new();
    if !stdin.is_terminal() {
        stdin.take(TOO_LONG).read_to_end(&mut text).map_err(|source| Error::Input { source })?;
    }
    if text.len() as u64 >= TOO_LONG { Err(Error::InputTooLong { limit: TOO_LONG }) } else { Ok(text) }
}
