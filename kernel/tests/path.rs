//! A path that drops large packets without a word, or with one, is measured to the octet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sandbox;

use kernel::path::{Carried, largest};
use sandbox::{Sandbox, wait_for};

#[test]
fn what_a_path_carries_is_found_whoever_drops_the_rest() {
    let (one, router, two) = (Sandbox::new(), Sandbox::new(), Sandbox::new());
    one.wire("eth0", &router, "left");
    two.wire("eth0", &router, "right");
    router.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; \
         ip addr add 192.0.2.254/24 dev left; ip addr add 198.51.100.254/24 dev right; \
         ip addr add 2001:db8:1::fe/64 dev left nodad; ip addr add 2001:db8:2::fe/64 dev right nodad; \
         ip link set left up; ip link set right up");
    for (side, v4, v6, router4, router6) in [
        (&one, "192.0.2.1", "2001:db8:1::1", "192.0.2.254", "2001:db8:1::fe"),
        (&two, "198.51.100.1", "2001:db8:2::1", "198.51.100.254", "2001:db8:2::fe"),
    ] {
        side.sh(&format!(
            "ip addr add {v4}/24 dev eth0; ip addr add {v6}/64 dev eth0 nodad; ip link set eth0 up; \
             ip route add default via {router4}; ip route add default via {router6}"
        ));
    }
    for peer in ["198.51.100.1", "2001:db8:2::1"] {
        wait_for("the two to reach each other", || {
            one.try_sh(&format!("ping -c 1 -W 1 {peer}")).status.success().then_some(())
        });
    }
    let peers = ["198.51.100.1", "2001:db8:2::1"].map(|peer| peer.parse().unwrap());
    let one = &one;
    let measured = |most| {
        std::thread::scope(|scope| {
            let threads = peers.map(|peer| scope.spawn(move || one.run(|| largest(peer, most)).unwrap()));
            threads.map(|thread| thread.join().unwrap())
        })
    };
    assert_eq!(measured(1500), [Carried::All; 2]);
    // A frame that is larger than the receiver takes, a VLAN tag more than its MTU, vanishes on a veth.
    two.sh("ip link set eth0 mtu 1396");
    assert_eq!(measured(1500), [Carried::AtMost(1400); 2]);
    two.sh("ip link set eth0 mtu 1500");
    router.sh("ip link set right mtu 1400");
    assert_eq!(measured(1500), [Carried::AtMost(1400); 2]);
    two.sh("nft 'add table inet t; add chain inet t i { type filter hook input priority 0; policy drop; }'");
    assert_eq!(measured(1500), [Carried::Silent; 2]);
}
