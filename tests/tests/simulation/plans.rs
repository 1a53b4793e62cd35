//! Properties of every plan, on a model kernel that is as strict as the real one about what must exist before what: it is
//! accepted in its order, it yields the desired state, and a second one is empty.

use std::net::IpAddr;

use backends::cluster::{OwnSubnetRoute, RouteStyle};
use backends::diff::diff;
use backends::masquerade::{Firewall, Forward, Masquerade};
use backends::state::{LinkKind, Tag};
use backends::sum::Desired;
use backends::vxlan::VxlanSettings;
use backends::{Backend, Cluster, KernelState, LinkName, Uplink};
use ipam::table::Record;
use ipam::{BackendData, Endpoint, Lease, LeaseKey, LeaseTable, Mac, NodeName, Stack};
use proptest::prelude::*;
use towpathd::reconcile::Kernel;

use crate::kernel::ModelKernel;

/// What may differ between two moments of a node's life.
#[derive(Clone, Debug)]
struct Moment {
    vni: u64,
    port: u16,
    mtu: u32,
    address: u8,
    learning: bool,
    objects: bool,
    own: u8,
    /// Subnet → (VTEP MAC, public address).
    peers: std::collections::BTreeMap<u8, (u8, u8)>,
}

fn moments() -> impl Strategy<Value = Moment> {
    let peers = proptest::collection::btree_map(1u8..12, (1u8..8, 1u8..6), 0..10);
    let device = (1u64..3, prop_oneof![Just(8472u16), Just(4789)], prop_oneof![Just(1500u32), Just(1400)], 1u8..3);
    (device, any::<bool>(), any::<bool>(), 1u8..12, peers).prop_map(
        |((vni, port, mtu, address), learning, objects, own, peers)| Moment {
            vni,
            port,
            mtu,
            address,
            learning,
            objects,
            own,
            peers,
        },
    )
}

fn lease(subnet: u8, mac: u8, public: u8, vni: u64) -> Lease {
    let net = ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 244, subnet, 0), 24);
    let data = BackendData::Vxlan { vni: vni as u32, mac: Mac([2, 0, 0, 0, 0, mac]) };
    let public = IpAddr::from([192, 0, 2, public]);
    let endpoints = Stack::V4(Endpoint { subnet: net.into(), public, data });
    let node = NodeName::new(&format!("n{subnet}")).expect("a name");
    Lease { key: LeaseKey::new(&subnet.to_string()), node, since: u64::from(mac), endpoints, rollout: None }
}

impl Moment {
    fn uplink(&self) -> Uplink {
        let local = Stack::V4(IpAddr::from([192, 0, 2, 100 + self.address]));
        Uplink {
            link: LinkName::new("eth0").expect("a name"),
            mtu: self.mtu,
            local,
            public: local,
            on_link: Default::default(),
            settings: Default::default(),
        }
    }

    fn desired(&self) -> KernelState {
        let network: ipnet::IpNet = "10.244.0.0/16".parse().expect("a prefix");
        let networks = Stack::V4(network);
        let mut settings = VxlanSettings::new(self.vni, &networks).expect("a VNI");
        (settings.port, settings.learning) = (self.port, self.learning);
        let own = lease(self.own, 200, 100 + self.address, self.vni);
        let mut table = LeaseTable::default();
        let peers = self.peers.iter().filter(|(subnet, _)| **subnet != self.own);
        let peers = peers.map(|(subnet, (mac, public))| lease(*subnet, *mac, *public, self.vni));
        table.replace(peers.chain([own.clone()]).map(Record::Lease).collect());
        table.set_own(Some(own.key.clone()));
        let cluster = Cluster {
            networks,
            backend: Backend::Vxlan(settings),
            uplink: self.uplink(),
            own,
            firewall: Firewall { masquerade: Masquerade::FullyRandom, forward: Forward::Accept },
            routes: if self.objects { RouteStyle::Objects } else { RouteStyle::Gateways },
            own_subnet_route: OwnSubnetRoute::Blackhole,
            unclaimed: Default::default(),
            exceptions: Default::default(),
            segments: Default::default(),
            ways: None,
        };
        Desired::new(cluster, &table).state().clone()
    }
}

/// A kernel that holds a state, on the way to another.
fn kernel(state: KernelState, to: &Moment) -> ModelKernel {
    let mut kernel = ModelKernel::new(to.uplink(), KernelState::default(), 0);
    kernel.ours = KernelState { sysctls: kernel.ours.sysctls, ..KernelState::default() };
    let everything: Vec<_> = diff(&kernel.ours, &state).changes;
    kernel.apply(&to_scope(), &backends::Plan { changes: everything });
    kernel
}

fn to_scope() -> backends::Scope {
    let all = ["net/ipv4/ip_forward", "net/ipv6/conf/flannel.1/accept_ra", "net/ipv4/conf/flannel.1/rp_filter"];
    let two = ["net/ipv6/conf/flannel.2/accept_ra", "net/ipv4/conf/flannel.2/rp_filter"];
    let sysctls = all.into_iter().chain(two).map(str::to_owned).collect();
    backends::Scope { alias: String::new(), table: String::new(), links: vec![], networks: vec![], sysctls }
}

