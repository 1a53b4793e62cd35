//! [`Environment`]: the `CNI_*` variables, and the [`Attachment`] that they name.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use backends::LinkName;
use ipam::ledger::{Identifier, Owner};
use kernel::netns::{Netns, NetnsError};

use crate::error::Error;
use crate::version::Version;

/// What is asked: `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Connect a container.
    Add,
    /// Disconnect it.
    Del,
    /// Look whether it is still connected.
    Check,
    /// Say which versions are spoken.
    Version,
    /// Remove what belongs to no container that is still there.
    Gc,
    /// Say whether ADD would work.
    Status,
}

impl Command {
    const ALL: [Command; 6] =
        [Command::Add, Command::Del, Command::Check, Command::Gc, Command::Status, Command::Version];

    /// The first version of the specification that has it, as far as we speak it.
    pub fn since(self) -> Version {
        match self {
            Command::Add | Command::Del | Command::Version => Version::V0_3_0,
            Command::Check => Version::V0_4_0,
            Command::Gc | Command::Status => Version::V1_1_0,
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Version => "VERSION",
            Command::Gc => "GC",
            Command::Status => "STATUS",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The variables as they are.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `CNI_COMMAND`
    pub command: OsString,
    /// `CNI_CONTAINERID`
    pub container: OsString,
    /// `CNI_NETNS`
    pub netns: OsString,
    /// `CNI_IFNAME`
    pub ifname: OsString,
    /// `CNI_ARGS`
    pub arguments: OsString,
    /// `CNI_PATH`
    pub path: OsString,
}

/// What is to be connected or disconnected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Container and interface.
    pub owner: Owner,
    /// The interface's name in the pod, checked.
    pub ifname: LinkName,
    /// Path of the pod's network namespace.
    pub netns: Option<PathBuf>,
    /// What the runtime says besides.
    pub arguments: Arguments,
}

/// `CNI_ARGS`: what a runtime says of one pod, by keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments(Vec<(String, String)>);

impl Arguments {
    /// The value of a key; the last one counts. Nothing when it is empty.
    pub fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        value.filter(|value| !value.is_empty())
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl Environment {
    /// That of this process. A variable that is not set is as good as an empty one.
    pub fn of_process() -> Environment {
        let variable = |name| env::var_os(name).unwrap_or_default();
        Environment {
            command: variable("CNI_COMMAND"),
            container: variable("CNI_CONTAINERID"),
            netns: variable("CNI_NETNS"),
            ifname: variable("CNI_IFNAME"),
            arguments: variable("CNI_ARGS"),
            path: variable("CNI_PATH"),
        }
    }

    /// What is asked.
    ///
    /// # Errors
    /// When it is nothing that we do.
    pub fn command(&self) -> Result<Command, Error> {
        let known = Command::ALL.into_iter().find(|command| self.command.as_os_str() == command.as_str());
        known.ok_or_else(|| {
            let all = Command::ALL.map(Command::as_str).join(", ");
            let mistake = if self.command.is_empty() {
                format!(
                    "CNI_COMMAND is not set: this is a CNI plugin for a container runtime to call, with one of {all}"
                )
            } else {
                format!("CNI_COMMAND is `{}`: expected one of {all}", self.command.to_string_lossy())
            };
            Error::Environment { mistakes: vec![mistake] }
        })
    }

    /// What the request is about.
    ///
    /// # Errors
    /// Every variable that is missing or wrong, named.
    pub fn attachment(&self) -> Result<Attachment, Error> {
        let mut mistakes = Vec::new();
        let container = read("CNI_CONTAINERID", &self.container, &mut mistakes, |text| {
            Identifier::new(text).map_err(|error| error.to_string())
        });
        let ifname = read("CNI_IFNAME", &self.ifname, &mut mistakes, |text| {
            LinkName::new(text).map_err(|error| error.to_string())
        });
        let is = |command: Command| self.command.as_os_str() == command.as_str();
        if self.netns.is_empty() && (is(Command::Add) || is(Command::Check)) {
            mistakes.push("CNI_NETNS is not set: expected the path of the pod's network namespace".to_owned());
        }
        // What DEL takes down does not depend on them.
        let text = if is(Command::Del) { "" } else { self.arguments.to_str().unwrap_or("=") };
        let arguments = text.split(';').filter(|pair| !pair.is_empty());
        let arguments: Vec<_> = arguments.map(|pair| pair.split_once('=')).collect();
        if arguments.iter().any(|pair| pair.is_none_or(|(key, _)| key.is_empty())) {
            let text = self.arguments.to_string_lossy();
            mistakes.push(format!("CNI_ARGS is `{text}`: expected KEY=value pairs with semicolons between them"));
        }
        let (Some(container), Some(ifname), true) = (container, ifname, mistakes.is_empty()) else {
            return Err(Error::Environment { mistakes });
        };
        let arguments = arguments.into_iter().flatten().map(|(key, value)| (key.to_owned(), value.to_owned()));
        let arguments = Arguments(arguments.collect());
        let netns = (!self.netns.is_empty()).then(|| PathBuf::from(&self.netns));
        Ok(Attachment { owner: Owner { container, ifname: ifname.to_string() }, ifname, netns, arguments })
    }
}

impl Attachment {
    /// Opens the pod's namespace, for ADD and CHECK.
    ///
    /// # Errors
    /// When it is not given, not there, something else, or the very one that we are in.
    pub fn open_netns(&self, home: &Netns) -> Result<Netns, Error> {
        let Some(path) = &self.netns else {
            let mistake = "CNI_NETNS is not set: expected the path of the pod's network namespace".to_owned();
            return Err(Error::Environment { mistakes: vec![mistake] });
        };
        let netns = Netns::open(path).map_err(Error::of_netns)?;
        if netns.is_same_as(home) {
            return Err(self.own_netns());
        }
        Ok(netns)
    }

