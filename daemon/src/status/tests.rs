//! The status screen, as it is printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use ipam::{LeaseKey, NodeName};

use super::*;
use crate::ask::fixture::{lease, link, newborn, noon, route, settled, tell};
use crate::store::Event;

fn status(reconciler: &Reconciler) -> Status {
    Status::new(reconciler, "directory /var/lib/towpath/store", &noon())
}

#[test]
fn a_node_that_is_well() {
    let (reconciler, _) = settled();
    assert_eq!(
        status(&reconciler).to_string(),
        "\
node       a, ready
towpathd   0.1.0, up since 2026-11-21T11:00:00Z
store      directory /var/lib/towpath/store, up
network    10.244.0.0/16, fd00:10:244::/48 by vxlan, VNI 1, UDP port 8472
uplink     eth0, MTU 1500, 192.0.2.1, 2001:db8::1
lease      10.244.1.0/24, VTEP 02:00:00:00:04:01
           fd00:10:244:1::/64, VTEP 02:00:00:00:06:01
           key 10.244.1.0-24, seniority 1
pods' MTU  1430
checksums  offload on (auto): it is not tried yet, and as the kernel has it
kernel     as desired, looks 1, the last 2026-11-21T11:59:50Z
           changes 27, the last 2026-11-21T11:59:50Z, refused 0
repaired   nothing
peers      2, all ok

NODE  STATE  SUBNET              ADDRESS      VTEP
b     ok     10.244.2.0/24       192.0.2.2    02:00:00:00:04:02
             fd00:10:244:2::/64  2001:db8::2  02:00:00:00:06:02
c     ok     10.244.3.0/24       192.0.2.3    02:00:00:00:04:03
             fd00:10:244:3::/64  2001:db8::3  02:00:00:00:06:03
"
    );
}

#[test]
fn a_node_that_knows_nothing_yet_says_what_it_waits_for() {
    let (reconciler, _) = newborn();
    assert_eq!(
        status(&reconciler).to_string(),
        "\
node       a, NOT READY
           - no network configuration yet: put net-conf.json into the store
           - uplink: it is looked for once the network is known
           - no lease held: none is claimed before network and uplink are known
           - the peers are not known yet: the store has not told its leases
           - the kernel has not been brought to what is desired yet
towpathd   0.1.0, up since 2026-11-21T11:00:00Z
store      directory /var/lib/towpath/store, up
network    not known yet
uplink     not found yet
lease      none held
kernel     NOT as desired, looks 0
           changes 0, refused 0
repaired   nothing
peers      none
"
    );
}

#[test]
fn a_node_with_every_kind_of_trouble() {
    let (mut reconciler, mut kernel) = settled();
    let mut stranger = lease("c", 3);
    stranger.endpoints =
        stranger.endpoints.map(|_, end| Endpoint { data: BackendData::Other("host-gw".into()), ..end.clone() });
    let garbage = ipam::table::Record::Garbage(LeaseKey::new("10.244.9.0-24"), "it is not JSON: EOF".into());
    let records = vec![ipam::table::Record::Lease(stranger), garbage];
    for event in [
        Event::Changed(records),
        Event::Trouble("etcd at http://192.0.2.9:2379 does not answer; is it running?".into()),
    ] {
        tell(&mut reconciler, event);
    }
    let since = noon().now - Duration::from_secs(600);
    let reason = "net-conf.json cannot be used: Network: it is a number\nBackend.Type: unknown".into();
    reconciler.node.network_trouble = Some(Trouble { since, reason });
    reconciler.turn(&mut kernel, noon().now - Duration::from_secs(9));
    kernel.state.routes.remove(&route(2));
    kernel.state.links.get_mut(&link("flannel.1")).unwrap().mtu = 1280;
    reconciler.look_again();
    reconciler.turn(&mut kernel, noon().now - Duration::from_secs(8));
    kernel.state.routes.remove(&route(2));
    kernel.refused = Some("ip route replace");
    kernel.uplink = Err("no default route, and no --iface says which interface".into());
    reconciler.look_again();
    reconciler.turn(&mut kernel, noon().now - Duration::from_secs(7));
    assert_eq!(
        status(&reconciler).to_string(),
        "\
node       a, NOT READY
           - uplink: no default route, and no --iface says which interface
           - degraded: net-conf.json cannot be used: Network: it is a number; Backend.Type: unknown; the last good one is used
           - degraded: the store cannot be used, what it said last is kept: etcd at http://192.0.2.9:2379 does not answer; is it running?
           - degraded: the kernel refuses for IPv4 alone: Operation not supported (by `ip route replace 10.244.2.0/24 nhid [via 10.244.2.0 dev flannel.1 onlink proto 84] proto 84 metric 0`)
towpathd   0.1.0, up since 2026-11-21T11:00:00Z
store      directory /var/lib/towpath/store, AWAY
           in trouble since 2026-11-21T11:50:00Z
network    10.244.0.0/16, fd00:10:244::/48 by vxlan, VNI 1, UDP port 8472
           in trouble since 2026-11-21T11:50:00Z
uplink     eth0, MTU 1500, 192.0.2.1, 2001:db8::1
           in trouble since 2026-11-21T11:59:53Z
lease      10.244.1.0/24, VTEP 02:00:00:00:04:01
           fd00:10:244:1::/64, VTEP 02:00:00:00:06:01
           key 10.244.1.0-24, seniority 1
pods' MTU  1430
checksums  offload on (auto): it is not tried yet, and as the kernel has it
kernel     NOT as desired, looks 3, the last 2026-11-21T11:59:53Z
           changes 37, the last 2026-11-21T11:59:52Z, refused 1
repaired   2 things that somebody else broke, the last:
  2026-11-21T11:59:52Z  ip link set flannel.1 mtu 1450
  2026-11-21T11:59:52Z  ip route replace 10.244.2.0/24 nhid [via 10.244.2.0 dev flannel.1 onlink proto 84] proto 84 metric 0
peers      2, 1 with a FAULT

NODE  STATE  SUBNET              ADDRESS      VTEP
b     ok     10.244.2.0/24       192.0.2.2    02:00:00:00:04:02
             fd00:10:244:2::/64  2001:db8::2  02:00:00:00:06:02
c     FAULT  10.244.3.0/24       192.0.2.3    host-gw
             fd00:10:244:3::/64  2001:db8::3  host-gw
  10.244.3.0-24: IPv4: it publishes backend `host-gw`, this node runs `vxlan`; they must be the same; IPv6: it publishes backend `host-gw`, this node runs `vxlan`; they must be the same

in the store, but no leases:
  10.244.9.0-24: it is not JSON: EOF; what was last good of it is kept
"
    );
}

