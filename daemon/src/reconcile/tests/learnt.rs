//! A change of the backend to bgp and from it: a route is learnt before anything is sent by it, and the older one stays below it meanwhile.

use backends::on_link::{Hop, OnLink};
use backends::state::LinkName;
use ipnet::IpNet;

use super::*;
use crate::ask::fixture::{identity, newborn_as, uplink};
use crate::netconf::Division;
use crate::node::Node;

const BGP: &str = r#"{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:10:244::/48", "Backend": {"Type": "bgp"}}"#;
const VXLAN: &str = "vxlan vni=1 port=8472";

/// What a peer's lease says: by which way it sends to all, which it wants, and whether it is ready for that.
fn says(name: &str, number: u8, (main, target, ready, clock): (&str, &str, bool, u64)) -> Event {
    let carrier = |name: &str| Carrier::new(name).unwrap();
    let mut told = lease(name, number);
    let vxlan = told.endpoints.map(|_, endpoint| endpoint.data.clone());
    let bgp = told.endpoints.map(|_, _| BackendData::Bgp { asn: None, reflects_for: None });
    let (own, other) = if main == "bgp" { (bgp, (VXLAN, vxlan)) } else { (vxlan, ("bgp", bgp)) };
    told.endpoints =
        told.endpoints.map(|family, it| ipam::Endpoint { data: own.get(family).unwrap().clone(), ..it.clone() });
    let mut rollout = Rollout { target: carrier(target), ready, ..Rollout::settled(carrier(main), clock) };
    if !(main == target && ready) {
        let spare = Spare { carrier: carrier(other.0), promised: u64::from(ready) * clock, data: other.1 };
        rollout.spares = [spare].into();
    }
    told.rollout = Some(Box::new(rollout));
    Event::Changed(vec![Record::Lease(told)])
}

/// What is announced of a node's pods: where it is, or nothing any more.
fn learn(reconciler: &mut Reconciler, number: u8, known: usize) {
    let hops = |address: &str| {
        let hop = NextHop { address: address.parse().unwrap(), link: None };
        Arc::new(std::iter::repeat_n(hop, known).collect())
    };
    let v4 = (format!("10.244.{number}.0/24").parse().unwrap(), hops(&format!("192.0.2.{number}")));
    let v6 = (format!("fd00:10:244:{number}::/64").parse().unwrap(), hops(&format!("2001:db8::{number}")));
    reconciler.node.on_learnt(Learnt::Routes(vec![v4, v6]));
}

/// By which links packets leave for the pods of `b` and `c`; and by which they would, should that route go.
fn links(kernel: &MemoryKernel) -> String {
    let link = |key: &RouteKey| kernel.state.routes.get(key).and_then(|route| route.via.link());
    let name = |key: RouteKey| link(&key).map_or_else(|| "-".to_owned(), |name: LinkName| name.to_string());
    let both = |net: &str| {
        let net: IpNet = net.parse().unwrap();
        format!("{} {}", name(RouteKey::new(net)), name(RouteKey::below(net)))
    };
    let v4 = [both("10.244.2.0/24"), both("10.244.3.0/24")];
    let v6 = [both("fd00:10:244:2::/64"), both("fd00:10:244:3::/64")];
    let v6 = v6.map(|text| text.replace("-v6", ""));
    assert_eq!(v4, v6, "one family is as the other");
    v4.join(", ")
}

/// Node `a` in a cluster with VXLAN, all of whose nodes are on one link.
fn on_one_link() -> (Reconciler, MemoryKernel) {
    let (mut reconciler, mut kernel) = newborn_as(Node::new(identity(Division::Claimed), None, None));
    kernel.uplink = Ok(near());
    begin(&mut reconciler, NETWORK, (VXLAN, VXLAN, true, 0));
    reconciler.turn(&mut kernel, noon().now);
    (reconciler, kernel)
}

fn near() -> Uplink {
    let net = |text: &str| (RouteKey::new(text.parse().unwrap()), Hop::Direct);
    Uplink { on_link: OnLink::new([vec![net("192.0.2.0/24"), net("2001:db8::/64")]]), ..uplink() }
}

/// What a store says first.
fn begin(reconciler: &mut Reconciler, network: &str, stance: (&str, &str, bool, u64)) {
    tell(reconciler, Event::Network(network.into()));
    tell(reconciler, Event::Snapshot(vec![Record::Lease(lease("a", 1))]));
    tell(reconciler, says("b", 2, stance));
    tell(reconciler, says("c", 3, stance));
    tell(reconciler, Event::Mine(lease("a", 1)));
}

fn clock(reconciler: &Reconciler) -> u64 {
    reconciler.node.position().unwrap().clock
}

fn peers(reconciler: &Reconciler) -> Option<usize> {
    reconciler.node.speaker().map(|wish| wish.neighbours.len())
}

