//! Our nftables table with the real kernel, and Debian's `nft` as the judge of what is in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sandbox;
use std::sync::atomic::{AtomicBool, Ordering};

use backends::ruleset::{Chain, ChainKind, Match, Rule, Ruleset, Verdict};
use ipam::Family;
use kernel::nft::Table;
use sandbox::{Sandbox, needs};

const TABLE: &str = "towpath";

fn rule<const N: usize>(matches: [Match; N], verdict: Verdict) -> Rule {
    Rule { matches: matches.to_vec(), verdict }
}

fn source(net: &str) -> Match {
    Match::Source(net.parse().unwrap())
}

fn destination(net: &str) -> Match {
    Match::Destination(net.parse().unwrap())
}

fn source_not(net: &str) -> Match {
    Match::SourceNot(net.parse().unwrap())
}

fn destination_not(net: &str) -> Match {
    Match::DestinationNot(net.parse().unwrap())
}

/// Every chain, every match and every verdict; by meaning what a dual-stack VXLAN node with masquerade has.
fn full() -> Ruleset {
    let [vxlan, inside] = [Match::UdpDestinationPort(8472), Match::VxlanNetwork(0x01_0203)];
    let marked = Match::Mark { mask: 0x4000, value: 0x4000 };
    let chain = |kind, rules: Vec<Rule>| Chain { kind, rules };
    Ruleset {
        chains: vec![
            chain(ChainKind::Prerouting, vec![rule([Match::DestinationLocal, vxlan, inside], Verdict::NoTrack)]),
            chain(ChainKind::Output, vec![rule([vxlan, inside], Verdict::NoTrack)]),
            chain(
                ChainKind::Forward,
                vec![
                    rule([source("10.244.0.0/16"), Match::TcpSyn], Verdict::ClampSegment),
                    rule([destination("10.244.0.0/16")], Verdict::Accept),
                    rule([source("2001:db8::/53")], Verdict::Accept),
                ],
            ),
            chain(
                ChainKind::Postrouting,
                vec![
                    rule([marked], Verdict::Return),
                    rule([source("10.244.1.0/24"), destination("10.244.0.0/15")], Verdict::Return),
                    rule([source_not("10.244.0.0/16"), destination("10.244.1.7/32")], Verdict::Return),
                    rule([source("10.244.0.0/16"), destination_not("224.0.0.0/4")], Verdict::MasqueradeFullyRandom),
                    rule([source("2001:db8::/56"), destination_not("ff00::/8")], Verdict::Masquerade),
                    rule([source_not("2001:db8::/56"), destination("2001:db8::1/128")], Verdict::Masquerade),
                    rule([source("10.9.0.0/16")], Verdict::SourceNat("192.0.2.7".parse().unwrap())),
                    rule([source("10.8.0.0/16")], Verdict::SourceNatFullyRandom("192.0.2.7".parse().unwrap())),
                    rule([source("fd00::/16")], Verdict::SourceNatFullyRandom("2001:db8::7".parse().unwrap())),
                    rule([Match::Family(Family::V6), marked], Verdict::Return),
                    rule([], Verdict::Accept),
                ],
            ),
        ],
    }
}

/// What `nft list table` should print: the words of the types' own documentation and `Display`.
fn words(table: &str, ruleset: &Ruleset) -> String {
    let head = |kind| match kind {
        ChainKind::Prerouting => "type filter hook prerouting priority raw; policy accept;",
        ChainKind::Output => "type filter hook output priority raw; policy accept;",
        ChainKind::Forward => "type filter hook forward priority filter; policy accept;",
        ChainKind::Postrouting => "type nat hook postrouting priority srcnat; policy accept;",
        ChainKind::Foreign => panic!("never desired"),
    };
    let chains: Vec<String> = ruleset
        .chains
        .iter()
        .map(|chain| {
            let rules: String = chain.rules.iter().map(|rule| format!("\t\t{rule} comment \"towpath\"\n")).collect();
            format!("\tchain {} {{\n\t\t{}\n{rules}\t}}\n", chain.kind.name(), head(chain.kind))
        })
        .collect();
    // nft leaves out the length of a whole address.
    let chains = chains.join("\n").replace("/32 ", " ").replace("/128 ", " ");
    format!("table inet {table} {{\n\tcomment \"towpath\"\n{chains}}}\n")
}

