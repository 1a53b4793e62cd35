//! [`HostSettings`]: settings of the host, and none of ours, that must be so while it forwards for pods; which of them are wanted
//! is found out with the uplink. They are set, watched and put back like all others, and stay when we go.
//!
//! * `accept_ra` of the uplink: a host that forwards follows no router's advertisements unless this is 2 (ip-sysctl, RFC 4861 section 6.2.2),
//!   and the kernel drops the default route that it has from one the moment it begins to forward (`rt6_purge_dflt_routers`). So
//!   a node that follows a router goes on to. 0 means that somebody else speaks with routers (systemd-networkd, NetworkManager), or nobody.
//! * `bridge-nf-call-iptables`, `-ip6tables`: without them a pod that asks a service and is answered by its neighbour on the bridge does not
//!   recognize the answer. On Kubernetes alone, and where br_netfilter is loaded.
//!
//! [`missed`] says which settings are another way and cannot be made.

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

/// What br_netfilter brings.
const BRIDGES: &str = "net/bridge/";

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

/// Why settings are not as they are wanted, where this process can do nothing about it: one sentence each.
pub fn missed(wanted: &BTreeMap<String, String>) -> Vec<String> {
    let is = |path: &str| sysctl::read(path).ok().flatten();
    sentences(wanted, is, sysctl::is_writable)
}

fn sentences(
    wanted: &BTreeMap<String, String>,
    is: impl Fn(&str) -> Option<String>,
    is_writable: impl Fn(&str) -> bool,
) -> Vec<String> {
    let (mut there, mut right, mut no_bridges) = (Vec::new(), Vec::new(), false);
    for (path, value) in wanted {
        match is(path) {
            Some(now) if now != *value && !is_writable(path) => {
                there.push(sysctl::assignment(path, &now));
                right.push(sysctl::assignment(path, value));
            }
            None => no_bridges |= path.starts_with(BRIDGES),
            Some(_) => {}
        }
    }
    let read_only = (!there.is_empty()).then(|| {
        format!(
            "kernel settings are read-only here, and not as they should be ({}): mount the host's /proc/sys/net at {}, as the manifest \
             does, or set them on the host with `sysctl -w {}`",
            there.join(", "),
            sysctl::HOST_NET,
            right.join(" ")
        )
    });
    let no_bridges = no_bridges.then(|| {
        "the kernel module br_netfilter is not loaded: a pod that asks a service and is answered by a pod of the same bridge does not \
         recognize the answer; on the host, `modprobe br_netfilter`, and a line `br_netfilter` in a file of /etc/modules-load.d"
            .to_owned()
    });
    read_only.into_iter().chain(no_bridges).collect()
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
    fn what_cannot_be_made_is_told_with_what_makes_it() {
        let wanted: BTreeMap<String, String> = [
            ("net/bridge/bridge-nf-call-iptables", "1"),
            ("net/ipv4/conf/flannel.1/rp_filter", "2"),
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv6/conf/eth0/accept_ra", "2"),
        ]
        .map(|(path, value)| (path.to_owned(), value.to_owned()))
        .into();
        let is = |path: &str| (!path.starts_with(BRIDGES)).then(|| "1".to_owned());
        let said = sentences(&wanted, is, |_| false);
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].contains("(net/ipv4/conf/flannel.1/rp_filter=1, net.ipv6.conf.eth0.accept_ra=1)"),
            "{}",
            said[0]
        );
        assert!(said[0].ends_with("`sysctl -w net/ipv4/conf/flannel.1/rp_filter=2 net.ipv6.conf.eth0.accept_ra=2`"));
        assert!(said[1].contains("`modprobe br_netfilter`"), "{}", said[1]);
        assert_eq!(sentences(&wanted, |path| wanted.get(path).cloned(), |_| false), Vec::<String>::new());
        assert_eq!(sentences(&wanted, |_| Some("7".to_owned()), |_| true), Vec::<String>::new());
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