#[test]
fn nothing_is_sent_by_what_is_not_learnt_and_what_is_withdrawn_has_something_below_it() {
    let (mut reconciler, mut kernel) = on_one_link();
    let now = noon().now;
    let mut turn = |reconciler: &mut Reconciler| {
        reconciler.turn(&mut kernel, now);
        links(&kernel)
    };
    assert_eq!(turn(&mut reconciler), "flannel.1 -, flannel.1 -");
    tell(&mut reconciler, Event::Network(BGP.into()));
    turn(&mut reconciler);
    let wanted = (VXLAN, "bgp", false, clock(&reconciler));
    tell(&mut reconciler, says("b", 2, wanted));
    tell(&mut reconciler, says("c", 3, wanted));
    learn(&mut reconciler, 2, 1);
    assert_eq!(turn(&mut reconciler), "flannel.1 -, flannel.1 -");
    assert_eq!(peers(&reconciler), Some(2), "sessions come before anything is sent");
    assert!(!reconciler.node.position().unwrap().ready, "c is not learnt yet");
    let here = RolloutStatus::new(&reconciler, &noon()).here;
    assert!(here.iter().any(|it| it.contains("node c: no usable route to its 10.244.3.0/24")), "{here:?}");
    learn(&mut reconciler, 3, 1);
    assert_eq!(turn(&mut reconciler), "flannel.1 -, flannel.1 -");
    assert!(reconciler.node.position().unwrap().ready);
    // One is ready.
    let ready = (VXLAN, "bgp", true, clock(&reconciler));
    tell(&mut reconciler, says("b", 2, ready));
    assert_eq!(turn(&mut reconciler), "eth0 flannel.1, flannel.1 -");
    learn(&mut reconciler, 2, 0);
    assert_eq!(turn(&mut reconciler), "- flannel.1, flannel.1 -");
    tell(&mut reconciler, says("c", 3, ready));
    assert_eq!(turn(&mut reconciler), "- flannel.1, eth0 flannel.1");
    assert_eq!(reconciler.node.position().unwrap().main.as_str(), VXLAN, "b is not learnt");
    learn(&mut reconciler, 2, 1);
    assert_eq!(turn(&mut reconciler), "eth0 -, eth0 -");
    assert_eq!(reconciler.node.position().unwrap().main.as_str(), "bgp");
}

#[test]
fn what_was_learnt_is_sent_by_until_others_are_ready_and_a_restart_forgets_nothing_of_it() {
    let (mut reconciler, mut kernel) = on_one_link();
    let now = noon().now;
    tell(&mut reconciler, Event::Network(BGP.into()));
    reconciler.turn(&mut kernel, now);
    let done = ("bgp", "bgp", true, clock(&reconciler));
    (2..=3).for_each(|number| learn(&mut reconciler, number, 1));
    tell(&mut reconciler, says("b", 2, done));
    tell(&mut reconciler, says("c", 3, done));
    reconciler.turn(&mut kernel, now);
    assert_eq!(links(&kernel), "eth0 -, eth0 -");
    tell(&mut reconciler, Event::Network(NETWORK.into()));
    reconciler.turn(&mut kernel, now);
    assert_eq!((links(&kernel).as_str(), peers(&reconciler)), ("eth0 -, eth0 -", Some(2)));
    // Another life, which has learnt nothing yet.
    let last = reconciler.node.last_known();
    assert!(last.former.as_ref().is_some_and(|former| former == BGP), "{last:?}");
    let mut own = lease("a", 1);
    let claim = match reconciler.node.wish() {
        crate::store::Wish::Hold(claim) => claim,
        other => panic!("{other:?}"),
    };
    own.endpoints = own.endpoints.map(|family, it| {
        let data = claim.published.get(family).unwrap().data.clone();
        ipam::Endpoint { data, ..it.clone() }
    });
    own.rollout = claim.rollout.map(Box::new);
    let clock = clock(&reconciler);
    let (mut reconciler, _) = newborn_as(Node::new(identity(Division::Claimed), Some(last), None));
    tell(&mut reconciler, Event::Network(NETWORK.into()));
    tell(&mut reconciler, Event::Snapshot(vec![Record::Lease(own.clone())]));
    tell(&mut reconciler, says("b", 2, ("bgp", VXLAN, false, clock)));
    tell(&mut reconciler, says("c", 3, ("bgp", VXLAN, true, clock)));
    tell(&mut reconciler, Event::Mine(own));
    reconciler.turn(&mut kernel, now);
    assert_eq!((links(&kernel).as_str(), peers(&reconciler)), ("eth0 -, flannel.1 -", Some(2)));
    tell(&mut reconciler, says("b", 2, ("bgp", VXLAN, true, clock)));
    reconciler.turn(&mut kernel, now);
    assert_eq!((links(&kernel).as_str(), peers(&reconciler)), ("flannel.1 -, flannel.1 -", Some(2)));
    // Nobody sends by it any more.
    let clock = reconciler.node.position().unwrap().clock;
    tell(&mut reconciler, says("b", 2, (VXLAN, VXLAN, true, clock)));
    tell(&mut reconciler, says("c", 3, (VXLAN, VXLAN, true, clock)));
    reconciler.turn(&mut kernel, now);
    reconciler.turn(&mut kernel, now + Duration::from_secs(6));
    assert_eq!((links(&kernel).as_str(), peers(&reconciler)), ("flannel.1 -, flannel.1 -", None));
    assert_eq!(reconciler.node.last_known().former, None);
}