fn open(sandbox: &Sandbox, name: &str) -> Table {
    sandbox.run(|| Table::open(name)).unwrap()
}

#[test]
fn nft_prints_our_rules_in_our_words() {
    needs("nft", "nftables");
    let sandbox = Sandbox::new();
    open(&sandbox, TABLE).replace(Some(&full())).unwrap();
    assert_eq!(sandbox.sh("nft list table inet towpath"), words(TABLE, &full()));
}

#[test]
fn what_is_read_back_is_what_was_written() {
    let mut table = open(&Sandbox::new(), TABLE);
    assert_eq!(table.observe().unwrap(), None);
    let empty = Ruleset::default();
    for ruleset in [full(), empty, full(), full()] {
        table.replace(Some(&ruleset)).unwrap();
        assert_eq!(table.observe().unwrap(), Some(ruleset));
    }
    for _ in 0..2 {
        table.replace(None).unwrap();
        assert_eq!(table.observe().unwrap(), None);
    }
}

#[test]
fn the_same_table_loaded_by_nft_is_ours_and_ours_survives_nfts_json() {
    needs("nft", "nftables");
    let sandbox = Sandbox::new();
    let mut table = open(&sandbox, TABLE);
    let text = words(TABLE, &full());
    sandbox.sh(&format!("nft -f - <<'END'\n{text}END"));
    assert_eq!(table.observe().unwrap(), Some(full()), "as nft compiles our words");

    table.replace(Some(&full())).unwrap();
    let json = sandbox.sh("nft -j list table inet towpath");
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rules = parsed["nftables"].as_array().unwrap().iter().filter(|item| item.get("rule").is_some()).count();
    assert_eq!(rules, full().chains.iter().map(|chain| chain.rules.len()).sum::<usize>());
    sandbox.sh(&format!("nft delete table inet towpath; nft -j -f - <<'END'\n{json}END"));
    assert_eq!(table.observe().unwrap(), Some(full()), "through nft's JSON and back");
}

#[test]
fn whatever_is_tampered_with_makes_the_tables_differ() {
    needs("nft", "nftables");
    let sandbox = Sandbox::new();
    let mut table = open(&sandbox, TABLE);
    let handle = |chain: &str, of: &str| {
        format!("handle $(nft -a list chain inet towpath {chain} | sed -n 's/.*{of}.* # handle //p' | head -1)")
    };
    let chain = "inet towpath postrouting";
    let tampered: Vec<(String, Verdict)> = vec![
        (format!("nft delete rule {chain} {}", handle("postrouting", "fully-random")), Verdict::Return),
        ("nft flush chain inet towpath forward".to_owned(), Verdict::Return),
        ("nft flush ruleset".to_owned(), Verdict::Return),
        ("nft delete table inet towpath".to_owned(), Verdict::Return),
        (format!("nft insert rule {chain} accept"), Verdict::Return),
        (format!("nft add rule {chain} counter"), Verdict::Foreign),
        (format!("nft add rule {chain} oifname eth0 masquerade"), Verdict::Foreign),
        (format!("nft add rule {chain} meta l4proto udp masquerade to :1024-2048"), Verdict::Foreign),
        (format!("nft add rule {chain} masquerade random"), Verdict::Foreign),
        (format!("nft add rule {chain} ip saddr 10.0.0.0/8 counter return"), Verdict::Foreign),
        (format!("nft add rule {chain} ip saddr {{ 10.0.0.1, 10.0.0.2 }} return"), Verdict::Foreign),
        (format!("nft add rule {chain} meta mark 1 return"), Verdict::Foreign),
        (format!("nft add rule {chain} meta mark set 1"), Verdict::Foreign),
        (format!("nft add rule {chain} 'meta mark & 1 != 1 return'"), Verdict::Foreign),
        (format!("nft add rule {chain} udp dport != 53 return"), Verdict::Foreign),
        (format!("nft add rule {chain} tcp dport 53 return"), Verdict::Foreign),
        (format!("nft add rule {chain} fib saddr type local return"), Verdict::Foreign),
        (format!("nft add rule {chain} fib daddr type broadcast return"), Verdict::Foreign),
        ("nft add rule inet towpath forward drop".to_owned(), Verdict::Foreign),
        ("nft add chain inet towpath mine".to_owned(), Verdict::Return),
        ("nft add chain inet towpath forward '{ policy drop; }'".to_owned(), Verdict::Return),
        ("nft add table inet towpath '{ flags dormant; }'".to_owned(), Verdict::Return),
    ];
    for (command, added) in tampered {
        table.replace(Some(&full())).unwrap();
        sandbox.sh(&command);
        let observed = table.observe().unwrap();
        assert_ne!(observed, Some(full()), "{command}");
        let rules = |ruleset: Ruleset| ruleset.chains.into_iter().flat_map(|chain| chain.rules).collect::<Vec<_>>();
        let foreign = observed.map(rules).unwrap_or_default().iter().any(|rule| rule.verdict == Verdict::Foreign);
        assert_eq!(foreign, added == Verdict::Foreign, "{command}");
    }
}

