//! The table of flags: name, shape, default, help and meaning of each stand together, in one [`Flag`].
//!
//! Everything else about flags follows from it: the command line's and the environment's parser (`written`), `--help`
//! (`help`), `--print-config` (`printed`). Names and defaults are flannel's where flannel has the flag.

mod cni;
mod leases;
mod node;
mod watching;

use super::meant::Meant;

/// A flag.
pub(super) struct Flag {
    /// Its name, without dashes.
    pub name: &'static str,
    /// What it takes.
    pub shape: Shape,
    /// What it is when nobody says anything, as text; empty: nothing, or what the help says.
    pub default: &'static str,
    /// For a person: what it does, and when to use it.
    pub help: &'static str,
    /// Parses the text and keeps what it means.
    pub set: fn(&mut Meant, &str) -> Result<(), Wrong>,
}

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `--x` is true; another value only as `--x=false` (Go's syntax).
    Switch,
    /// One value: what it is called in the help. The last one counts.
    Value(&'static str),
    /// A value, as often as wanted. From the environment: one.
    Repeated(&'static str),
    /// A value that is never shown.
    Secret(&'static str),
    /// Does something else than run the daemon; not taken from the environment.
    Command,
    /// A switch that is accepted because flannel (or its log library) has it, and means nothing here.
    QuietSwitch,
    /// A value that is accepted because flannel (or its log library) has it, and means nothing here.
    QuietValue,
}

impl Shape {
    /// Whether the flag alone, without a value, means true.
    pub fn is_switch(self) -> bool {
        matches!(self, Shape::Switch | Shape::Command | Shape::QuietSwitch)
    }

    /// Whether it means something here.
    pub fn is_quiet(self) -> bool {
        matches!(self, Shape::QuietSwitch | Shape::QuietValue)
    }
}

/// Why a value cannot be used, and what would be right.
#[derive(Debug)]
pub(super) struct Wrong {
    pub why: String,
    pub fix: String,
}

impl Wrong {
    pub fn new(why: impl Into<String>, fix: impl Into<String>) -> Wrong {
        Wrong { why: why.into(), fix: fix.into() }
    }
}

/// Flags that belong together, with their title in the help.
pub(super) struct Group {
    pub title: &'static str,
    pub flags: &'static [Flag],
}

/// All flags, in the order of the help.
pub(super) const GROUPS: &[Group] = &[
    Group { title: "What to do", flags: watching::COMMANDS },
    Group { title: "Where leases are kept", flags: leases::STORE },
    Group { title: "etcd", flags: leases::ETCD },
    Group { title: "Kubernetes", flags: leases::KUBERNETES },
    Group { title: "This node and its uplink", flags: node::UPLINK },
    Group { title: "Packets", flags: node::PACKETS },
    Group { title: "Files and sockets", flags: node::FILES },
    Group { title: "The container runtime", flags: cni::CNI },
    Group { title: "Health and logs", flags: watching::LOGS },
    Group { title: "Accepted for flannel's sake", flags: watching::QUIET },
];

/// All flags.
pub(super) fn all() -> impl Iterator<Item = &'static Flag> {
    GROUPS.iter().flat_map(|group| group.flags)
}

/// The flag of a name.
pub(super) fn named(name: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.name == name)
}

impl Flag {
    /// The environment variable that gives it: `FLANNELD_ETCD_PREFIX` for `etcd-prefix`.
    pub fn variable(&self) -> String {
        format!("FLANNELD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::{Meant, all};

    #[test]
    fn every_name_is_there_once_and_every_default_is_valid() {
        let mut meant = Meant::default();
        let mut names = std::collections::BTreeSet::new();
        for flag in all() {
            assert!(names.insert(flag.name), "--{} is there twice", flag.name);
            if !flag.default.is_empty() {
                (flag.set)(&mut meant, flag.default).unwrap();
            }
        }
    }

    #[test]
    fn every_flag_of_flannel_is_known_with_its_default() {
        let flannels = include_str!("flags/flannel.txt").lines().filter(|line| !line.starts_with('#'));
        for line in flannels {
            let (name, default) = line.split_once(' ').unwrap_or((line, ""));
            let flag = super::named(name).unwrap_or_else(|| panic!("--{name} is missing"));
            assert_eq!(flag.default, default, "default of --{name}");
        }
    }
}