    /// The pod's namespace as far as there is anything left of it, for DEL: nothing when it was not given, is gone, or is
    /// the host's own, or only the file is left that it was mounted on, as after a reboot.
    ///
    /// # Errors
    /// When it may be there and cannot be opened.
    pub fn netns_left(&self, home: &Netns) -> Result<Option<Netns>, Error> {
        let Some(path) = &self.netns else { return Ok(None) };
        match Netns::open(path) {
            Ok(netns) => Ok(Some(netns).filter(|netns| !netns.is_same_as(home))),
            Err(NetnsError::NotANamespace { .. }) => Ok(None),
            Err(NetnsError::Open { source, .. })
                if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::of_netns(error)),
        }
    }

    /// The refusal to touch the namespace that the plugin itself runs in, the host's.
    pub fn own_netns(&self) -> Error {
        let path = self.netns.as_deref().unwrap_or("".as_ref()).display();
        let mistake = format!("CNI_NETNS {path} is the host's own network namespace: expected the pod's");
        Error::Environment { mistakes: vec![mistake] }
    }
}

fn read<T>(
    name: &str,
    value: &OsString,
    mistakes: &mut Vec<String>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let parsed = match value.to_str() {
        Some("") => Err("is not set".to_owned()),
        Some(text) => parse(text).map_err(|error| format!("is wrong: {error}")),
        None => Err("is not UTF-8 text".to_owned()),
    };
    parsed.map_err(|what| mistakes.push(format!("{name} {what}"))).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn environment() -> Environment {
        Environment {
            command: "ADD".into(),
            container: "0a1b-c_d.e".into(),
            netns: "/run/netns/x".into(),
            ifname: "eth0".into(),
            arguments: "IgnoreUnknown=1;K8S_POD_NAME=a".into(),
            path: "/opt/cni/bin".into(),
        }
    }

    fn refusal(change: impl FnOnce(&mut Environment)) -> (u32, String) {
        let mut environment = environment();
        change(&mut environment);
        let error = environment.attachment().unwrap_err();
        (error.code(), error.to_string())
    }

    #[test]
    fn a_runtimes_environment_is_an_attachment() {
        let attachment = environment().attachment().unwrap();
        assert_eq!(attachment.owner.to_string(), "0a1b-c_d.e/eth0");
        assert_eq!(attachment.netns, Some(PathBuf::from("/run/netns/x")));
        assert_eq!(environment().command().unwrap(), Command::Add);
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for id in ["", "../x", "-a", "a b", "a/b", "a\nb", "ä"] {
            let (code, message) = refusal(|environment| environment.container = id.into());
            assert!(code == 4 && message.starts_with("CNI_CONTAINERID "), "{id:?}: {message}");
        }
        for name in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "0123456789abcdef"] {
            let (code, message) = refusal(|environment| environment.ifname = name.into());
            assert!(code == 4 && message.starts_with("CNI_IFNAME "), "{name:?}: {message}");
        }
        for arguments in ["a", "=b", "a=b;c"] {
            let (code, message) = refusal(|environment| environment.arguments = arguments.into());
            assert!(code == 4 && message.starts_with("CNI_ARGS "), "{arguments:?}: {message}");
        }
    }

    #[test]
    fn all_wrong_variables_are_named_together() {
        let (_, message) = refusal(|environment| *environment = Environment::default());
        assert_eq!(message, "CNI_CONTAINERID is not set; CNI_IFNAME is not set");
    }

    #[test]
    fn arguments_are_found_by_their_keys() {
        let arguments = environment().attachment().unwrap().arguments;
        assert_eq!((arguments.get("K8S_POD_NAME"), arguments.get("IP")), (Some("a"), None));
        assert_eq!(arguments.iter().next(), Some(("IgnoreUnknown", "1")));
    }

    #[test]
    fn an_unknown_command_is_told_which_ones_there_are() {
        for command in ["", "add", "PING", "ADD "] {
            let error = Environment { command: command.into(), ..Environment::default() }.command().unwrap_err();
            assert!(
                error.code() == 4 && error.to_string().contains("one of ADD, DEL, CHECK, GC, STATUS, VERSION"),
                "{error}"
            );
        }
    }
}
