//! What the kernel says when somebody changes something, compared with what is desired: the real kernel, and `ip`,
//! `bridge` and `nft` as the somebody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod overlay;
mod sandbox;

use std::fmt::Write;
use std::time::{Duration, Instant};

use backends::ruleset::{Chain, ChainKind, Match, Rule, Ruleset, Verdict};
use backends::state::{KernelState, Scope};
use kernel::Hand;
use kernel::notices::{Notice, Notices};
use netns_harness::here_and_in_guest;
use overlay::{Style, alone, node, reconcile, scope, settle, with_peers, with_peers_v6};
use sandbox::{Sandbox, needs};

/// A node that is as desired, and somebody who listens to it.
struct Heard {
    node: Sandbox,
    desired: KernelState,
    notices: Notices,
    hand: Hand,
}

fn ruleset() -> Ruleset {
    let rules = vec![
        Rule { matches: vec![Match::Source(overlay::net("10.0.0.0/8"))], verdict: Verdict::Masquerade },
        Rule { matches: vec![Match::Mark { mask: 1, value: 1 }], verdict: Verdict::Return },
    ];
    Ruleset { chains: vec![Chain { kind: ChainKind::Postrouting, rules }] }
}

impl Heard {
    fn new() -> Heard {
        let node = node();
        let mut hand = node.run(|| Hand::open().unwrap());
        let notices = node.run(|| Notices::open(&hand, &scope().alias, &scope().table).unwrap());
        notices.remote().watch(&scope());
        let desired = with_peers_v6(with_peers(alone(), 1..=3, Style::Objects), 1..=3, Style::Objects);
        let desired = KernelState { ruleset: Some(ruleset()), ..desired };
        node.run(|| settle(&mut hand, &desired));
        let mut heard = Heard { node, desired, notices, hand };
        heard.said();
        heard
    }

    /// Puts everything back as desired and forgets what was said about that. A renamed device is in the way of its
    /// successor until the first plan is done.
    fn mend(&mut self) {
        let (node, hand, desired) = (&self.node, &mut self.hand, &self.desired);
        node.run(|| {
            reconcile(hand, desired);
            settle(hand, desired);
        });
        self.said();
    }

    fn wait(&mut self, patience: Duration) -> Vec<Notice> {
        let (node, notices) = (&self.node, &mut self.notices);
        node.run(|| notices.wait(patience)).unwrap()
    }

    /// All that was said up to now: the kernel says it before a command is done.
    fn said(&mut self) -> Vec<Notice> {
        let mut said = Vec::new();
        loop {
            let more = self.wait(Duration::ZERO);
            if more.is_empty() {
                return said;
            }
            said.extend(more);
        }
    }

    /// Waits for a notice that does not agree with what is desired.
    fn alarm(&mut self, why: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut said = Vec::new();
        while Instant::now() < deadline {
            let more = self.wait(deadline - Instant::now());
            if more.iter().any(|notice| !notice.agrees(&self.desired)) {
                return;
            }
            said.extend(more);
        }
        panic!("nobody noticed: {why}; what was said: {said:#?}");
    }
}

