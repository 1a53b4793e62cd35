//! What a lab needs of the machine, said in one sentence when it is not there.

use anyhow::{Result, ensure};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};

/// A program and the Debian package that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `ip` and `bridge`.
    Iproute2,
    /// `nft`: the wires' faults.
    Nftables,
    /// `etcd`.
    Etcd,
    /// `containerd`: machines of a cluster.
    Containerd,
    /// `runc`: what containerd starts containers with.
    Runc,
    /// `openssl`: certificates of a control plane.
    Openssl,
    /// `bird` and `birdc`.
    Bird,
}

impl Tool {
    fn program_and_package(self) -> (&'static str, &'static str) {
        match self {
            Tool::Iproute2 => ("ip", "iproute2"),
            Tool::Nftables => ("nft", "nftables"),
            Tool::Etcd => ("etcd", "etcd-server"),
            Tool::Containerd => ("containerd", "containerd"),
            Tool::Runc => ("runc", "runc"),
            Tool::Openssl => ("openssl", "openssl"),
            Tool::Bird => ("bird", "bird2"),
        }
    }
}

/// Whether this process may make network namespaces and has what labs are made with.
///
/// # Errors
/// What is missing and how to get it.
pub fn check_machine() -> Result<()> {
    ensure!(geteuid().is_root(), "a lab is made of network namespaces and needs root: run this with sudo");
    let held = capabilities(None)?.effective;
    for (bit, name) in [(CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"), (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN")] {
        ensure!(
            held.contains(bit),
            "a lab needs {name}, which this process does not have: run it in a privileged container"
        );
    }
    require(Tool::Iproute2)
}

/// Whether a program is there.
///
/// # Errors
/// The program and its package, when it is not.
pub fn require(tool: Tool) -> Result<()> {
    let (program, package) = tool.program_and_package();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    ensure!(found, "`{program}` is not installed: apt-get install {package}");
    Ok(())
}
