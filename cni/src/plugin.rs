//! [`Plugin`]: the names that we answer to, and what each is made of.
//!
//! The base name of `argv[0]` decides, whatever the path: `towpath` is everything in one, the others are the reference
//! plugins of those names, with their defaults.

use std::ffi::OsStr;
use std::path::Path;

use crate::bandwidth::Bandwidth;
use crate::flannel::Flannel;
use crate::ipam_local::HostLocal;
use crate::loopback::Loopback;
use crate::masquerade::Masquerade;
use crate::part::{Chain, Part};
use crate::ports::Ports;
use crate::tuning::Tuning;
use crate::wire::Wire;

/// A name that we answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// Everything that a pod's wire needs.
    Towpath,
    /// flannel's meta plugin.
    Flannel,
    /// The reference `bridge`.
    Bridge,
    /// The reference `host-local`.
    HostLocal,
    /// The reference `portmap`.
    Portmap,
    /// The reference `bandwidth`.
    Bandwidth,
    /// The reference `loopback`.
    Loopback,
    /// The reference `tuning`.
    Tuning,
}

impl Plugin {
    /// All of them.
    pub const ALL: [Plugin; 8] = [
        Plugin::Towpath,
        Plugin::Flannel,
        Plugin::Bridge,
        Plugin::HostLocal,
        Plugin::Portmap,
        Plugin::Bandwidth,
        Plugin::Loopback,
        Plugin::Tuning,
    ];

    /// By what it was called as; any other file name is `towpath`, as `towpath-0.1.0` is.
    pub fn called_as(argument: &OsStr) -> Plugin {
        let name = Path::new(argument).file_name().and_then(OsStr::to_str).unwrap_or_default();
        Plugin::named(name).unwrap_or(Plugin::Towpath)
    }

    /// By the `type` of a configuration; `None` when it is none of ours and must be executed.
    pub fn named(name: &str) -> Option<Plugin> {
        Plugin::ALL.into_iter().find(|plugin| plugin.name() == name)
    }

    /// As the file is called, and `type` in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Plugin::Towpath => "towpath",
            Plugin::Flannel => "flannel",
            Plugin::Bridge => "bridge",
            Plugin::HostLocal => "host-local",
            Plugin::Portmap => "portmap",
            Plugin::Bandwidth => "bandwidth",
            Plugin::Loopback => "loopback",
            Plugin::Tuning => "tuning",
        }
    }

    /// What it does.
    pub fn part(self) -> &'static dyn Part {
        match self {
            Plugin::Towpath => &Chain(&[&Wire, &Masquerade, &Ports, &Bandwidth, &Tuning]),
            Plugin::Flannel => &Flannel,
            Plugin::Bridge => &Chain(&[&Wire, &Masquerade]),
            Plugin::HostLocal => &HostLocal,
            Plugin::Portmap => &Ports,
            Plugin::Bandwidth => &Bandwidth,
            Plugin::Loopback => &Loopback,
            Plugin::Tuning => &Tuning,
        }
    }
}