#[test]
fn a_device_that_was_deleted_is_told_in_a_few_lines() {
    let (mut reconciler, mut kernel) = settled();
    let empty = crate::ask::fixture::newborn().1.state;
    kernel.state = empty;
    reconciler.look_again();
    reconciler.turn(&mut kernel, noon().now);
    let screen = status(&reconciler).to_string();
    let (_, repairs) = screen.split_once("repaired   27 things that somebody else broke, the last:\n").unwrap();
    let repairs: Vec<&str> = repairs.lines().take_while(|line| line.starts_with("  ")).collect();
    assert!(repairs[0].starts_with("  2026-11-21T12:00:00Z  ip link add flannel-v6.1 "), "{screen}");
    assert_eq!(repairs[3..], ["  2026-11-21T12:00:00Z  and more"]);
}

#[test]
fn a_node_behind_a_nat_says_where_peers_send_to() {
    let (mut reconciler, mut kernel) = settled();
    let mut uplink = crate::ask::fixture::uplink();
    uplink.public = Stack::V4("198.51.100.7".parse().unwrap());
    kernel.uplink = Ok(uplink);
    reconciler.look_at_uplink();
    reconciler.turn(&mut kernel, noon().now);
    let screen = status(&reconciler).to_string();
    assert!(
        screen.contains("uplink     eth0, MTU 1500, 192.0.2.1, 2001:db8::1\n           peers send to 198.51.100.7\n"),
        "{screen}"
    );
}

#[test]
fn columns_are_as_wide_as_what_stands_in_them() {
    let (mut reconciler, mut kernel) = settled();
    let name = "ip-192-0-2-17.eu-central-1.compute.internal";
    let long = Lease { node: NodeName::new(name).unwrap(), ..lease("d", 4) };
    tell(&mut reconciler, Event::Changed(vec![ipam::table::Record::Lease(long)]));
    reconciler.turn(&mut kernel, noon().now);
    let screen = status(&reconciler).to_string();
    let column = |line: &str, word: &str| line.find(word).unwrap();
    let state = column(screen.lines().find(|line| line.starts_with("NODE")).unwrap(), "STATE");
    for node in ["b ", name] {
        assert_eq!(column(screen.lines().find(|line| line.starts_with(node)).unwrap(), "ok"), state, "{screen}");
    }
}

#[test]
fn json_has_a_field_for_everything_and_null_for_what_is_not_known() {
    let (reconciler, _) = newborn();
    let json = serde_json::to_value(status(&reconciler)).unwrap();
    assert_eq!(json["ready"], false);
    assert_eq!(json["reasons"].as_array().unwrap().len(), 5);
    assert_eq!(json["lease"], serde_json::Value::Null);
    let (reconciler, _) = settled();
    let json = serde_json::to_value(status(&reconciler)).unwrap();
    assert_eq!(json["lease"]["subnets"][1]["subnet"], "fd00:10:244:1::/64");
    assert_eq!(json["peers"][0]["subnets"][0]["mac"], "02:00:00:00:04:02");
    assert_eq!(json["network"]["cidrs"], serde_json::json!(["10.244.0.0/16", "fd00:10:244::/48"]));
    assert_eq!(json["kernel"]["last_look"], "2026-11-21T11:59:50Z");
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_where_a_change_is_looked_for() {
    let (mut reconciler, _) = settled();
    let reason = "net-conf.json cannot be used: Backend.Type = \"vxlam\"".to_owned();
    reconciler.node.network_trouble = Some(Trouble { since: noon().now, reason });
    let said = crate::status::RolloutStatus::new(&reconciler, &noon());
    assert!(!said.changing);
    let lines = said.to_string();
    assert!(lines.contains("nothing is changing") && lines.contains("\nbut net-conf.json cannot be used"), "{lines}");
}
