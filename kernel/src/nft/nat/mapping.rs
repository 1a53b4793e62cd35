//! [`Mapping`]: a port of the node that leads to a pod.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipam::Family;

use super::NatError;

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

    /// IANA's number, as in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not one of the three.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a protocol with ports: expected tcp, udp or sctp")]
pub struct UnknownProtocol(String);

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    /// In any case: Kubernetes writes `TCP`, runtimes pass `tcp` on.
    fn from_str(text: &str) -> Result<Protocol, UnknownProtocol> {
        let found = Protocol::ALL.into_iter().find(|protocol| protocol.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownProtocol(text.chars().take(40).collect()))
    }
}

/// A port of the node that leads to a pod's. `iptables -t nat -A … -p tcp -d HOST --dport N -j DNAT --to POD:M`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Which protocol's.
    pub protocol: Protocol,
    /// The address of the node that it is on, of the pod's family; all of them when there is none.
    pub host: Option<IpAddr>,
    /// The port there.
    pub host_port: u16,
    /// The pod's address.
    pub pod: IpAddr,
    /// The pod's port.
    pub pod_port: u16,
}

impl Mapping {
    /// The family of both sides.
    pub fn family(&self) -> Family {
        Family::of(self.pod)
    }

    /// Whether some packet could be meant for either.
    pub fn clashes_with(&self, other: &Mapping) -> bool {
        let same = (self.protocol, self.host_port, self.family()) == (other.protocol, other.host_port, other.family());
        same && (self.host.is_none() || other.host.is_none() || self.host == other.host)
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pod = SocketAddr::new(self.pod, self.pod_port);
        match self.host {
            Some(host) => write!(f, "{}/{} to {pod}", SocketAddr::new(host, self.host_port), self.protocol),
            None => write!(f, "{}/{} to {pod}", self.host_port, self.protocol),
        }
    }
}

/// Which clients of a host port the pod sees under the node's address instead of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sources {
    /// Those that would not come back otherwise: the pod itself, its neighbours on one bridge, and the node's loopback.
    #[default]
    Near,
    /// All (`masqAll`).
    All,
    /// None (`snat` is false).
    None,
}

/// Refuses two mappings of one pod that clash.
pub(super) fn distinct(mappings: &[Mapping]) -> Result<(), NatError> {
    for (at, mapping) in mappings.iter().enumerate() {
        if let Some(other) = mappings[..at].iter().find(|other| other.clashes_with(mapping) && *other != mapping) {
            return Err(NatError::Twice { mapping: Box::new(*mapping), other: Box::new(*other) });
        }
    }
    Ok(())
}
