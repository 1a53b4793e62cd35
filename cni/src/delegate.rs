//! [`Executed`]: a plugin that is not in this process, run as the specification says (1.1, section 4): found in `CNI_PATH`,
//! with our environment and its configuration on standard input; what it says is passed on.
//!
//! This and nothing else starts a process, and only when a configuration names a type that is not ours.
#![allow(clippy::disallowed_types, reason = "delegation is execution")]

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::call::{Attachments, Call};
use crate::document::Mistakes;
use crate::environment::{Attachment, Command as Verb};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::part::{Part, Undo};
use crate::version::Version;

/// In the environment of whom we execute: how many of us are above it. A configuration in which plugins of whatever names
/// call each other in a circle would otherwise fill the node with processes.
const DEPTH: &str = "TOWPATH_DELEGATIONS";
const DEEPEST: u8 = 8;

/// A plugin by its file's name.
#[derive(Debug)]
pub struct Executed {
    kind: String,
}

impl Executed {
    /// A plugin by the `type` that stands under `key`.
    ///
    /// # Errors
    /// When that cannot be a file's name: nobody may be led out of `CNI_PATH`.
    pub fn new(key: &str, kind: &str) -> Result<Executed, Error> {
        if kind.contains(['/', '\0']) || [".", ".."].contains(&kind) {
            let mistake = format!("`{key}` is {:?}: expected the name of a plugin, without slashes", short(kind));
            return Err(Error::Configuration { mistakes: vec![mistake] });
        }
        Ok(Executed { kind: kind.to_owned() })
    }

    /// Runs it with a verb; what it wrote to standard output, if it succeeded.
    fn run(&self, call: &Call<'_>, verb: Verb) -> Result<Vec<u8>, Error> {
        // It expects to be where we were called.
        call.go_home()?;
        let file = self.find(call)?;
        let failed = |source| Error::Delegate { kind: self.kind.clone(), what: format!("cannot be run: {source}") };
        let depth = std::env::var(DEPTH).ok().and_then(|text| text.parse::<u8>().ok()).unwrap_or_default();
        if depth >= DEEPEST {
            let what = format!("is the {depth}th that is called by another: do they call each other in a circle?");
            return Err(Error::Delegate { kind: self.kind.clone(), what });
        }
        let mut command = Command::new(&file);
        command
            .env("CNI_COMMAND", verb.as_str())
            .env(DEPTH, (depth + 1).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that refuses before it reads closes its end, and says why.
            stdin.write_all(call.document.to_text().as_bytes()).ok();
        }
        let output = child.wait_with_output().map_err(failed)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(match serde_json::from_slice::<Value>(&output.stdout) {
            Ok(said) if said.get("code").is_some_and(Value::is_u64) => {
                Error::Delegated { kind: self.kind.clone(), said }
            }
            _ => Error::Delegate { kind: self.kind.clone(), what: format!("ended with {}", output.status) },
        })
    }

    fn find(&self, call: &Call<'_>) -> Result<PathBuf, Error> {
        let path = &call.environment.path;
        let directories = path.as_bytes().split(|octet| *octet == b':').filter(|directory| !directory.is_empty());
        let files = directories.map(|directory| Path::new(std::ffi::OsStr::from_bytes(directory)).join(&self.kind));
        files
            .into_iter()
            .find(|file| file.is_file())
            .ok_or_else(|| Error::NoSuchPlugin { kind: self.kind.clone(), path: path.to_string_lossy().into_owned() })
    }
}

impl Part for Executed {
    fn add<'a>(
        &'a self,
        call: &'a Call<'a>,
        attachment: &'a Attachment,
        outcome: &mut Outcome,
    ) -> Result<Undo<'a>, Error> {
        let made = self.run(call, Verb::Add).and_then(|said| {
            let said = serde_json::from_slice(&said);
            let said = said.map_err(|error| Error::Delegate {
                kind: self.kind.clone(),
                what: format!("answered what is not JSON: {error}"),
            })?;
            let mut mistakes = Mistakes::default();
            let outcome = Outcome::read(&said, &mut mistakes);
            mistakes.none_or(outcome)
        });
        match made {
            Ok(made) => {
                *outcome = made;
                Ok(Box::new(move || drop(self.delete(call, attachment))))
            }
            Err(error) => {
                // The first error is the one to report.
                self.delete(call, attachment).ok();
                Err(error)
            }
        }
    }

    fn delete(&self, call: &Call<'_>, _: &Attachment) -> Result<(), Error> {
        self.run(call, Verb::Del).map(drop)
    }

    fn check(&self, call: &Call<'_>, _: &Attachment, _: &Outcome) -> Result<(), Error> {
        self.run(call, Verb::Check).map(drop)
    }

    fn collect(&self, call: &Call<'_>, _: &Attachments) -> Result<(), Error> {
        self.run(call, Verb::Gc).map(drop)
    }

    fn status(&self, call: &Call<'_>) -> Result<(), Error> {
        if call.version < Version::V1_1_0 { Ok(()) } else { self.run(call, Verb::Status).map(drop) }
    }
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}