#[test]
fn whatever_is_broken_by_hand_is_noticed() {
    needs("nft", "nftables");
    let mut heard = Heard::new();
    let attacks = [
        "ip route delete 10.0.1.0/24",
        "ip route replace 10.0.1.0/24 via 192.0.2.9",
        "ip route replace 10.0.1.0/24 via 10.0.2.0 dev flannel.7 onlink",
        "ip route replace 10.0.1.0/24 via 10.0.2.0 dev flannel.7 onlink proto 84",
        "ip route replace 10.0.1.0/24 via 10.0.1.0 dev flannel.7 onlink proto 84 mtu 900",
        "ip route replace blackhole 10.0.1.0/24 proto 84",
        "ip route add 10.0.77.0/24 via 10.0.1.0 dev flannel.7 onlink proto 84",
        "ip -6 route delete fd00:0:0:2::/64",
        "ip -6 route replace fd00:0:0:2::/64 via fd00:0:0:3:: dev flannel-v6.7 onlink",
        "ip -6 route delete blackhole fd00:0:ffff::/64",
        "ip neigh delete 10.0.2.0 dev flannel.7",
        "ip neigh replace 10.0.2.0 lladdr 02:00:00:00:bb:bb dev flannel.7 nud permanent",
        "ip neigh replace 10.0.2.0 lladdr 02:00:00:00:bb:bb dev flannel.7 nud permanent protocol 84",
        "ip neigh replace 10.0.2.0 lladdr 02:01:00:00:00:02 dev flannel.7 nud reachable protocol 84",
        "ip neigh add 10.0.88.0 lladdr 02:01:00:00:00:02 dev flannel.7 nud permanent protocol 84",
        "ip -6 neigh delete fd00:0:0:2:: dev flannel-v6.7",
        "bridge fdb delete 02:01:00:00:00:02 dev flannel.7 self",
        "bridge fdb replace 02:01:00:00:00:02 dev flannel.7 dst 192.0.2.66 self permanent extern_learn",
        "bridge fdb replace 02:01:00:00:00:02 dev flannel.7 dst 172.16.0.2 port 99 self permanent extern_learn",
        "bridge fdb add 02:01:00:00:99:99 dev flannel.7 dst 192.0.2.66 self permanent extern_learn",
        "ip nexthop flush proto 84",
        "ip nexthop add via 10.0.99.0 dev flannel.7 onlink proto 84",
        "ip address flush dev flannel.7",
        "ip address delete fd00::/128 dev flannel-v6.7",
        "ip link set flannel.7 down",
        "ip link set flannel.7 down; ip link set flannel.7 up",
        "ip link set flannel.7 mtu 1300",
        "ip link set flannel.7 address 02:00:00:00:00:aa",
        "ip link set flannel.7 alias mine",
        "ip link set flannel.7 addrgenmode eui64",
        "ip link set flannel.7 type vxlan learning",
        "ip link set flannel.7 down; ip link set flannel.7 name other",
        "ip link delete flannel-v6.7",
        "ip link delete u0; ip link add u0 type veth peer name u1; ip link set u0 up; ip link set u1 up
         ip address add 192.0.2.1/24 dev u0; ip address add 2001:db8::1/64 dev u0 nodad",
        "sysctl -qw net/ipv6/conf/flannel.7/accept_ra=1",
        "nft flush ruleset",
        "nft delete table inet towpath",
        "nft flush chain inet towpath postrouting",
        "nft insert rule inet towpath postrouting accept",
        "nft add chain inet towpath mine",
        "nft add table inet towpath '{ flags dormant; }'",
    ];
    for attack in attacks {
        heard.node.sh(attack);
        heard.alarm(attack);
        heard.mend();
    }
}

#[test]
fn what_we_do_ourselves_and_what_is_not_ours_is_no_reason_to_look() -> anyhow::Result<()> {
    here_and_in_guest(|| {
        needs("nft", "nftables");
        let mut heard = Heard::new();
        let more = with_peers(heard.desired.clone(), 4..=100, Style::Objects);
        let (node, hand) = (&heard.node, &mut heard.hand);
        node.run(|| settle(hand, &more));
        let said = heard.said();
        assert!(said.iter().all(|notice| notice.agrees(&more)), "{said:#?}");
        // The vxlan driver does not say whose request it was.
        let forwarding = said.iter().filter(|notice| matches!(notice, Notice::Fdb { .. })).count();
        assert_eq!((forwarding, said.len()), (97, 97), "{said:#?}");

        let foreign = [
            "ip link add veth7 type veth peer name veth8; ip link set veth7 up; sysctl -qw net.ipv4.ip_forward=1",
            "ip link add cni0 type bridge; ip link set cni0 up; ip link set veth7 master cni0; ip link set veth7 nomaster",
            "ip route add 10.200.0.0/16 via 192.0.2.9; ip route replace 10.200.0.0/16 via 192.0.2.8; ip route delete 10.200.0.0/16",
            "ip route add 10.0.1.0/24 via 192.0.2.9 metric 9",
            "ip route add 10.0.1.0/24 via 192.0.2.9 table 9 proto 84",
            "ip nexthop add id 9 via 192.0.2.9 dev u0; ip route add 10.99.0.0/16 nhid 9; ip nexthop delete id 9",
            "ip neigh add 192.0.2.7 lladdr 02:00:00:00:bb:bb dev u0; ip neigh flush dev u0",
            "ip neigh add 10.201.0.1 lladdr 02:00:00:00:bb:bb dev flannel.7 nud reachable",
            "bridge fdb add 02:01:00:00:99:99 dev cni0 self",
            "nft add table ip nat; nft add chain ip nat c; nft add table inet towpath2; nft delete table inet towpath2",
            "ip link add flannel.9 type vxlan id 9 dstport 9999 dev u0; ip link set flannel.9 up alias other
         ip route add 10.9.0.0/24 via 10.9.0.1 dev flannel.9 onlink proto 84
         ip neigh add 10.9.0.1 lladdr 02:00:00:00:bb:bb dev flannel.9 nud permanent protocol 84",
        ];
        for command in foreign {
            heard.node.sh(command);
            let said = heard.said();
            assert!(said.iter().all(|notice| notice.agrees(&more)), "{command}: {said:#?}");
        }
        Ok(())
    })
}

