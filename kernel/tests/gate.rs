//! Firewalls of others that drop what is forwarded are found and named, as their own programs write them; those that let pods
//! through are not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sandbox;

use backends::LinkName;
use backends::state::Scope;
use kernel::nft::gate::gates;
use sandbox::{Sandbox, needs};

const NETWORKS: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/48"];

/// What is said in this namespace.
fn said(sandbox: &Sandbox) -> Vec<String> {
    let scope = Scope {
        alias: "towpath a".to_owned(),
        table: "towpath".to_owned(),
        links: vec![LinkName::new("flannel.1").unwrap()],
        networks: NETWORKS.map(|net| net.parse().unwrap()).into(),
        sysctls: Vec::new(),
    };
    let found = sandbox.run(|| gates(&scope)).unwrap();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn no_firewall_is_no_gate_and_neither_is_one_that_accepts() {
    let sandbox = Sandbox::new();
    assert_eq!(said(&sandbox), Vec::<String>::new());
    sandbox.sh("nft -f - <<X
        table inet mine {
            chain forward { type filter hook forward priority 0; policy accept; ip saddr 192.0.2.1 drop; ct state new reject; }
            chain input { type filter hook input priority 0; policy drop; }
        }
X");
    assert_eq!(said(&sandbox), Vec::<String>::new());
}

#[test]
fn iptables_policy_is_named_with_the_commands_that_open_it() {
    needs("iptables-nft", "iptables");
    let sandbox = Sandbox::new();
    sandbox.sh("iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -s 10.1.0.0/16 -j ACCEPT");
    assert_eq!(
        said(&sandbox),
        [
            "the chain FORWARD of table ip filter drops pods' packets of 10.244.0.0/16 (its policy is drop): iptables -I FORWARD -s \
          10.244.0.0/16 -j ACCEPT && iptables -I FORWARD -d 10.244.0.0/16 -j ACCEPT"
        ]
    );
    // What it says helps; so does flannel's chain, a rule by interface, and accepting all.
    let open =
        "iptables-nft -I FORWARD -s 10.244.0.0/16 -j ACCEPT && iptables-nft -I FORWARD -d 10.244.0.0/16 -j ACCEPT";
    let chain = "iptables-nft -N FLANNEL-FWD && iptables-nft -A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment \
                 'flanneld forward' -j ACCEPT && iptables-nft -A FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD";
    for opened in [open, chain, "iptables-nft -A FORWARD -i cni0 -j ACCEPT", "iptables-nft -A FORWARD -j ACCEPT"] {
        let sandbox = Sandbox::new();
        sandbox.sh(&format!("iptables-nft -P FORWARD DROP; {opened}"));
        assert_eq!(said(&sandbox), Vec::<String>::new(), "{opened}");
    }
    // A rule that drops them does not.
    sandbox.sh("iptables-nft -A FORWARD -s 10.244.0.0/16 -j DROP; ip6tables-nft -A FORWARD -j REJECT");
    let said = said(&sandbox);
    assert!(said.len() == 2 && said[1].contains("table ip6 filter") && said[1].contains("last rule"), "{said:?}");
    assert!(said[1].contains("ip6tables -I FORWARD -s fd00:10:244::/48 -j ACCEPT"), "{said:?}");
}

#[test]
fn docker_s_and_ufw_s_chains_are_opened_where_they_leave_room() {
    let docker = Sandbox::new();
    docker.sh(
        "iptables-nft -N DOCKER-USER; iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -A DOCKER-USER -j RETURN; \
               iptables-nft -P FORWARD DROP",
    );
    let by_docker = said(&docker);
    assert!(
        by_docker.len() == 1 && by_docker[0].contains("-I DOCKER-USER -s 10.244.0.0/16 -j ACCEPT"),
        "{by_docker:?}"
    );
    docker.sh("iptables-nft -I DOCKER-USER -s 10.244.0.0/16 -j ACCEPT");
    assert_eq!(said(&docker), Vec::<String>::new());
    let ufw = Sandbox::new();
    ufw.sh("iptables-nft -N ufw-before-forward; iptables-nft -A FORWARD -j ufw-before-forward; iptables-nft -P FORWARD DROP");
    let by_ufw = said(&ufw);
    assert!(
        by_ufw.len() == 1
            && by_ufw[0].ends_with("ufw route allow from 10.244.0.0/16 && ufw route allow to 10.244.0.0/16")
    );
}

#[test]
fn a_ruleset_of_nft_is_named_in_each_family_that_it_is_about() {
    let sandbox = Sandbox::new();
    sandbox.sh("nft -f - <<X
        table inet filter {
            chain forward {
                type filter hook forward priority 0; policy drop;
                ct state established accept
                ip saddr 192.0.2.0/24 jump some
            }
            chain some { accept; }
        }
        table inet firewalld {
            chain filter_FORWARD { type filter hook forward priority 10; policy accept; jump zones; reject with icmpx type admin-prohibited; }
            chain zones { ip saddr 10.244.0.0/16 goto trusted; }
            chain trusted { accept; }
        }
X");
    let said = said(&sandbox);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("table inet filter") && said[0].contains("nft insert rule inet filter forward ip saddr"));
    assert!(said[1].contains("ip6 saddr fd00:10:244::/48 accept"), "{said:?}");
    // firewalld has the IPv4 network in a zone, and the other in none.
    assert!(
        said[2].ends_with(
            "firewall-cmd --permanent --zone=trusted --add-source=fd00:10:244::/48 && firewall-cmd --reload"
        )
    );
}

#[test]
fn the_older_iptables_is_named_in_each_family_until_it_is_open() {
    needs("iptables-legacy", "iptables");
    let sandbox = Sandbox::new();
    // Only reading it makes the table, and it accepts all.
    sandbox.sh("iptables-legacy -S; ip6tables-legacy -S");
    assert_eq!(said(&sandbox), Vec::<String>::new());
    sandbox.sh("iptables-legacy -P FORWARD DROP; iptables-legacy -A FORWARD -s 10.1.0.0/16 -j ACCEPT");
    sandbox
        .sh("ip6tables-legacy -N last; ip6tables-legacy -A last -p tcp -j ACCEPT; ip6tables-legacy -A last -j REJECT");
    sandbox.sh("ip6tables-legacy -A FORWARD -m state --state INVALID -j DROP; ip6tables-legacy -A FORWARD -j last");
    let open = "iptables-legacy -I FORWARD -s 10.244.0.0/16 -j ACCEPT && iptables-legacy -I FORWARD -d 10.244.0.0/16 -j ACCEPT";
    let by_both = said(&sandbox);
    assert_eq!(by_both.len(), 2, "{by_both:?}");
    assert_eq!(
        by_both[0],
        format!(
            "the chain FORWARD of table ip filter of the older iptables drops pods' packets of 10.244.0.0/16 (its policy is drop): {open}"
        )
    );
    assert!(
        by_both[1].contains("(its last rule drops what is left): ip6tables-legacy -I FORWARD -s fd00:10:244::/48"),
        "{by_both:?}"
    );
    sandbox.sh(open);
    sandbox.sh("ip6tables-legacy -I FORWARD -i cni0 -j ACCEPT");
    assert_eq!(said(&sandbox), Vec::<String>::new());
    // One that returns before it drops, and one that accepts all.
    for rules in
        ["-A last -j RETURN; ip6tables-legacy -A last -j DROP", "-A last -j ACCEPT; ip6tables-legacy -P FORWARD DROP"]
    {
        sandbox.sh(&format!("ip6tables-legacy -F; ip6tables-legacy {rules}; ip6tables-legacy -A FORWARD -j last"));
        assert_eq!(said(&sandbox), Vec::<String>::new(), "{rules}");
    }
}
