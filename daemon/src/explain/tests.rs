//! Explanations, as they are printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use backends::state::Tag;
use ipam::table::Record;
use ipam::{BackendData, Endpoint, Lease};

use super::*;
use crate::ask::fixture::{MemoryKernel, lease, link, newborn, noon, route, settled, tell};
use crate::store::Event;

fn explain(address: &str, (reconciler, kernel): &mut (Reconciler, MemoryKernel)) -> Explanation {
    Explanation::new(address.parse().unwrap(), reconciler, kernel).unwrap()
}

#[test]
fn a_peers_pod_with_everything_in_place() {
    let explanation = explain("10.244.3.7", &mut settled());
    assert!(explanation.complete);
    assert_eq!((explanation.node.as_deref(), explanation.lease.as_deref()), (Some("c"), Some("10.244.3.0-24")));
    assert_eq!(
        explanation.to_string(),
        "\
10.244.3.7 is a pod address of node c (lease 10.244.3.0-24, 10.244.3.0/24): by route 10.244.3.0/24 via 10.244.3.0 dev flannel.1, in VXLAN to 192.0.2.3

present    route 10.244.3.0/24 nhid [via 10.244.3.0 dev flannel.1 onlink proto 84] proto 84 metric 0
present    nexthop via 10.244.3.0 dev flannel.1 onlink proto 84
present    neigh 10.244.3.0 lladdr 02:00:00:00:04:03 dev flannel.1 nud permanent protocol 84
present    fdb 02:00:00:00:04:03 dev flannel.1 dst 192.0.2.3 self permanent extern_learn
present    link flannel.1 address 02:00:00:00:04:01 mtu 1450 up addrgenmode none type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0 nolearning
present    address 10.244.1.0/32 dev flannel.1
present    sysctl net.ipv4.conf.flannel/1.rp_filter = 2
present    sysctl net.ipv4.ip_forward = 1
present    sysctl net.ipv6.conf.flannel/1.accept_ra = 0
present    nft table inet towpath, 17 rules
"
    );
}

#[test]
fn each_kind_of_object_that_is_gone_or_altered_is_named() {
    type Harm = fn(&mut KernelState);
    let harms: [(&str, Harm); 9] = [
        ("MISSING    route 10.244.3.0/24 ", |state| state.routes.retain(|key, _| *key != route(3))),
        ("MISSING    nexthop via 10.244.3.0 ", |state| {
            state.nexthops.retain(|hop, _| hop.gateway.to_string() != "10.244.3.0")
        }),
        ("MISSING    neigh 10.244.3.0 ", |state| {
            state.neighbours.retain(|key, _| key.address.to_string() != "10.244.3.0")
        }),
        ("DIFFERENT  fdb 02:00:00:00:04:03 ", |state| {
            state.fdb.values_mut().for_each(|entry| entry.remote = "192.0.2.99".parse().unwrap());
        }),
        ("MISSING    link flannel.1 ", |state| state.links.retain(|name, _| *name != link("flannel.1"))),
        ("DIFFERENT  link flannel.1 ", |state| state.links.get_mut(&link("flannel.1")).unwrap().up = false),
        ("MISSING    address 10.244.1.0/32 ", |state| state.addresses.clear()),
        ("DIFFERENT  sysctl net.ipv4.ip_forward = 1", |state| {
            state.sysctls.insert("net/ipv4/ip_forward".into(), "0".into());
        }),
        ("MISSING    nft table inet towpath", |state| state.ruleset = None),
    ];
    for (said, harm) in harms {
        let mut node = settled();
        harm(&mut node.1.state);
        let explanation = explain("10.244.3.7", &mut node);
        assert!(!explanation.complete, "{said}");
        let text = explanation.to_string();
        assert!(text.contains(said), "{said} is not in\n{text}");
        let bad = explanation.objects.iter().filter(|object| object.condition != Condition::Present).count();
        assert_eq!(bad, 1, "{text}");
    }
}

#[test]
fn what_is_there_instead_is_said() {
    let mut node = settled();
    node.1.state.ruleset.as_mut().unwrap().chains.pop();
    node.1.state.links.get_mut(&link("flannel-v6.1")).unwrap().mtu = 1400;
    let text = explain("fd00:10:244:3::9", &mut node).to_string();
    assert!(text.contains("\n           there is: link flannel-v6.1 address 02:00:00:00:06:01 mtu 1400 up"), "{text}");
    assert!(text.contains("\n           there is: nft table inet towpath, 6 rules, not all ours\n"), "{text}");
}

#[test]
fn an_address_that_flannel_put_on_the_device_will_do() {
    let mut node = settled();
    node.1.state.addresses.values_mut().for_each(|tag| *tag = Tag::Adopted);
    assert!(explain("10.244.3.7", &mut node).complete);
}

