//! THE PLUGIN `towpath`: one short life per pod. Environment and standard input in, one JSON object out, by the letter of
//! the CNI specification 1.1 and down to 0.3.0.
//!
//! The way of a request: [`environment`] and [`document`] are what was said, together a [`call::Call`]; [`mod@plugin`] says of
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
mod file;
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
use environment::{Attachment, Command, Environment};
use error::Error;
use invocation::Invocation;
use log::Log;
use outcome::Outcome;
use plugin::Plugin;
use version::Version;

/// A configuration of this many octets, or more, is a mistake or an attack.
const TOO_LONG: u64 = 1_000_000;
/// The same where a runtime adds results and attachments to a configuration that ADD took: what was made can be taken down.
const FAR_TOO_LONG: u64 = 16 * TOO_LONG;

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
    let environment = Environment::of_process();
    let limit = if environment.command == Command::Add.as_str() { TOO_LONG } else { FAR_TOO_LONG };
    let document = read_input(limit).and_then(|text| Document::parse(&text));
    // Whatever goes wrong is told in the version that was asked in, if that can be made out.
    let version = document.as_ref().ok().and_then(|document| document.version().ok()).unwrap_or(Version::NEWEST);
    let log = Log::of(document.as_ref().ok());
    if environment.command.is_empty() && io::stdout().is_terminal() {
        // A person, who wants to know what this is.
        return if io::stderr().write_all(invocation::help().as_bytes()).is_ok() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
    }
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
    // As the reference library does: first the variables, then the configuration.
    let attachment = match command {
        Command::Add | Command::Del | Command::Check => Some(environment.attachment()?),
        Command::Gc | Command::Status | Command::Version => None,
    };
    let document = document?;
    let version = document.version()?;
    if version < command.since() {
        return Err(Error::VersionWithoutCommand { command, version });
    }
    document.network()?;
    let home = Netns::current().map_err(Error::of_netns)?;
    let call = Call::new(plugin, (command, version), Said { document: &document, environment, home: &home });
    match attachment {
        Some(attachment) => of_pod(&call, &attachment),
        None => of_network(&call).map(|()| None),
    }
}

/// ADD, DEL and CHECK.
fn of_pod(call: &Call<'_>, attachment: &Attachment) -> Result<Option<Value>, Error> {
    let part = call.plugin.part();
    match call.command {
        Command::Del => part.delete(call, attachment).map(|()| None),
        Command::Check => {
            let previous = Outcome::previous(call.document)?.ok_or_else(|| {
                let mistake = "`prevResult` is missing: CHECK compares with what ADD answered".to_owned();
                Error::Configuration { mistakes: vec![mistake] }
            })?;
            part.check(call, attachment, &previous).map(|()| None)
        }
        Command::Add | Command::Gc | Command::Status | Command::Version => {
            let mut outcome = Outcome::previous(call.document)?.unwrap_or_default();
            part.validate(call)?;
            // Made for good: nothing is taken back from here.
            drop(part.add(call, attachment, &mut outcome)?);
            Ok(Some(outcome.to_json(call.version)))
        }
    }
}

/// GC and STATUS.
fn of_network(call: &Call<'_>) -> Result<(), Error> {
    let part = call.plugin.part();
    if call.command == Command::Gc {
        return Attachments::of(call.document)?.map_or(Ok(()), |valid| part.collect(call, &valid));
    }
    part.validate(call)?;
    part.status(call).map_err(Error::of_status)
}

/// All of standard input; nothing when that is a person's terminal, who would wait for us as we for them.
fn read_input(limit: u64) -> Result<Vec<u8>, Error> {
    let stdin = io::stdin().lock();
    let mut text = Vec::new();
    if !stdin.is_terminal() {
        stdin.take(limit).read_to_end(&mut text).map_err(|source| Error::Input { source })?;
    }
    if text.len() as u64 >= limit { Err(Error::InputTooLong { limit }) } else { Ok(text) }
}
