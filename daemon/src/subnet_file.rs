//! [`SubnetFile`]: `subnet.env`, what this node tells other programs on it (the CNI plugin, Docker's start script): the
//! cluster's networks, the own subnets, the MTU, whether pods are masqueraded. Byte for byte as flannel writes it, but for one
//! more line when pods are routed.
//!
//! It is also read at start ([`Previous`]): the subnets in it are asked for again. What the kernel holds is never taken
//! from it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipam::{Family, Stack};
use ipnet::IpNet;

use crate::whole_file;

/// What stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetFile {
    /// The cluster's networks.
    pub networks: Stack<IpNet>,
    /// The own pod subnets, host bits zero, in the same families.
    pub subnets: Stack<IpNet>,
    /// Octets of payload of a pod's interface.
    pub mtu: u32,
    /// Whether somebody (the daemon) masquerades, so that the plugin does not.
    pub masquerade: bool,
    /// What pods hang on.
    pub pods: PodMode,
}

/// What the plugin hangs the pods of a node on, where its own configuration does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodMode {
    /// A bridge, as flannel users have it.
    #[default]
    Bridge,
    /// Nothing: the node has a route to each pod.
    Routed,
}

/// What an earlier daemon, ours or flannel's, left there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// The cluster's networks then.
    pub networks: Vec<IpNet>,
    /// The subnets held then, host bits zero.
    pub subnets: Stack<IpNet>,
}

/// Why the file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SubnetFileError {
    /// The system refuses.
    #[error(
        "the subnet file {path} cannot be {action}: {source}; make room, allow it, or name another by \
         --subnet-file (a pod needs that directory of the host mounted)"
    )]
    System {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A value in it is not what it should be.
    #[error("the subnet file {path} has {key}={value:?}, which is not {expected}; remove the file, it is written anew")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// The value, cut to a readable length.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

/// Everybody may read it: plugins and scripts of other users do.
const MODE: u32 = 0o644;

/// No subnet file is longer.
const LONGEST: u64 = 64 * 1024;

/// The keys of a family: network, subnet.
fn keys(family: Family) -> [&'static str; 2] {
    match family {
        Family::V4 => ["FLANNEL_NETWORK", "FLANNEL_SUBNET"],
        Family::V6 => ["FLANNEL_IPV6_NETWORK", "FLANNEL_IPV6_SUBNET"],
    }
}

/// The file's text.
impl fmt::Display for SubnetFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (family, subnet) in self.subnets.iter() {
            let [network_key, subnet_key] = keys(family);
            if let Some(network) = self.networks.get(family) {
                writeln!(f, "{network_key}={network}")?;
            }
            writeln!(f, "{subnet_key}={}/{}", first_usable(subnet), subnet.prefix_len())?;
        }
        writeln!(f, "FLANNEL_MTU={}\nFLANNEL_IPMASQ={}", self.mtu, self.masquerade)?;
        match self.pods {
            PodMode::Bridge => Ok(()),
            // Flannel's own readers overlook keys that they do not know.
            PodMode::Routed => writeln!(f, "TOWPATH_POD_MODE=routed"),
        }
    }
}

/// The address after the network's own: the bridge's.
fn first_usable(subnet: &IpNet) -> IpAddr {
    match subnet.network() {
        IpAddr::V4(v4) => IpAddr::V4(v4.to_bits().wrapping_add(1).into()),
        IpAddr::V6(v6) => IpAddr::V6(v6.to_bits().wrapping_add(1).into()),
    }
}

/// Writes the file if it does not say so already, readable by all whatever the umask. Readers see it old or new, never half.
///
/// # Errors
/// [`SubnetFileError`]: the system refuses.
pub fn write(path: &Path, file: &SubnetFile) -> Result<(), SubnetFileError> {
    let text = file.to_string();
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode() & 0o7777);
    if mode.is_ok_and(|mode| mode == MODE) && read_text(path).is_ok_and(|there| there == text) {
        return Ok(());
    }
    let refused = |source| SubnetFileError::System { action: "written", path: path.to_owned(), source };
    whole_file::replace(path, MODE, |out| out.write_all(text.as_bytes())).map_err(refused)
}

/// Reads what an earlier daemon left; `None` when there is no file or no subnet in it.
///
/// # Errors
/// [`SubnetFileError`]: it is there and cannot be read, or a network or subnet in it is none.
pub fn read(path: &Path) -> Result<Option<Previous>, SubnetFileError> {
    let text = match read_text(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|source| SubnetFileError::System { action: "read", path: path.to_owned(), source })?,
    };
    let mut networks = Vec::new();
    let mut subnets = [None; 2];
    for (family, held) in Family::ALL.into_iter().zip(&mut subnets) {
        let [network_key, subnet_key] = keys(family);
        for item in value(&text, network_key).split(',').map(str::trim).filter(|item| !item.is_empty()) {
            networks.push(net(item, family).ok_or_else(|| wrong(path, network_key, item))?);
        }
        let subnet = value(&text, subnet_key);
        if !subnet.is_empty() {
            *held = Some(net(subnet, family).ok_or_else(|| wrong(path, subnet_key, subnet))?);
        }
    }
    let [v4, v6] = subnets;
    Ok(Stack::from_options(v4, v6).map(|subnets| Previous { networks, subnets }))
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What a shell that sources the file would see: the last of several, without quotes.
fn value<'t>(text: &'t str, key: &str) -> &'t str {
    let assignment = |line: &'t str| {
        let line = line.trim();
        let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches(['"', '\'']))
    };
    text.lines().rev().find_map(assignment).unwrap_or_default()
}

fn net(text: &str, family: Family) -> Option<IpNet> {
    text.parse::<IpNet>().ok().filter(|net| Family::of_net(net) == family).map(|net| net.trunc())
}

fn wrong(path: &Path, key: &'static str, value: &str) -> SubnetFileError {
    let expected =
        if key.contains("IPV6") { "an IPv6 network with its length" } else { "an IPv4 network with its length" };
    SubnetFileError::Value { path: path.to_owned(), key, value: value.chars().take(64).collect(), expected }
}

#[cfg(test)]
mod tests;
