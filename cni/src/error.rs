//! [`Error`]: why a request was not done, and the error object that the specification wants it told by (1.1, section 5).

use std::io;
use std::path::PathBuf;

use ipam::ledger::LedgerError;
use kernel::netns::NetnsError;
use kernel::pod::PodError;
use serde_json::{Value, json};

use crate::environment::Command;
use crate::translation::TranslationError;
use crate::version::Version;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A version that we do not speak.
    #[error("cniVersion {version} is not spoken: use one of {}", Version::ALL.map(Version::as_str).join(", "))]
    Version {
        /// As written, or `(none)`.
        version: String,
    },
    /// A command that the configuration's version does not have.
    #[error("CNI {version} has no {command}: it came with {}", command.since())]
    VersionWithoutCommand {
        /// What was asked.
        command: Command,
        /// In which version.
        version: Version,
    },
    /// Something that is configured and not done here.
    #[error("`{key}` is {value}, and this version of towpath cannot do that: {instead}")]
    UnsupportedField {
        /// The key with the path to it.
        key: String,
        /// Its value, cut to a readable length.
        value: String,
        /// What to do instead.
        instead: &'static str,
    },
    /// The pod's namespace is gone, so there is nothing to connect and nothing to clean up.
    #[error("the container does not exist: there is nothing at CNI_NETNS {}", path.display())]
    NoContainer {
        /// `CNI_NETNS`
        path: PathBuf,
    },
    /// Environment variables that are missing or wrong, each with what would be right.
    #[error("{}", mistakes.join("; "))]
    Environment {
        /// One sentence each.
        mistakes: Vec<String>,
    },
    /// Standard input.
    #[error("cannot read the network configuration from standard input: {source}")]
    Input {
        /// Why not.
        source: io::Error,
    },
    /// More than any configuration has.
    #[error("the network configuration on standard input is too long: it must have less than {limit} octets")]
    InputTooLong {
        /// Octets.
        limit: u64,
    },
    /// Not JSON.
    #[error("the network configuration on standard input cannot be read: {what}")]
    Decode {
        /// What is wrong, and where.
        what: String,
    },
    /// What the configuration says cannot be meant, each mistake with its key and what would be right.
    #[error("invalid network configuration: {}", mistakes.join("; "))]
    Configuration {
        /// One sentence each.
        mistakes: Vec<String>,
    },
    /// The daemon has not said yet which subnet is this node's.
    #[error("there is no {} yet, which says which subnet this node has: towpathd writes it when it has a lease; is it running?", path.display())]
    NoSubnetFile {
        /// `subnetFile`
        path: PathBuf,
    },
    /// A file that is not the ledger's.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A configuration that was delegated, as flannel keeps it.
    #[error("cannot {action} {}, where flannel's delegated configurations are kept (`dataDir`): {source}", path.display())]
    KeptFile {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The daemon's file says nothing useful.
    #[error("{} is not what towpathd writes: {what}; restart towpathd, it writes the file anew", path.display())]
    SubnetFile {
        /// `subnetFile`
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// STATUS: an ADD would fail now.
    #[error("no pod can be connected now: {reason}")]
    NotReady {
        /// Why.
        reason: Box<Error>,
    },
    /// A plugin that is executed is not there.
    #[error(
        "there is no plugin `{kind}` in CNI_PATH {path}: install it there, or use a type that is done in this process"
    )]
    NoSuchPlugin {
        /// `type`
        kind: String,
        /// `CNI_PATH`
        path: String,
    },
    /// A plugin that is executed did not do its work, and did not say why.
    #[error("the plugin `{kind}` {what}")]
    Delegate {
        /// `type`
        kind: String,
        /// What it did instead.
        what: String,
    },
    /// A plugin that is executed said why it did not do its work: passed on (specification 1.1, section 4).
    #[error("the plugin `{kind}`: {}", said.get("msg").and_then(Value::as_str).unwrap_or("an error without a message"))]
    Delegated {
        /// `type`
        kind: String,
        /// Its error object.
        said: Value,
    },
    /// Several things that went wrong one after the other, each by itself.
    #[error("{}", errors.iter().map(Error::to_string).collect::<Vec<_>>().join("; and "))]
    Several {
        /// At least two.
        errors: Vec<Error>,
    },
    /// CHECK: something that ADD made is not there.
    #[error("{what}")]
    Missing {
        /// The first such thing.
        what: String,
    },
    /// The address ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Host ports and masquerade.
    #[error(transparent)]
    Translation(#[from] TranslationError),
    /// The kernel.
    #[error(transparent)]
    Pod(PodError),
}

