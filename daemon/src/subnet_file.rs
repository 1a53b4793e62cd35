//! [`SubnetFile`]: `subnet.env`, what this node tells other programs on it (the CNI plugin, Docker's start script): the
//! cluster's networks, the own subnets, the MTU, whether pods are masqueraded. Byte for byte as flannel writes it.
//!
//! It is also read at start: the subnets in it are asked for again. What the kernel holds is never taken from it.

use ipam::Stack;
use ipnet::IpNet;

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
}