#[test]
fn a_chain_at_another_hook_priority_or_of_another_type_is_foreign() {
    needs("nft", "nftables");
    let sandbox = Sandbox::new();
    let mut table = open(&sandbox, TABLE);
    let chains = [
        "postrouting { type nat hook postrouting priority 99; policy accept; }",
        "postrouting { type nat hook input priority 100; policy accept; }",
        "postrouting { type filter hook postrouting priority 100; policy accept; }",
        "postrouting { type nat hook postrouting priority 100; policy drop; }",
        "postrouting { }",
        "srcnat { type nat hook postrouting priority 100; policy accept; }",
    ];
    for chain in chains {
        sandbox.sh(&format!("nft -f - <<'END'\ntable inet towpath {{ chain {chain}; }}\nEND"));
        let foreign = Chain { kind: ChainKind::Foreign, rules: Vec::new() };
        assert_eq!(table.observe().unwrap(), Some(Ruleset { chains: vec![foreign] }), "{chain}");
        table.replace(Some(&full())).unwrap();
        assert_eq!(table.observe().unwrap(), Some(full()), "{chain}");
        sandbox.sh("nft delete table inet towpath");
    }
}

#[test]
fn other_tables_stay_as_they_are_and_two_instances_live_side_by_side() {
    needs("nft", "nftables");
    let sandbox = Sandbox::new();
    let mut table = open(&sandbox, TABLE);
    let text = "table ip towpath { chain postrouting { type nat hook postrouting priority srcnat; masquerade; }; }
table inet towpath2 { set s { type ipv4_addr; elements = { 10.0.0.1 }; }; chain c { ip saddr @s drop; }; }";
    sandbox.sh(&format!("nft -f - <<'END'\n{text}\nEND"));
    let others = || sandbox.sh("nft -a list table ip towpath; nft -a list table inet towpath2");
    let before = others();
    table.replace(Some(&full())).unwrap();
    let second = Ruleset { chains: full().chains.split_off(3) };
    let mut other = open(&sandbox, "towpath-second");
    other.replace(Some(&second)).unwrap();
    assert_eq!(table.observe().unwrap(), Some(full()));
    assert_eq!(other.observe().unwrap().as_ref(), Some(&second));
    assert_eq!(sandbox.sh("nft list table inet towpath-second"), words("towpath-second", &second));
    table.replace(None).unwrap();
    assert_eq!(other.observe().unwrap(), Some(second));
    assert_eq!(others(), before);
}

