//! [`HostSettings`]: settings of the host, and none of ours, that must be so while it forwards for pods; which of them are wanted
//! is found out with the uplink. They are set, watched and put back like all others, and stay when we go.
//!
//! * `accept_ra` of the uplink: a host that forwards follows no router's advertisements unless this is 2 (ip-sysctl, RFC 4861 section 6.2.2),
//!   and the kernel drops the default route that it has from one the moment it begins to forward (`rt6_purge_dflt_routers`). So
//!   a node that follows a router goes on to. 0 means that somebody else speaks with routers (systemd-networkd, NetworkManager), or nobody.
//! * `bridge-nf-call-iptables`, `-ip6tables`: without them a pod that asks a service and is answered by its neighbour on the bridge does not
//!   recognize the answer. On Kubernetes alone, and where br_netfilter is loaded.

use std::collections::BTreeMap;

use backends::Uplink;
use ipam::Family;
use kernel::inventory::Inventory;
use kernel::sysctl;

/// What is asked of the host besides forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostSettings {
    /// To go on following its routers.
    Routers,
    /// The same, and to show the host's rules what goes through a bridge.
    RoutersAndBridges,
}

const FORWARDING: &str = "net/ipv6/conf/all/forwarding";

impl HostSettings {
    /// The settings by path below /proc/sys.
    pub fn wanted(self, uplink: &Uplink, families: &[Family], inventory: &Inventory) -> BTreeMap<String, String> {
        let mut wanted = BTreeMap::new();
        if families.contains(&Family::V6) {
            let path = format!("net/ipv6/conf/{}/accept_ra", uplink.link);
            let learnt = inventory.default_routes.iter().any(|route| route.learnt && route.link == uplink.link);
            // What cannot be read is left as it is.
            let [accept_ra, forwarding] = [path.as_str(), FORWARDING].map(|path| sysctl::read(path).ok().flatten());
            if follows_routers(accept_ra.as_deref(), forwarding.as_deref(), learnt) {
                wanted.insert(path, "2".to_owned());
            }
        }
        if self == HostSettings::RoutersAndBridges {
            let bridge = |family: &Family| match family {
                Family::V4 => "net/bridge/bridge-nf-call-iptables",
                Family::V6 => "net/bridge/bridge-nf-call-ip6tables",
            };
            wanted.extend(families.iter().map(|family| (bridge(family).to_owned(), "1".to_owned())));
        }
        wanted
    }
}

/// Whether routers' advertisements are followed; `learnt`: there is a default route from one.
fn follows_routers(accept_ra: Option<&str>, forwarding: Option<&str>, learnt: bool) -> bool {
    match accept_ra {
        Some("2") => true,
        // Once the host forwards, this says so no more, and a route from before may still be there.
        Some("1") => forwarding == Some("0") || learnt,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_rules_see_what_goes_through_a_bridge_only_where_there_are_services() {
        let (uplink, inventory) =
            (crate::ask::fixture::uplink(), Inventory { links: Vec::new(), default_routes: Vec::new() });
        let bridges = HostSettings::RoutersAndBridges.wanted(&uplink, &[Family::V4], &inventory);
        assert_eq!(bridges, [("net/bridge/bridge-nf-call-iptables".to_owned(), "1".to_owned())].into());
        assert_eq!(HostSettings::Routers.wanted(&uplink, &[Family::V4], &inventory), BTreeMap::new());
    }

    #[test]
    fn routers_are_followed_as_long_as_they_were() {
        for (accept_ra, forwarding, learnt, follows) in [
            (Some("1"), Some("0"), false, true),
            (Some("1"), Some("1"), true, true),
            (Some("1"), Some("1"), false, false),
            (Some("2"), Some("1"), false, true),
            (Some("0"), Some("0"), true, false),
            (None, None, false, false),
        ] {
            assert_eq!(
                follows_routers(accept_ra, forwarding, learnt),
                follows,
                "{accept_ra:?} {forwarding:?} {learnt}"
            );
        }
    }
}
