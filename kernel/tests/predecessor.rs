//! Flannel's rules are found and removed, as its own programs write them, and nobody else's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sandbox;

use kernel::nft::predecessor;
use sandbox::Sandbox;

/// As flannel's iptables manager leaves them, over nftables.
const CHAINS: &str = "
    for b in iptables-nft ip6tables-nft; do
        $b -t nat -N FLANNEL-POSTRTG
        $b -t nat -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment 'flanneld masq' -j RETURN
        $b -t nat -A FLANNEL-POSTRTG -m comment --comment 'flanneld masq' -j MASQUERADE --random-fully
        $b -t nat -A POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG
        $b -t filter -N FLANNEL-FWD
        $b -t filter -A FLANNEL-FWD -m comment --comment 'flanneld forward' -j ACCEPT
        $b -t filter -A FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD
    done";

/// Somebody else's beside them.
const OTHERS: &str = "
    iptables-nft -t nat -N KUBE-POSTROUTING
    iptables-nft -t nat -A POSTROUTING -m comment --comment 'kubernetes postrouting rules' -j KUBE-POSTROUTING
    iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE
    iptables-nft -t filter -A FORWARD -m comment --comment 'FLANNEL-FWD' -j ACCEPT
    nft add table ip flannel-ipv6
    nft add table inet flannel-ipv4";

#[test]
fn flannel_s_chains_go_with_the_jumps_to_them_and_all_others_stay() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(predecessor::remove).expect("nothing is there"), Vec::<String>::new());
    sandbox.sh(OTHERS);
    // The base chains that iptables makes stay with it: they are there in both pictures.
    sandbox.sh("ip6tables-nft -t nat -L; ip6tables-nft -t filter -L; ip6tables-nft -t nat -A POSTROUTING -j ACCEPT; \
                ip6tables-nft -t filter -A FORWARD -j ACCEPT");
    let before = sandbox.sh("nft -s list ruleset");
    sandbox.sh(CHAINS);
    sandbox.sh("nft add table ip flannel-ipv4; nft add chain ip flannel-ipv4 postrtg; nft add table ip6 flannel-ipv6");
    let removed = sandbox.run(predecessor::remove).expect("removed");
    assert_eq!(
        removed,
        [
            "table ip flannel-ipv4",
            "chain ip nat FLANNEL-POSTRTG",
            "chain ip filter FLANNEL-FWD",
            "table ip6 flannel-ipv6",
            "chain ip6 nat FLANNEL-POSTRTG",
            "chain ip6 filter FLANNEL-FWD",
        ]
    );
    assert_eq!(sandbox.sh("nft -s list ruleset"), before);
    assert_eq!(sandbox.run(predecessor::remove).expect("again"), Vec::<String>::new());
}

#[test]
fn a_chain_that_somebody_else_jumps_to_as_well_is_left_whole_and_the_refusal_named() {
    let sandbox = Sandbox::new();
    sandbox.sh(CHAINS);
    sandbox.sh("iptables-nft -t filter -A INPUT -j FLANNEL-FWD");
    let before = sandbox.sh("nft -s list ruleset");
    let error = sandbox.run(predecessor::remove).expect_err("it is in use");
    assert!(error.to_string().contains("removing flannel's netfilter rules"), "{error}");
    assert_eq!(sandbox.sh("nft -s list ruleset"), before, "whole or not at all");
}

#[test]
fn where_nothing_is_forwarded_but_what_is_accepted_flannel_s_acceptance_stays() {
    let sandbox = Sandbox::new();
    sandbox.sh(CHAINS);
    sandbox.sh("iptables-nft -P FORWARD DROP");
    let removed = sandbox.run(predecessor::remove).expect("removed");
    let rest = ["chain ip nat FLANNEL-POSTRTG", "chain ip6 nat FLANNEL-POSTRTG", "chain ip6 filter FLANNEL-FWD"];
    assert_eq!(removed, rest, "our own table cannot save what another one drops");
    let rules = sandbox.sh("iptables-nft-save -t filter");
    assert!(rules.contains("-j FLANNEL-FWD") && rules.contains("-A FLANNEL-FWD"), "{rules}");
}
