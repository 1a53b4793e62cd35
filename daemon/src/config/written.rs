//! Stage one, as written: each flag's texts, and where they come from. The command line wins over the environment, which
//! wins over the default.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::flags::{self, Flag, Shape};
use super::kube::ApiUrl;
use super::mistake::Mistake;
use super::settings::OwnPod;
use super::{endpoint, invocation::Invocation};
use crate::spelling;

/// Every flag of the table with what was written.
pub(super) struct Written {
    pub entries: Vec<Entry>,
    /// The pod that this process runs in, if the environment names it.
    pub own_pod: Option<OwnPod>,
    /// Where the kubelet says that the API server is.
    pub service: Option<ApiUrl>,
    /// Where this program lies.
    pub directory: PathBuf,
}

/// One flag with what was written.
pub(super) struct Entry {
    pub flag: &'static Flag,
    /// None, one, or (a repeated flag) several.
    pub values: Vec<String>,
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    CommandLine,
    /// The variable's name.
    Environment(String),
    HostName,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::CommandLine => f.write_str("command line"),
            Origin::Environment(variable) => write!(f, "environment {variable}"),
            Origin::HostName => f.write_str("host name"),
            Origin::Default => f.write_str("default"),
        }
    }
}

impl Written {
    /// Reads the command line and the environment.
    pub fn read(invocation: &Invocation) -> (Written, Vec<Mistake>) {
        let (mut given, mut mistakes) = command_line(&invocation.arguments);
        let entries: Vec<Entry> = flags::all().map(|flag| entry(flag, given.remove(flag.name), invocation)).collect();
        if let Some(node) = entries.iter().find(|entry| entry.flag.name == "node-name" && entry.values.is_empty()) {
            let fix = "give --node-name, or set NODE_NAME";
            mistakes.push(node.mistake_alone(("this host has no name", fix)));
        }
        let said = |name| invocation.environment.get(name).filter(|value| !value.is_empty()).cloned();
        let own_pod = said("POD_NAME").zip(said("POD_NAMESPACE")).map(|(name, namespace)| OwnPod { namespace, name });
        let service = said("KUBERNETES_SERVICE_HOST").zip(said("KUBERNETES_SERVICE_PORT"));
        let service = service.and_then(|(host, port)| ApiUrl::of_service(&host, &port));
        (Written { entries, own_pod, service, directory: invocation.directory.clone() }, mistakes)
    }

    /// The entry of a flag.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.flag.name == name)
    }
}

impl Entry {
    /// Whether somebody said something.
    pub fn is_given(&self) -> bool {
        !self.values.is_empty() && !matches!(self.origin, Origin::Default | Origin::HostName)
    }

    /// A mistake about one of its values.
    pub fn mistake(&self, value: &str, reason: (impl fmt::Display, impl fmt::Display)) -> Mistake {
        let shown = match self.flag.shape {
            Shape::Secret(_) => "(hidden)".to_owned(),
            _ => endpoint::hidden_login(value),
        };
        Mistake::of(&self.key(), &shown, reason)
    }

    /// A mistake about the flag, whatever its value.
    pub fn mistake_alone(&self, reason: (impl fmt::Display, impl fmt::Display)) -> Mistake {
        Mistake::of(&self.key(), "", reason)
    }

    /// How the person who wrote it calls it.
    fn key(&self) -> String {
        match &self.origin {
            Origin::Environment(variable) => variable.clone(),
            _ => format!("--{}", self.flag.name),
        }
    }
}

type Given = BTreeMap<&'static str, Vec<String>>;

fn entry(flag: &'static Flag, given: Option<Vec<String>>, invocation: &Invocation) -> Entry {
    // Templates write `--iface=` where nothing is meant.
    let nothing = |value: &String| value.is_empty() && flag.default.is_empty() && !flag.shape.is_switch();
    if let Some(values) = given {
        let values: Vec<String> = values.into_iter().filter(|value| !nothing(value)).collect();
        if !values.is_empty() {
            return Entry { flag, values, origin: Origin::CommandLine };
        }
    }
    let variable = flag.variable();
    let from_environment = |name: &str| invocation.environment.get(name).filter(|value| !value.is_empty()).cloned();
    let taken = flag.shape != Shape::Command;
    if let Some(value) = from_environment(&variable).filter(|_| taken) {
        return Entry { flag, values: vec![value], origin: Origin::Environment(variable) };
    }
    if flag.name == "node-name" {
        if let Some(value) = from_environment("NODE_NAME") {
            return Entry { flag, values: vec![value], origin: Origin::Environment("NODE_NAME".to_owned()) };
        }
        let values = Some(invocation.host_name.clone()).filter(|name| !name.is_empty()).into_iter().collect();
        return Entry { flag, values, origin: Origin::HostName };
    }
    if flag.name == "wireguard-key-file"
        && let Some(value) = from_environment("WIREGUARD_KEY_FILE")
    {
        return Entry { flag, values: vec![value], origin: Origin::Environment("WIREGUARD_KEY_FILE".to_owned()) };
    }
    let default = Some(flag.default.to_owned()).filter(|text| !text.is_empty());
    Entry { flag, values: default.into_iter().collect(), origin: Origin::Default }
}

/// Go's flag syntax: `-f v`, `--f v`, `-f=v`; a switch alone is true and takes another value only after `=`; `--` ends
/// the flags. Unlike Go it goes on after a mistake, to find all of them.
fn command_line(arguments: &[String]) -> (Given, Vec<Mistake>) {
    let mut given = Given::new();
    let mut mistakes = Vec::new();
    let mut rest = arguments.iter().map(String::as_str).peekable();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')).filter(|f| !f.is_empty())
        else {
            mistakes.extend(stray(argument, rest.next()));
            continue;
        };
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        let name = if name == "h" { "help" } else { name };
        let Some(known) = flags::named(name) else {
            mistakes.push(unknown(name));
            // What follows is most likely its value.
            rest.next_if(|next| value.is_none() && !next.starts_with('-'));
            continue;
        };
        let value = match value {
            Some(value) => Some(value),
            None if known.shape.is_switch() => Some("true"),
            None => rest.next(),
        };
        match value {
            Some(value) => take(&mut given, known, value),
            None => mistakes.push(Mistake::of(
                &format!("--{name}"),
                "",
                ("its value is missing", format!("write --{name}=…, or leave it out")),
            )),
        }
    }
    (given, mistakes)
}

fn take(given: &mut Given, flag: &'static Flag, value: &str) {
    let values = given.entry(flag.name).or_default();
    if !matches!(flag.shape, Shape::Repeated(_)) {
        values.clear();
    }
    values.push(value.to_owned());
}

/// An argument that is no flag, or what follows `--`.
fn stray(argument: &str, next: Option<&str>) -> Option<Mistake> {
    let argument = if argument == "--" { next? } else { argument };
    let why = "it is not a flag, and towpathd takes nothing else";
    let fix = "leave it out; if it is the value of a switch, write --switch=true or --switch=false in one word";
    Some(Mistake::of("command line", argument, (why, fix)))
}

fn unknown(name: &str) -> Mistake {
    let known = flags::all().filter(|flag| !flag.shape.is_quiet()).map(|flag| flag.name);
    let fix = match spelling::nearest(name, known) {
        Some(near) => format!("did you mean --{near}? --help lists all flags"),
        None => "--help lists all flags".to_owned(),
    };
    Mistake::of(&format!("--{name}"), "", ("there is no such flag", fix))
}