#[test]
fn nobody_ever_sees_the_table_missing_or_half() {
    let sandbox = Sandbox::new();
    let mut table = open(&sandbox, TABLE);
    table.replace(Some(&full())).unwrap();
    let done = AtomicBool::new(false);
    let half = Ruleset { chains: full().chains.split_off(2) };
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut watched = open(&sandbox, TABLE);
            while !done.load(Ordering::Relaxed) {
                // When the table changes all the time a look may not come to rest; what it sees is never wrong.
                match watched.observe() {
                    Ok(Some(table)) if table == full() || table == half => {}
                    Err(kernel::Error::Unsettled { .. }) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
        for _ in 0..500 {
            table.replace(Some(&half)).unwrap();
            table.replace(Some(&full())).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        watcher.join().unwrap();
    });
    assert_eq!(table.observe().unwrap(), Some(full()));
}

#[test]
fn a_refused_transaction_changes_nothing_and_names_the_rule() {
    let sandbox = Sandbox::new();
    let mut table = open(&sandbox, TABLE);
    table.replace(Some(&full())).unwrap();
    // The kernel takes masquerade only in a nat chain.
    let mut wrong = full();
    wrong.chains[2].rules.push(rule([source("10.9.0.0/16")], Verdict::Masquerade));
    let error = table.replace(Some(&wrong)).unwrap_err();
    let sentence =
        "making rule 4 (`ip saddr 10.9.0.0/16 masquerade`) of the chain forward in the nftables table inet towpath";
    assert!(error.to_string().starts_with(sentence), "{error}");
    let twice = Ruleset { chains: [full().chains, full().chains].concat() };
    let error = table.replace(Some(&twice)).unwrap_err();
    assert!(
        error.to_string().starts_with("making the chain prerouting in the nftables table inet towpath: "),
        "{error}"
    );
    let foreign = Ruleset { chains: vec![Chain { kind: ChainKind::Output, rules: vec![rule([], Verdict::Foreign)] }] };
    assert!(table.replace(Some(&foreign)).is_err());
    assert_eq!(table.observe().unwrap(), Some(full()));
}

/// Three namespaces in a row: `pod` (10.244.1.2), `node` (10.244.1.1, 192.0.2.1) and `world` (192.0.2.2), which knows no way back to
/// the pod's network: only a masqueraded packet is answered.
struct Row {
    pod: Sandbox,
    node: Sandbox,
    world: Sandbox,
}

fn row() -> Row {
    let (pod, node, world) = (Sandbox::new(), Sandbox::new(), Sandbox::new());
    node.wire("pod0", &pod, "eth0");
    node.wire("uplink", &world, "eth0");
    pod.sh("ip address add 10.244.1.2/24 dev eth0; ip route add default via 10.244.1.1");
    node.sh("ip address add 10.244.1.1/24 dev pod0; ip address add 192.0.2.1/24 dev uplink; sysctl -qw net.ipv4.ip_forward=1");
    world.sh("ip address add 192.0.2.2/24 dev eth0");
    Row { pod, node, world }
}

#[test]
fn masquerade_really_gives_packets_the_nodes_address() {
    needs("conntrack", "conntrack");
    let Row { pod, node, world } = row();
    let mut table = open(&node, TABLE);
    let answerer = world.run(|| std::net::UdpSocket::bind("192.0.2.2:5000")).unwrap();
    answerer.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let sender = pod.run(|| std::net::UdpSocket::bind("10.244.1.2:4000")).unwrap();
    let seen_source = || {
        sender.send_to(b"?", "192.0.2.2:5000").unwrap();
        answerer.recv_from(&mut [0; 8]).unwrap().1.ip().to_string()
    };
    assert_eq!(seen_source(), "10.244.1.2", "before");
    for verdict in [Verdict::Masquerade, Verdict::MasqueradeFullyRandom] {
        let masquerade = rule([source("10.244.0.0/16"), destination_not("10.244.0.0/16")], verdict);
        let chain = Chain { kind: ChainKind::Postrouting, rules: vec![masquerade] };
        table.replace(Some(&Ruleset { chains: vec![chain] })).unwrap();
        // Translation is decided at a connection's first packet.
        node.sh("conntrack -F");
        assert_eq!(seen_source(), "192.0.2.1", "{verdict}");
    }
}

/// Translation is decided by a connection's first packet: a single one that met no rule would show.
#[test]
fn no_packet_passes_while_the_table_is_swapped() {
    let Row { pod, node, world } = row();
    let mut table = open(&node, TABLE);
    let masquerade = rule([source("10.244.0.0/16"), destination_not("10.244.0.0/16")], Verdict::Masquerade);
    let ruleset = Ruleset { chains: vec![Chain { kind: ChainKind::Postrouting, rules: vec![masquerade] }] };
    table.replace(Some(&ruleset)).unwrap();
    let answerer = world.run(|| std::net::UdpSocket::bind("192.0.2.2:5000")).unwrap();
    answerer.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let done = AtomicBool::new(false);
    let leaks = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                table.replace(Some(&ruleset)).unwrap();
            }
        });
        let leaked = |port: &u16| {
            let sender = std::net::UdpSocket::bind(("10.244.1.2", *port)).unwrap();
            sender.send_to(b"?", "192.0.2.2:5000").unwrap();
            answerer.recv_from(&mut [0; 8]).unwrap().1.ip().to_string() != "192.0.2.1"
        };
        let leaks = pod.run(|| (10_000..30_000).filter(leaked).count());
        done.store(true, Ordering::Relaxed);
        leaks
    });
    assert_eq!(leaks, 0);
}