impl From<PodError> for Error {
    fn from(error: PodError) -> Error {
        match error {
            PodError::Netns(error) => Error::of_netns(error),
            error => Error::Pod(error),
        }
    }
}

impl Error {
    /// The specification's code; 100 and up are ours.
    pub fn code(&self) -> u32 {
        match self {
            Error::Version { .. } | Error::VersionWithoutCommand { .. } => 1,
            Error::UnsupportedField { .. } => 2,
            Error::NoContainer { .. } => 3,
            Error::Environment { .. } => 4,
            Error::Input { .. }
            | Error::File { .. }
            | Error::KeptFile { .. }
            | Error::Ledger(LedgerError::File { .. }) => 5,
            Error::Decode { .. } | Error::SubnetFile { .. } => 6,
            Error::InputTooLong { .. } | Error::Configuration { .. } => 7,
            Error::NoSubnetFile { .. } => 11,
            // Pods that run have lost what connects them.
            Error::NotReady { reason } if matches!(**reason, Error::Pod(PodError::NotABridge { .. })) => 51,
            Error::NotReady { .. } => 50,
            // What is asked for by a key and this kernel has not.
            Error::Pod(PodError::Netlink(kernel::Error::Unsupported { .. })) => 2,
            Error::Pod(_) => 100,
            Error::Translation(error) => error.code(),
            Error::Ledger(
                LedgerError::OutOfRanges { .. } | LedgerError::IsGateway { .. } | LedgerError::TwoOfOneSet { .. },
            ) => 7,
            Error::Ledger(_) => 101,
            Error::Missing { .. } => 102,
            Error::NoSuchPlugin { .. } | Error::Delegate { .. } => 103,
            Error::Delegated { said, .. } => said.get("code").and_then(Value::as_u64).unwrap_or(103) as u32,
            Error::Several { errors } => errors.first().map_or(100, Error::code),
        }
    }

    /// What STATUS says of it: 50 when an ADD would fail now; a configuration that is wrong, and what a plugin that is
    /// executed says, is told as such.
    pub fn of_status(self) -> Error {
        match self {
            error @ (Error::Configuration { .. } | Error::UnsupportedField { .. } | Error::Delegated { .. }) => error,
            reason => Error::NotReady { reason: Box::new(reason) },
        }
    }

    /// Does one thing after the other, whatever comes of each.
    ///
    /// # Errors
    /// Everything that went wrong.
    pub fn all(results: impl Iterator<Item = Result<(), Error>>) -> Result<(), Error> {
        let mut errors: Vec<Error> = results.filter_map(Result::err).collect();
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several { errors }),
        }
    }

    /// The error object.
    pub fn to_json(&self, version: Version) -> Value {
        let mut object = json!({ "cniVersion": version.as_str(), "code": self.code(), "msg": self.to_string() });
        if let Error::Delegated { said, .. } = self
            && let Some(details) = said.get("details")
        {
            object["details"] = details.clone();
        }
        object
    }

    /// What opening or entering `CNI_NETNS` came to.
    pub fn of_netns(error: NetnsError) -> Error {
        match error {
            NetnsError::Open { path, source } if source.kind() == io::ErrorKind::NotFound => {
                Error::NoContainer { path }
            }
            // It is a pod's namespace: what we lack is a right, or memory.
            error @ (NetnsError::Enter { .. } | NetnsError::Thread { .. }) => Error::Pod(PodError::Netns(error)),
            error => Error::Environment { mistakes: vec![format!("CNI_NETNS: {error}")] },
        }
    }
}
