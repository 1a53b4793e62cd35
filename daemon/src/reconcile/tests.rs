//! What is promised of the journey from facts to the kernel, beside what the simulation shows.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use ipam::rollout::Spare;
use ipam::table::Record;
use ipam::{BackendData, Carrier, Lease, PublicKey, Rollout, Stack};

use crate::ask::fixture::{NETWORK, lease, noon, settled, tell};
use crate::status::RolloutStatus;
use crate::store::Event;
use crate::tunnel_keys::TunnelKeys;

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
