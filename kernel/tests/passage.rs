//! Where iptables' chain FORWARD drops what nothing accepts, two rules of ours stand before that, as iptables itself reads them; put back,
//! taken out, and nothing else touched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sandbox;

use std::collections::BTreeMap;

use backends::Instance;
use backends::state::Passage;
use ipnet::IpNet;
use kernel::nft::Table;
use sandbox::{Sandbox, needs};

const ALIAS: &str = "towpath /run/flannel/subnet.env";
const V4: &str = "10.244.0.0/16";
const V6: &str = "fd00:10:244::/48";

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

struct Node {
    sandbox: Sandbox,
    table: Table,
}

impl Node {
    fn new(firewall: &str) -> Node {
        needs("iptables-nft", "iptables");
        let sandbox = Sandbox::new();
        sandbox.sh(firewall);
        let table = sandbox.run(|| Table::open("towpath").unwrap().owned_by(ALIAS));
        Node { sandbox, table }
    }

    fn passages(&mut self) -> BTreeMap<IpNet, Passage> {
        let table = &mut self.table;
        self.sandbox.run(|| table.passages(&[net(V4), net(V6)]).unwrap())
    }

    fn open(&mut self, network: &str) {
        let table = &mut self.table;
        self.sandbox.run(|| table.open_passage(&net(network)).unwrap());
    }

    fn close(&mut self, network: &str) {
        let table = &mut self.table;
        self.sandbox.run(|| table.close_passage(&net(network)).unwrap());
    }

    /// The chain as iptables tells it, without the word `-A FORWARD`.
    fn forward(&self) -> Vec<String> {
        let said = self.sandbox.sh("iptables-nft -S FORWARD");
        said.lines()
            .map(|line| line.trim_start_matches("-A FORWARD ").replace(&format!("\"{ALIAS}\""), "OURS"))
            .collect()
    }
}

fn sorted(mut rules: Vec<String>) -> Vec<String> {
    rules.sort();
    rules
}

const SOURCE: &str = "-s 10.244.0.0/16 -m comment --comment OURS -j ACCEPT";
const DESTINATION: &str = "-d 10.244.0.0/16 -m comment --comment OURS -j ACCEPT";

#[test]
fn a_chain_that_accepts_what_is_left_needs_nothing() {
    for firewall in [
        "true",
        "iptables-nft -A FORWARD -s 10.1.0.0/16 -j DROP",
        "iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -j ACCEPT",
        "nft 'add table inet mine; add chain inet mine forward { type filter hook forward priority 0; policy drop; }'",
    ] {
        assert_eq!(Node::new(firewall).passages(), BTreeMap::new(), "{firewall}");
    }
}

#[test]
fn our_rules_stand_last_but_for_what_drops_the_rest() {
    let docker = "iptables-nft -P FORWARD DROP; iptables-nft -N DOCKER-USER; iptables-nft -A DOCKER-USER -j RETURN; \
                  iptables-nft -A FORWARD -j DOCKER-USER; iptables-nft -A FORWARD -s 10.244.9.9 -j DROP";
    let by_rule = "iptables-nft -A FORWARD -s 10.244.9.9 -j DROP; iptables-nft -A FORWARD -j REJECT";
    let ufw = "iptables-nft -P FORWARD DROP; iptables-nft -N reject; iptables-nft -A reject -j REJECT; \
               iptables-nft -A FORWARD -s 10.244.9.9 -j DROP; iptables-nft -A FORWARD -j reject";
    for (firewall, behind) in [(docker, 0), (by_rule, 1), (ufw, 1)] {
        let mut node = Node::new(firewall);
        let before = node.forward();
        assert_eq!(node.passages()[&net(V4)], Passage::Shut, "{firewall}");
        node.open(V4);
        assert_eq!(node.passages()[&net(V4)], Passage::Open, "{firewall}");
        let mut wanted = before.clone();
        wanted.splice(wanted.len() - behind..wanted.len() - behind, [SOURCE.to_owned(), DESTINATION.to_owned()]);
        assert_eq!(node.forward(), wanted);
        // Once more changes nothing, and taking it back leaves what was there.
        node.open(V4);
        assert_eq!(node.forward(), wanted);
        node.close(V4);
        assert_eq!(node.forward(), before);
    }
}

#[test]
fn what_somebody_changes_of_it_is_seen_and_mended_and_only_what_is_ours_is_taken_out() {
    let theirs = "iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP; iptables-nft -A FORWARD -s 10.244.0.0/16 -m comment \
                  --comment 'towpath of somebody' -j ACCEPT";
    let mut node = Node::new(theirs);
    [V4, V6].iter().for_each(|network| node.open(network));
    let whole = node.passages();
    assert_eq!(whole, BTreeMap::from([V4, V6].map(|network| (net(network), Passage::Open))));
    let rules = node.forward();
    for change in [
        "iptables-nft -D FORWARD 2",
        "iptables-nft -D FORWARD 3",
        "iptables-nft -I FORWARD -j DROP",
        "iptables-nft -R FORWARD 2 -s 10.244.0.0/17 -m comment --comment 'towpath /run/flannel/subnet.env' -j ACCEPT",
        "iptables-nft -R FORWARD 3 -d 10.244.0.0/16 -m comment --comment 'towpath /run/flannel/subnet.env' -j DROP",
        "iptables-nft-save >/run/towpath-test.$$; iptables-nft -F; iptables-nft-restore </run/towpath-test.$$; rm /run/towpath-test.$$; \
         iptables-nft -D FORWARD 2",
        "iptables-nft -F FORWARD; iptables-nft -A FORWARD -s 10.244.0.0/16 -m comment --comment 'towpath of somebody' -j ACCEPT",
    ] {
        node.sandbox.sh(change);
        assert_ne!(node.passages().get(&net(V4)), Some(&Passage::Open), "{change}");
        node.open(V4);
        assert_eq!(node.passages()[&net(V4)], Passage::Open, "{change}");
        node.sandbox.try_sh("iptables-nft -D FORWARD -j DROP");
        let strange: Vec<IpNet> = node.passages().into_keys().filter(|it| ![net(V4), net(V6)].contains(it)).collect();
        strange.iter().for_each(|network| node.close(&network.to_string()));
        assert_eq!(sorted(node.forward()), sorted(rules.clone()), "{change}");
    }
    // As `iptables-restore` writes them they are ours as well.
    node.sandbox.sh("iptables-nft-save | iptables-nft-restore");
    assert_eq!(node.passages(), whole);
    let mut traces = node.sandbox.run(|| kernel::traces::read().unwrap()).passages;
    assert!(traces.remove(ALIAS) && traces.remove("towpath of somebody"), "{traces:?}");
    assert_eq!(Instance::of_subnet_file("/run/flannel/subnet.env".as_ref()).alias, ALIAS);
    node.close(V4);
    node.close(V6);
    assert_eq!(sorted(node.forward()), sorted(rules[..2].to_vec()));
    assert_eq!(node.passages().into_values().collect::<Vec<_>>(), [Passage::Shut; 2]);
}
