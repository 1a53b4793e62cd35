//! Capabilities in people's words.

use std::fmt;

use crate::wire::family::Family;

use super::{Capability, Forwarding, PathIdMode, Role};

fn families<T>(items: &[T], text: impl Fn(&T) -> String) -> String {
    items.iter().map(text).collect::<Vec<_>>().join(", ")
}

fn kept((family, forwarding): (Family, Forwarding)) -> String {
    match forwarding {
        Forwarding::Kept => format!("{family} (forwarding kept)"),
        Forwarding::Lost => family.to_string(),
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Provider => "provider",
            Role::RouteServer => "route server",
            Role::RouteServerClient => "route server client",
            Role::Customer => "customer",
            Role::Peer => "peer",
        })
    }
}

impl fmt::Display for PathIdMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathIdMode::Receive => "takes",
            PathIdMode::Send => "sends",
            PathIdMode::Both => "takes and sends",
        })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Capability::MultiProtocol(family) => write!(f, "routes of {family}"),
            Capability::RouteRefresh => f.write_str("route refresh"),
            Capability::EnhancedRefresh => f.write_str("enhanced route refresh"),
            Capability::ExtendedNextHop(all) => {
                let next_hop = |(family, afi): &(Family, u16)| match afi {
                    2 => format!("{family} over ipv6"),
                    afi => format!("{family} over afi {afi}"),
                };
                write!(f, "extended next hop: {}", families(all, next_hop))
            }
            Capability::ExtendedMessage => f.write_str("extended messages"),
            Capability::Role(role) => write!(f, "role {role}"),
            Capability::GracefulRestart(restart) => {
                write!(f, "graceful restart, {} s", restart.restart_secs)?;
                f.write_str(if restart.restarted { ", it has restarted" } else { "" })?;
                f.write_str(if restart.notifications { ", also after notifications" } else { "" })?;
                match restart.families.is_empty() {
                    true => Ok(()),
                    false => write!(f, ": {}", families(&restart.families, |family| kept(*family))),
                }
            }
            Capability::FourOctetAs(asn) => write!(f, "AS {asn} in four octets"),
            Capability::AddPath(all) => {
                write!(f, "several paths: {}", families(all, |(family, mode)| format!("{family} {mode}")))
            }
            Capability::LongLived(all) => {
                let long = |family: &super::LongLived| {
                    format!("{}, {} s", kept((family.family, family.forwarding)), family.stale_secs)
                };
                match all.is_empty() {
                    true => f.write_str("long-lived graceful restart of no family"),
                    false => write!(f, "long-lived graceful restart: {}", families(all, long)),
                }
            }
            Capability::Hostname(name, domain) if domain.is_empty() => write!(f, "name {}", printable(name)),
            Capability::Hostname(name, domain) => write!(f, "name {}.{}", printable(name), printable(domain)),
            Capability::BfdStrict => f.write_str("BFD strict mode"),
            Capability::SoftwareVersion(version) => write!(f, "software {}", printable(version)),
            Capability::LinkLocalNextHop => f.write_str("link-local next hop"),
            Capability::Unknown(128, _) => f.write_str("route refresh, by the number from before RFC 2918"),
            Capability::Unknown(code, value) => write!(f, "unknown capability {code}, {} bytes", value.len()),
        }
    }
}

/// What a peer says of itself goes to a terminal and to a log.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{GracefulRestart, LongLived};
    use super::*;

    #[test]
    fn every_capability_has_words() {
        let restart = GracefulRestart {
            restarted: true,
            notifications: true,
            restart_secs: 120,
            families: vec![(Family::IPV4, Forwarding::Kept), (Family::IPV6, Forwarding::Lost)],
        };
        let long = LongLived { family: Family::IPV4, forwarding: Forwarding::Lost, stale_secs: 3600 };
        for (capability, words) in [
            (Capability::MultiProtocol(Family::EVPN), "routes of evpn"),
            (Capability::ExtendedNextHop(vec![(Family::IPV4, 2)]), "extended next hop: ipv4 over ipv6"),
            (Capability::Role(Role::RouteServerClient), "role route server client"),
            (
                Capability::GracefulRestart(restart),
                "graceful restart, 120 s, it has restarted, also after notifications: ipv4 (forwarding kept), ipv6",
            ),
            (Capability::AddPath(vec![(Family::IPV4, PathIdMode::Both)]), "several paths: ipv4 takes and sends"),
            (Capability::LongLived(vec![long]), "long-lived graceful restart: ipv4, 3600 s"),
            (Capability::Hostname("tor1\u{1b}[31m".into(), String::new()), "name tor1\u{fffd}[31m"),
            (Capability::Unknown(128, vec![]), "route refresh, by the number from before RFC 2918"),
            (Capability::Unknown(99, vec![1, 2]), "unknown capability 99, 2 bytes"),
        ] {
            assert_eq!(capability.to_string(), words);
        }
    }
}