#[test]
fn what_may_make_another_uplink_the_right_one_is_told_and_pods_are_not() {
    let mut heard = Heard::new();
    let table = [
        ("ip link set u0 mtu 1300", true),
        ("ip link set u0 mtu 1500", true),
        ("ip address add 192.0.2.77/24 dev u0", true),
        ("ip address delete 192.0.2.77/24 dev u0", true),
        ("ip route add default via 192.0.2.9", true),
        ("ip route replace default via 192.0.2.8 proto static", true),
        ("ip -6 route add default via 2001:db8::9", true),
        ("ip route delete default", true),
        ("ip link add pod0 type veth peer name pod1; ip link set pod0 up; ip link set pod1 up", false),
        ("ip link delete pod0", false),
        ("ip route add 10.0.9.0/24 via 192.0.2.9", false),
        ("ip link delete u0", true),
    ];
    for (command, concerns) in table {
        heard.node.sh(command);
        let said = heard.said();
        assert_eq!(said.iter().any(Notice::concerns_uplink), concerns, "{command}: {said:#?}");
    }
}

#[test]
fn after_a_flood_that_does_not_fit_it_says_so_and_hears_on() {
    let mut heard = Heard::new();
    let batch = (0..40_000_u32).fold(String::new(), |mut batch, n| {
        writeln!(batch, "route add 172.{}.{}.{}/32 dev u0 proto 84", 16 + (n >> 16), (n >> 8) & 255, n & 255).unwrap();
        batch
    });
    let file = std::env::temp_dir().join(format!("kernel-notices-{}", std::process::id()));
    std::fs::write(&file, batch).unwrap();
    heard.node.sh(&format!("ip -batch {}", file.display()));
    std::fs::remove_file(file).unwrap();
    let said = heard.said();
    assert!(said.contains(&Notice::Overrun), "{} notices and no overrun", said.len());
    heard.node.sh("ip route flush proto 84 table main dev u0");
    heard.said();
    heard.mend();
    heard.node.sh("ip link set flannel.7 mtu 1300");
    heard.alarm("a change after the flood");
}

#[test]
fn a_wait_ends_when_it_is_woken_and_when_patience_is_over() {
    let mut heard = Heard::new();
    let remote = heard.notices.remote();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| heard.wait(Duration::from_secs(600)));
        remote.wake();
        assert_eq!(waiting.join().unwrap(), []);
    });
    let began = Instant::now();
    assert_eq!(heard.wait(Duration::from_millis(20)), []);
    assert!(began.elapsed() >= Duration::from_millis(20));
}

#[test]
fn settings_are_told_as_they_are_and_again_when_their_device_went_and_came_back() {
    let mut heard = Heard::new();
    let path = "net/ipv4/conf/veth9/rp_filter";
    heard.notices.remote().watch(&Scope { sysctls: vec![path.to_owned()], ..scope() });
    let told = |heard: &mut Heard, wanted: Option<&str>| {
        let deadline = Instant::now() + Duration::from_secs(10);
        let wanted = Notice::Sysctl { path: path.to_owned(), now: wanted.map(str::to_owned) };
        while !heard.wait(Duration::from_millis(100)).contains(&wanted) {
            assert!(Instant::now() < deadline, "never told: {wanted:?}");
        }
    };
    told(&mut heard, None);
    for _ in 0..2 {
        heard.node.sh("ip link add veth9 type veth peer name veth10; sysctl -qw net.ipv4.conf.veth9.rp_filter=2");
        told(&mut heard, Some("2"));
        heard.node.sh("sysctl -qw net.ipv4.conf.veth9.rp_filter=1");
        told(&mut heard, Some("1"));
        heard.node.sh("ip link delete veth9");
        told(&mut heard, None);
    }
}
