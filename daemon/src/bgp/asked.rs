//! [`Asked`]: what the status socket is asked of BGP, as it stands in the request: `{"ask":"bgp","bgp":{"explain":{"prefix":"10.0.0.0/8"}}}`.
//!
//! `towpathctl` writes it with this very type. What is done about it is the business of `status_socket`.

use std::str::FromStr;

use bgp::wire::Family;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::trial::{RouteText, TrialView, Way};
use crate::netconf::policy::Policies;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// All peers, or all about one.
    Peers {
        /// The one.
        neighbour: Option<String>,
    },
    /// Routes that are best.
    Routes {
        /// Only those within this prefix.
        within: Option<IpNet>,
        /// Only those with a path of this peer.
        neighbour: Option<String>,
        /// Only those of this family.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        family: Option<RouteFamily>,
    },
    /// All paths to a prefix.
    Explain {
        /// Which.
        prefix: IpNet,
    },
    /// What happens from now on, a line each, until whoever asked has heard enough.
    Monitor,
    /// What a route would meet.
    Policy(Box<PolicyAsked>),
    /// Leave the peers in peace.
    Drain {
        /// What they are told (RFC 9003).
        text: String,
    },
    /// Come back.
    Undrain,
}

/// A family of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteFamily {
    /// IPv4 prefixes.
    Ipv4,
    /// IPv6 prefixes.
    Ipv6,
    /// What fabrics say of what is behind VTEPs.
    Evpn,
}

impl RouteFamily {
    /// As it is on the wire.
    pub fn on_the_wire(self) -> Family {
        match self {
            RouteFamily::Ipv4 => Family::IPV4,
            RouteFamily::Ipv6 => Family::IPV6,
            RouteFamily::Evpn => Family::EVPN,
        }
    }
}

impl FromStr for RouteFamily {
    type Err = String;

    fn from_str(text: &str) -> Result<RouteFamily, String> {
        match text {
            "ipv4" => Ok(RouteFamily::Ipv4),
            "ipv6" => Ok(RouteFamily::Ipv6),
            "evpn" => Ok(RouteFamily::Evpn),
            _ => Err("there are ipv4, ipv6 and evpn".to_owned()),
        }
    }
}

/// Which policy a route is tried with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyAsked {
    /// One of net-conf.json's, by name.
    pub name: Option<String>,
    /// That of a peer.
    pub neighbour: Option<String>,
    /// Which of the peer's two; of a named one, whose AS `Prepend` means.
    #[serde(default)]
    pub way: Way,
    /// Our AS, for a named one.
    pub asn: Option<u32>,
    /// The route.
    pub route: RouteText,
}

/// Ours where nobody says another: the first of those that RFC 6996 leaves to everybody.
pub const USUAL_AS: u32 = 64512;

impl PolicyAsked {
    /// What the route would meet in one of these by its name.
    ///
    /// # Errors
    /// A sentence, when there is no such policy or the route is not understood.
    pub fn with(&self, policies: &Policies) -> Result<TrialView, String> {
        let name = self.name.as_deref().unwrap_or_default();
        let policy = policies.get(name).ok_or_else(|| {
            let names = policies.names().collect::<Vec<_>>().join(", ");
            format!("there is no policy `{name}`: there are {names}")
        })?;
        let route = self.route.route()?;
        let sender = match self.way {
            Way::Import => route.sender.asn,
            Way::Export => self.asn.unwrap_or(USUAL_AS),
        };
        Ok(TrialView::new(name.to_owned(), &policy, &route, sender))
    }
}
