//! Whatever somebody else breaks of ours in the kernel is put back, and the log and a counter say what it was.

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::{Daemon, Signal, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, counted, nth, subnets, wait_counted, wait_picture};
use crate::picture::Picture;

/// What somebody does, and the word with which the log says what was put back. `$dev`, `$own`, `$gw`, `$net`, `$mac` are
/// the device, its address, a peer's gateway, its pods' subnet and its VTEP; `$f` is the family, `$bits` its length.
type Fault = (&'static str, &'static str);

const ON_DEVICES: &[Fault] = &[
    ("ip link set $dev down", "$dev"),
    ("ip link delete $dev", "ip link add $dev"),
    ("ip link set $dev mtu 1300", "mtu"),
    ("ip link set $dev address 02:00:00:00:00:99", "address"),
    ("ip link set $dev alias 'somebody else'", "$dev"),
    ("ip link set $dev type vxlan learning", "learning"),
    ("ip link set $dev addrgenmode eui64", "addrgenmode"),
    ("ethtool -K $dev tx off", "ethtool -K $dev tx on"),
    ("ip link delete $dev; ip link add $dev type vxlan external dstport 4789", "ip link add $dev"),
    ("ip -$f addr del $own/$bits dev $dev", "$own"),
    ("ip -$f addr add $inside/$bits dev $dev", "$inside"),
    ("ip -$f addr flush dev $dev", "$own"),
];

const ON_PEERS: &[Fault] = &[
    ("ip nexthop del id $nhid", "nexthop"),
    ("ip nexthop replace id $nhid via $other dev $dev onlink", "nexthop"),
    ("ip nexthop flush proto 84", "nexthop"),
    ("ip -$f nexthop add id 4242 via $other dev $dev onlink proto 84", "nexthop"),
    ("ip -$f route del $net", "$net"),
    ("ip -$f route replace $net via $other dev $dev onlink proto 84", "$net"),
    ("ip -$f route replace $net via $other dev $dev onlink proto static", "$net"),
    ("ip -$f route replace blackhole $net", "$net"),
    ("ip -$f route add $elsewhere via $gw dev $dev onlink proto 84", "$elsewhere"),
    ("ip neigh del $gw dev $dev", "$gw"),
    ("ip neigh replace $gw lladdr 02:00:00:00:00:99 dev $dev nud permanent", "$gw"),
    ("ip neigh replace $gw lladdr 02:00:00:00:00:99 dev $dev nud permanent protocol 84", "$gw"),
    ("ip neigh replace $gw lladdr $mac dev $dev nud reachable protocol 84", "$gw"),
    ("ip neigh add $other lladdr 02:00:00:00:00:99 dev $dev nud permanent protocol 84", "$other"),
    ("ip neigh flush dev $dev nud all", "$gw"),
    ("bridge fdb del $mac dev $dev self", "$mac"),
    ("bridge fdb replace $mac dev $dev dst $nobody self permanent extern_learn", "$mac"),
    ("bridge fdb replace $mac dev $dev dst $nobody self permanent", "$mac"),
    ("bridge fdb append 00:00:00:00:00:00 dev $dev dst $nobody self permanent extern_learn", "00:00:00:00:00:00"),
    ("bridge fdb add 02:00:00:00:00:99 dev $dev dst $nobody self permanent extern_learn", "02:00:00:00:00:99"),
    ("bridge fdb flush dev $dev", "$mac"),
];

const ON_RULES: &[Fault] = &[
    ("nft flush ruleset", "nftables"),
    ("nft delete table inet $table", "nftables"),
    ("nft flush chain inet $table postrouting", "nftables"),
    (
        "nft delete rule inet $table postrouting handle $(nft -a list chain inet $table postrouting | sed -n 's/.*saddr != .*# handle //p' | head -1)",
        "nftables",
    ),
    ("nft add rule inet $table postrouting counter accept", "nftables"),
    ("nft insert rule inet $table forward ip saddr 10.244.0.0/16 drop", "nftables"),
    ("nft 'add chain inet $table mine; add rule inet $table mine drop'", "nftables"),
    ("sysctl -qw net.ipv4.ip_forward=0", "ip_forward"),
    ("sysctl -qw net.ipv6.conf.all.forwarding=0", "forwarding"),
    ("echo 1 >/proc/sys/net/ipv4/conf/flannel.1/rp_filter", "rp_filter"),
    ("echo 2 >/proc/sys/net/ipv6/conf/flannel.1/accept_ra", "accept_ra"),
    ("echo 2 >/proc/sys/net/ipv6/conf/flannel-v6.1/accept_ra", "accept_ra"),
];

#[test]
fn devices_and_their_addresses_are_put_back() -> Result<()> {
    each_is_put_back("fixdev", ON_DEVICES, &Family::ALL)
}

#[test]
fn what_leads_to_peers_over_ipv4_is_put_back() -> Result<()> {
    each_is_put_back("fixpeer", ON_PEERS, &[Family::V4])
}