#[test]
fn what_is_not_tracked_leaves_no_entry_in_connection_tracking() {
    needs("conntrack", "conntrack");
    let (Row { pod, node, world }, masquerade) = (row(), rule([source("10.244.0.0/16")], Verdict::Masquerade));
    let [port, inside] = [Match::UdpDestinationPort(8472), Match::VxlanNetwork(1)];
    let received = rule([Match::DestinationLocal, port, inside], Verdict::NoTrack);
    let sent = (ChainKind::Output, rule([port, inside], Verdict::NoTrack));
    let kinds = [(ChainKind::Prerouting, received), sent, (ChainKind::Postrouting, masquerade)];
    let chains = kinds.into_iter().map(|(kind, only)| Chain { kind, rules: vec![only] }).collect();
    open(&node, TABLE).replace(Some(&Ruleset { chains })).unwrap();
    let bind = |host: &Sandbox, to: &str| {
        let socket = host.run(|| std::net::UdpSocket::bind(to)).unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        socket
    };
    let listener = bind(&node, "192.0.2.1:8472");
    let send = |from: &Sandbox, to: &str| bind(from, "0.0.0.0:0").send_to(&[8, 0, 0, 0, 0, 0, 1, 0], to).unwrap();
    // The tunnel's without a trace; a pod's own packet to that port elsewhere, and anything else, is tracked.
    send(&world, "192.0.2.1:8472");
    send(&node, "192.0.2.2:8472");
    listener.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(node.sh("conntrack -L 2>/dev/null"), "");
    send(&pod, "192.0.2.2:8472");
    send(&node, "192.0.2.2:8473");
    let tracked = node.sh("conntrack -L -p udp 2>/dev/null");
    let both = tracked.contains("src=10.244.1.2") && tracked.contains("dport=8473");
    assert!(both && tracked.lines().count() == 2, "{tracked}");
    // A flow that masquerade gave the tunnel's port has its answers.
    let (asking, asked) = (bind(&pod, "10.244.1.2:8472"), bind(&world, "192.0.2.2:53"));
    asking.send_to(b"?", "192.0.2.2:53").unwrap();
    asked.recv_from(&mut [0; 8]).unwrap();
    asked.send_to(b"an answer", "192.0.2.1:8472").unwrap();
    assert_eq!(asking.recv(&mut [0; 16]).unwrap(), 9);
}

#[test]
fn without_the_capability_the_error_names_it() {
    let sandbox = Sandbox::new();
    let refused = sandbox.run(|| {
        let mut table = Table::open(TABLE).unwrap();
        let none = rustix::thread::CapabilitySet::empty();
        rustix::thread::set_capabilities(
            None,
            rustix::thread::CapabilitySets { effective: none, permitted: none, inheritable: none },
        )
        .unwrap();
        [table.replace(Some(&full())).unwrap_err(), table.observe().map(|_| ()).unwrap_err()]
    });
    for error in refused {
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    }
}