#[test]
fn only_the_address_family_asked_for_counts() {
    let mut node = settled();
    node.1.state.links.remove(&link("flannel-v6.1"));
    node.1.state.sysctls.insert("net/ipv6/conf/all/forwarding".into(), "0".into());
    assert!(explain("10.244.3.7", &mut node).complete);
    assert!(!explain("fd00:10:244:3::7", &mut node).complete);
}

/// Each kind of address: what is said of it, and whether it can be reached.
#[test]
fn whose_an_address_is() {
    let mut node = settled();
    let stranger = Lease {
        endpoints: lease("d", 4)
            .endpoints
            .map(|_, end| Endpoint { data: BackendData::Other("host-gw".into()), ..end.clone() }),
        ..lease("d", 4)
    };
    let usurper = Lease { since: 9, endpoints: lease("b", 2).endpoints, ..lease("e", 5) };
    tell(&mut node.0, Event::Changed(vec![Record::Lease(stranger), Record::Lease(usurper)]));
    node.0.turn(&mut node.1, noon().now);
    for (address, kind, complete, sentence) in [
        (
            "10.244.1.7",
            Kind::OwnPod,
            true,
            "10.244.1.7 is a pod address of this node (lease 10.244.1.0-24, 10.244.1.0/24): by the pods' bridge (cni0, unless the plugin's configuration names another)",
        ),
        (
            "10.244.1.0",
            Kind::OwnPod,
            true,
            "10.244.1.0 is this node's own address on flannel.1, which peers' routes name (lease 10.244.1.0-24)",
        ),
        (
            "10.244.3.0",
            Kind::PeerPod,
            true,
            "10.244.3.0 is the tunnel address of node c (lease 10.244.3.0-24, 10.244.3.0/24): by route 10.244.3.0/24 via 10.244.3.0 dev flannel.1, in VXLAN to 192.0.2.3",
        ),
        (
            "10.244.2.9",
            Kind::PeerPod,
            true,
            "10.244.2.9 is a pod address of node b (lease 10.244.2.0-24, 10.244.2.0/24): by route 10.244.2.0/24 via 10.244.2.0 dev flannel.1, in VXLAN to 192.0.2.2",
        ),
        (
            "10.244.4.9",
            Kind::PeerPod,
            false,
            "10.244.4.9 is a pod address of node d (lease 10.244.4.0-24, 10.244.4.0/24), without a path: IPv4: it publishes backend `host-gw`, this node runs `vxlan`; they must be the same; IPv6: it publishes backend `host-gw`, this node runs `vxlan`; they must be the same",
        ),
        ("192.0.2.1", Kind::OwnNode, true, "192.0.2.1 is this node's own address on eth0"),
        (
            "2001:db8::3",
            Kind::PeerNode,
            true,
            "2001:db8::3 is node c's own address: by the underlay and the node's own routes, not by towpath (uplink eth0)",
        ),
        (
            "10.244.9.1",
            Kind::Unclaimed,
            false,
            "10.244.9.1 is in the network 10.244.0.0/16, but no node has a lease on it; it would belong to a node that takes the subnet 10.244.9.0/24",
        ),
        (
            "203.0.113.1",
            Kind::Outside,
            true,
            "203.0.113.1 is not in the network 10.244.0.0/16: the node's own routes decide, see `ip route get 203.0.113.1`",
        ),
    ] {
        let explanation = explain(address, &mut node);
        assert_eq!((explanation.kind, explanation.complete, explanation.sentence.as_str()), (kind, complete, sentence));
    }
}

#[test]
fn before_anything_is_known_it_says_so() {
    let explanation = explain("10.244.3.7", &mut newborn());
    assert!(!explanation.complete);
    assert!(explanation.sentence.contains("the network is not known yet"), "{}", explanation.sentence);
}

#[test]
fn a_kernel_that_cannot_be_asked_is_an_error() {
    let (reconciler, mut kernel) = settled();
    kernel.blind = Some("netlink: out of memory".into());
    let error = Explanation::new("10.244.3.7".parse().unwrap(), &reconciler, &mut kernel).unwrap_err();
    assert_eq!(error, "the kernel's state cannot be read: netlink: out of memory");
}

#[test]
fn json_has_the_same() {
    let mut node = settled();
    node.1.state.routes.remove(&route(3));
    let json = serde_json::to_value(explain("10.244.3.7", &mut node)).unwrap();
    assert_eq!(json["kind"], "peer-pod");
    assert_eq!(json["complete"], false);
    assert_eq!(json["objects"][0]["condition"], "missing");
    assert_eq!(json["objects"][1]["condition"], "present");
}
