//! What is promised of the journey from facts to the kernel, beside what the simulation shows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use backends::learnt::NextHop;
use backends::state::{RouteKey, Scope};
use backends::wireguard::Generation;
use backends::{KernelState, Outcome, Plan, Uplink};
use ipam::rollout::Spare;
use ipam::table::Record;
use ipam::{BackendData, Carrier, Lease, PublicKey, Rollout, Stack};

use super::{Kernel, Reconciler, WantedUplink};
use crate::ask::fixture::{MemoryKernel, NETWORK, lease, link, noon, settled, tell};
use crate::bgp::learnt::Learnt;
use crate::status::RolloutStatus;
use crate::store::Event;
use crate::tunnel_keys::TunnelKeys;

mod learnt;

#[test]
fn what_a_look_finds_before_we_have_done_it_ourselves_is_nobodys_doing() {
    let (mut reconciler, mut kernel) = settled();
    tell(&mut reconciler, Event::Changed(vec![Record::Lease(lease("b", 2))]));
    // The new lease and the look come in the same turn.
    reconciler.look_again();
    reconciler.turn(&mut kernel, reconciler.due());
    assert!(reconciler.record.changes > 0 && reconciler.record.looks > 1);
    assert_eq!((reconciler.record.repaired, reconciler.record.drifts), (0, 0), "{:?}", reconciler.record.repairs);
}

fn key(number: u8) -> PublicKey {
    PublicKey::new([number; 32]).unwrap()
}

/// A peer that sends by VXLAN and wants WireGuard.
fn turning(name: &str, number: u8, target: &str) -> Lease {
    let carrier = |name: &str| Carrier::new(name).unwrap();
    let data = |port| BackendData::WireGuard { key: Box::new(key(number)), port: Some(port) };
    let spare = Spare { carrier: carrier(target), promised: 0, data: Stack::Dual { v4: data(51820), v6: data(51821) } };
    let rollout = Rollout {
        main: carrier("vxlan vni=1 port=8472"),
        target: carrier(target),
        ready: false,
        clock: 1,
        spares: [spare].into(),
        mtu: None,
    };
    Lease { rollout: Some(Box::new(rollout)), ..lease(name, number) }
}

#[test]
fn nothing_goes_by_wireguard_before_a_session_is_agreed_upon_with_each_peer() {
    let (mut reconciler, mut kernel) = settled();
    kernel.keys = Some(TunnelKeys { public: key(1), preshared: None });
    let target = "wireguard mode=separate port=51820 portv6=51821";
    tell(&mut reconciler, Event::Network(NETWORK.replace("vxlan", "wireguard")));
    let peers = [turning("b", 2, target), turning("c", 3, target)];
    tell(&mut reconciler, Event::Changed(peers.map(Record::Lease).into()));
    reconciler.turn(&mut kernel, noon().now);
    let position = reconciler.node.position().unwrap();
    assert_eq!((position.target.to_string().as_str(), position.ready), (target, false));
    assert_eq!(kernel.state.peers.len(), 4, "both peers on both devices");
    let status = RolloutStatus::new(&reconciler, &noon());
    assert_eq!(status.here.len(), 4, "{:?}", status.here);
    assert!(status.here[0].starts_with("no session with "), "{:?}", status.here);

    // It looks again by itself, soon and not all the time.
    let due = reconciler.due();
    assert!(due > noon().now && due <= noon().now + Duration::from_secs(1), "{due:?}");
    kernel.handshake = Some(Duration::ZERO);
    reconciler.turn(&mut kernel, due);
    assert!(reconciler.node.position().unwrap().ready);
    assert!(RolloutStatus::new(&reconciler, &noon()).here.is_empty());
}

/// A kernel whose changes are made by somebody else, who is done when that is asked.
struct Elsewhere {
    kernel: MemoryKernel,
    begun: Option<Arc<Plan>>,
}

impl Kernel for Elsewhere {
    fn observe(&mut self, scope: &Scope) -> Result<KernelState, String> {
        assert!(self.begun.is_none(), "it was looked at half done");
        self.kernel.observe(scope)
    }

    fn apply(&mut self, scope: &Scope, plan: &Plan) -> Outcome {
        assert!(self.begun.is_none(), "one change overtook another");
        self.kernel.apply(scope, plan)
    }

    fn begin(&mut self, _: &Scope, plan: &Arc<Plan>) -> Option<Outcome> {
        assert!(self.begun.replace(Arc::clone(plan)).is_none(), "two at a time");
        None
    }

    fn end(&mut self) -> Outcome {
        let plan = self.begun.take().expect("something was begun");
        let scope =
            Scope { alias: String::new(), table: String::new(), links: vec![], networks: vec![], sysctls: vec![] };
        self.kernel.apply(&scope, &plan)
    }

    fn tunnel_keys(&mut self, generation: Generation) -> Result<TunnelKeys, String> {
        self.kernel.tunnel_keys(generation)
    }

    fn uplink(&mut self, wanted: &WantedUplink) -> Result<Uplink, String> {
        self.kernel.uplink(wanted)
    }
}

#[test]
fn what_is_begun_ends_before_anything_else_and_what_was_refused_of_it_is_tried_again() {
    let (mut reconciler, kernel) = settled();
    let mut kernel = Elsewhere { kernel, begun: None };
    let hop = NextHop { address: [192, 0, 2, 9].into(), link: Some(link("eth0")) };
    let prefix = |number: u8| format!("198.51.100.{number}/32").parse::<ipnet::IpNet>().unwrap();
    let learn = |reconciler: &mut Reconciler, number, hops: &[NextHop]| {
        reconciler.node.on_learnt(Learnt::Routes(vec![(prefix(number), Arc::new(hops.iter().copied().collect()))]));
    };
    let now = noon().now;
    let has = |kernel: &Elsewhere, number| kernel.kernel.state.routes.contains_key(&RouteKey::new(prefix(number)));
    learn(&mut reconciler, 1, &[hop]);
    reconciler.turn(&mut kernel, now);
    assert!(
        kernel.begun.is_some() && reconciler.due() == Duration::ZERO,
        "how it went is asked as soon as there is time"
    );
    // There is more: it is worked out meanwhile, and follows.
    learn(&mut reconciler, 2, &[hop]);
    reconciler.turn(&mut kernel, now);
    assert!(kernel.begun.is_some() && has(&kernel, 1) && !has(&kernel, 2));
    // Nothing more.
    reconciler.turn(&mut kernel, now);
    assert!(kernel.begun.is_none() && has(&kernel, 2) && reconciler.due() > now);
    // A look finds it done.
    learn(&mut reconciler, 1, &[]);
    reconciler.turn(&mut kernel, now);
    reconciler.look_again();
    reconciler.turn(&mut kernel, now);
    assert!(kernel.begun.is_none() && !has(&kernel, 1) && reconciler.record.repaired == 0);
    // What is refused is said, and the whole is looked at.
    kernel.kernel.refused = Some("ip route");
    learn(&mut reconciler, 3, &[hop]);
    reconciler.turn(&mut kernel, now);
    reconciler.turn(&mut kernel, now);
    assert_eq!((reconciler.record.failures.len(), has(&kernel, 3)), (1, false));
    kernel.kernel.refused = None;
    reconciler.turn(&mut kernel, reconciler.due());
    assert!(has(&kernel, 3) && reconciler.record.converged());
}
