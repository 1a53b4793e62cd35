//! Who computes the checksums of what a tunnel device sends: the kernel lets the network card do it where it can ([`Offload::On`], its
//! own choice), or computes them before the packet enters the tunnel ([`Offload::Off`]), which also ends segmentation offload and
//! costs three quarters of the speed. Off is right where a kernel or a card gets them wrong.
//!
//! Which of the two it is where nobody says so is found out by a trial on the node itself (`kernel::trial`), not here.

use std::fmt;

use crate::cluster::{Backend, Cluster};
use crate::state::KernelState;

/// Transmit checksum offload of a device. `ethtool -K DEVICE tx on`, or `off`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Left to the lowest device that can: the kernel's own choice for a new device.
    On,
    /// Computed by the kernel, on the tunnel device.
    Off,
}

impl Offload {
    /// As `ethtool` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Offload::On => "on",
            Offload::Off => "off",
        }
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What net-conf.json says of it (`TxChecksum`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxChecksum {
    /// Each node finds out which works.
    #[default]
    Auto,
    /// This, on all nodes.
    Fixed(Offload),
}

impl TxChecksum {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            TxChecksum::Auto => "auto",
            TxChecksum::Fixed(offload) => offload.as_str(),
        }
    }
}

impl Backend {
    /// What is said of its devices' checksums; `None` of a backend that has no devices of the kernel's.
    pub fn tx_checksum(&self) -> Option<TxChecksum> {
        match self {
            Backend::Vxlan(settings) => Some(settings.tx_checksum),
            Backend::WireGuard(settings) => Some(settings.tx_checksum),
            Backend::Ipip(settings) => Some(settings.tx_checksum),
            Backend::HostGw | Backend::Udp(_) | Backend::Extension(_) | Backend::Alloc | Backend::Bgp(_) => None,
        }
    }

    /// The same with that said otherwise, where it has any.
    pub fn with_tx_checksum(mut self, wanted: TxChecksum) -> Backend {
        match &mut self {
            Backend::Vxlan(settings) => settings.tx_checksum = wanted,
            Backend::WireGuard(settings) => settings.tx_checksum = wanted,
            Backend::Ipip(settings) => settings.tx_checksum = wanted,
            Backend::HostGw | Backend::Udp(_) | Backend::Extension(_) | Backend::Alloc | Backend::Bgp(_) => {}
        }
        self
    }
}

/// Notes the devices that shall compute checksums themselves. Where nothing is known yet a device keeps what the kernel gave it.
pub(crate) fn add(cluster: &Cluster, state: &mut KernelState) {
    if cluster.backend.tx_checksum() == Some(TxChecksum::Fixed(Offload::Off)) {
        state.software_checksums.extend(state.links.keys().copied());
    }
}