/// Sysctls aside, which stay when they are no longer wanted.
fn without_sysctls(state: &KernelState) -> KernelState {
    KernelState { sysctls: Default::default(), ..state.clone() }
}

fn arrives(mut kernel: ModelKernel, desired: &KernelState) -> Result<(), TestCaseError> {
    let observed = kernel.observe(&to_scope()).expect("a state");
    let plan = diff(&observed, desired);
    let outcome = kernel.apply(&to_scope(), &plan);
    prop_assert!(outcome.failures.is_empty(), "{:?}\nin\n{plan}", outcome.failures);
    prop_assert_eq!(without_sysctls(&kernel.ours), without_sysctls(desired));
    let again = diff(&kernel.observe(&to_scope()).expect("a state"), desired);
    prop_assert!(again.is_empty(), "a second plan:\n{again}");
    Ok(())
}

proptest! {
    #[test]
    fn any_state_becomes_any_other(from in moments(), to in moments()) {
        arrives(kernel(from.desired(), &to), &to.desired())?;
    }

    #[test]
    fn any_damage_is_mended(at in moments(), damage in proptest::collection::vec((0u8..7, any::<prop::sample::Index>()), 1..6)) {
        let desired = at.desired();
        let mut kernel = kernel(desired.clone(), &at);
        for (what, which) in damage {
            hurt(&mut kernel, what, &which);
        }
        arrives(kernel, &desired)?;
    }

    #[test]
    fn what_flannel_left_is_adopted(at in moments(), stale in moments()) {
        let desired = at.desired();
        let left = Moment { vni: at.vni, port: at.port, objects: false, address: at.address, ..stale };
        let mut kernel = kernel(left.desired(), &at);
        kernel.ours.ruleset = None;
        kernel.ours.links.values_mut().for_each(|link| link.tag = Tag::Adopted);
        kernel.ours.routes.values_mut().for_each(|route| route.tag = Tag::Adopted);
        kernel.ours.neighbours.values_mut().for_each(|neighbour| neighbour.tag = Tag::Adopted);
        kernel.ours.fdb.values_mut().for_each(|fdb| fdb.tag = Tag::Adopted);
        arrives(kernel, &desired)?;
    }
}

#[test]
fn nothing_of_ours_is_put_on_somebody_elses_device_of_our_name() {
    let at = Moment {
        vni: 1,
        port: 8472,
        mtu: 1500,
        address: 1,
        learning: false,
        objects: true,
        own: 1,
        peers: [(2, (2, 2))].into(),
    };
    let mut kernel = ModelKernel::new(at.uplink(), KernelState::default(), 0);
    let name = LinkName::new("flannel.1").expect("a name");
    let mut bridge = at.desired().links[&name].clone();
    (bridge.kind, bridge.tag) = (LinkKind::Other("bridge".into()), Tag::Adopted);
    kernel.ours.links.insert(name, bridge.clone());
    let theirs: ipnet::IpNet = "198.51.100.1/24".parse().expect("a prefix");
    kernel.ours.addresses.insert((name, theirs), Tag::Adopted);
    let plan = diff(&kernel.observe(&to_scope()).expect("a state"), &at.desired());
    let outcome = kernel.apply(&to_scope(), &plan);
    assert_eq!(outcome.failures.len(), 1, "making the device is refused, and that is all: {plan}");
    assert_eq!(kernel.ours.links[&name], bridge);
    assert_eq!(kernel.ours.addresses.keys().collect::<Vec<_>>(), [&(name, theirs)]);
    assert!(kernel.ours.routes.keys().all(|key| kernel.ours.routes[key].via == backends::state::Via::Blackhole));
    assert!(kernel.ours.fdb.is_empty() && kernel.ours.neighbours.is_empty());
}

fn hurt(kernel: &mut ModelKernel, what: u8, which: &prop::sample::Index) {
    fn pick<K: Copy, V>(map: &std::collections::BTreeMap<K, V>, which: &prop::sample::Index) -> Option<K> {
        (!map.is_empty()).then(|| *which.get(&map.keys().copied().collect::<Vec<_>>()))
    }
    let ours = &mut kernel.ours;
    match what {
        0 => drop(pick(&ours.routes, which).map(|key| ours.routes.remove(&key))),
        1 => drop(pick(&ours.neighbours, which).map(|key| ours.neighbours.remove(&key))),
        2 => drop(pick(&ours.fdb, which).map(|key| ours.fdb.remove(&key))),
        3 => drop(pick(&ours.addresses, which).map(|key| ours.addresses.remove(&key))),
        4 => ours.ruleset = None,
        5 => {
            if let Some(name) = pick(&ours.links, which) {
                kernel.flush(name);
                kernel.ours.links.entry(name).and_modify(|link| (link.up, link.mtu) = (false, 1000));
            }
        }
        _ => pick(&ours.links, which).into_iter().for_each(|name| kernel.delete_link(name)),
    }
}