#[test]
fn what_leads_to_peers_over_ipv6_is_put_back() -> Result<()> {
    each_is_put_back("fixpeer6", ON_PEERS, &[Family::V6])
}

#[test]
fn rules_and_settings_are_put_back() -> Result<()> {
    each_is_put_back("fixrule", ON_RULES, &[Family::V4])
}

fn each_is_put_back(name: &str, faults: &[Fault], families: &[Family]) -> Result<()> {
    let mut cluster = Cluster::on_directory(name, DUAL)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    // The daemon's own first look may still come: what is broken before that is not a repair.
    alpha.wait_ready(LIMIT)?;
    let settings = Settings::of(&alpha)?;
    let picture = Picture::of(alpha.node())?;
    for family in families {
        for (fault, word) in faults {
            let words = Words::of(&alpha, &beta, *family)?;
            is_put_back(&alpha, &words.replace(fault), &words.replace(word), &picture)
                .with_context(|| format!("after `{}`", words.replace(fault)))?;
            wait_for("the settings to be as they were", LIMIT, || settings.compare(&alpha))?;
        }
    }
    let last = counted(&alpha, "towpath_kernel_refusals_total")?;
    assert_eq!(last, 0.0, "the kernel refused something: {}", alpha.log());
    Ok(())
}

fn is_put_back(daemon: &Daemon, fault: &str, word: &str, picture: &Picture) -> Result<()> {
    let (before, said) = (counted(daemon, "towpath_repairs_total")?, daemon.log().len());
    // What takes somebody two commands must not be half put back in between.
    daemon.signal(Signal::STOP)?;
    daemon.node().run(["sh", "-ec", fault])?;
    daemon.signal(Signal::CONT)?;
    wait_counted(daemon, "towpath_repairs_total", before)?;
    wait_picture(daemon.node(), picture)?;
    wait_for("the log to say so", LIMIT, || {
        let log = daemon.log();
        let line = log[said..].lines().find(|line| line.contains("put back") && line.contains(word));
        line.map(drop).with_context(|| format!("no `put back … {word}` in:\n{}", &log[said..]))
    })
}

/// The values of the settings that are ours.
#[derive(PartialEq, Eq)]
struct Settings(String);

impl Settings {
    fn of(daemon: &Daemon) -> Result<Settings> {
        let files = "net/ipv4/ip_forward net/ipv6/conf/all/forwarding net/ipv4/conf/flannel.1/rp_filter \
                     net/ipv6/conf/flannel.1/accept_ra net/ipv6/conf/flannel-v6.1/accept_ra";
        Ok(Settings(daemon.node().run(["sh", "-ec", &format!("cd /proc/sys; tail -n1 {files}")])?))
    }

    fn compare(&self, daemon: &Daemon) -> Result<()> {
        let now = Settings::of(daemon)?;
        ensure!(now == *self, "they are\n{}", now.0);
        Ok(())
    }
}

/// What stands for `$…` in a fault.
struct Words(Vec<(&'static str, String)>);

impl Words {
    fn of(daemon: &Daemon, peer: &Daemon, family: Family) -> Result<Words> {
        let node = daemon.node();
        let (dev, inside, other, elsewhere, nobody) = match family {
            Family::V4 => ("flannel.1", "10.244.199.1", "10.244.199.0", "10.244.198.0/24", "192.0.2.99"),
            Family::V6 => {
                ("flannel-v6.1", "fd00:10:244:99::1", "fd00:10:244:99::", "fd00:10:244:98::/64", "2001:db8::99")
            }
        };
        let of = |daemon: &Daemon| Ok(*subnets(daemon)?.get(family).context("a subnet")?) as Result<ipnet::IpNet>;
        let (own, net) = (of(daemon)?, of(peer)?);
        let gateway = nth(&net, 0).to_string();
        let picture = Picture::of(node)?;
        let neighbour = picture.lines(&["neigh", &gateway]);
        let mac = neighbour.first().and_then(|line| word_after(line, "lladdr")).context("no neighbour")?;
        let nexthops = node.ip("nexthop show proto 84")?;
        let id = nexthops.lines().find(|line| line.contains(&format!("via {gateway} "))).context("no next hop")?;
        let tables = node.run(["nft", "list", "tables"])?;
        let number = if family == Family::V4 { "4" } else { "6" };
        Ok(Words(vec![
            ("$nhid", word_after(id, "id").context("no id")?.to_owned()),
            ("$table", word_after(&tables, "inet").context("no table")?.to_owned()),
            ("$dev", dev.to_owned()),
            ("$own", nth(&own, 0).to_string()),
            ("$inside", inside.to_owned()),
            ("$other", other.to_owned()),
            ("$elsewhere", elsewhere.to_owned()),
            ("$nobody", nobody.to_owned()),
            ("$gw", gateway),
            ("$net", net.to_string()),
            ("$mac", mac.to_owned()),
            ("$bits", family.bits().to_string()),
            ("$f", number.to_owned()),
        ]))
    }

    fn replace(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (name, word)| text.replace(name, word))
    }
}

fn word_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.split_whitespace().skip_while(|it| *it != word).nth(1)
}
