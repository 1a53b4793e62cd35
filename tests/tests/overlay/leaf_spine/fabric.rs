//! [`Fabric`]: six routers in three tiers, FRR and BIRD in each, every one of a tier wired to every one of the next; below them racks with nodes.
//!
//! Each router is an AS of its own. The uppermost two have one address for everybody between them, [`OUTSIDE`].

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result, ensure};
use ipam::{Family, Stack};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netns_harness::{DefaultRoute, Lab, Node, Station, Uplink, wait_for};

use super::router::{Link, Plan, Program, Router};
use crate::cluster::LIMIT;

/// Somebody far away, whom the uppermost routers are.
pub const OUTSIDE: [&str; 2] = ["198.51.100.1/32", "2001:db8:f::1/128"];

/// Of two FRRs with graceful restart, each takes a link that comes back for a restart and waits minutes for the other: BIRD is between.
const ROUTERS: [(&str, Program, u32); 6] = [
    ("core1", Program::Frr, 65001),
    ("core2", Program::Frr, 65002),
    ("spine1", Program::Bird, 65011),
    ("spine2", Program::Forgetful, 65012),
    ("leaf1", Program::Frr, 65021),
    ("leaf2", Program::Bird, 65022),
];

/// What is wired to what, by place in [`ROUTERS`].
const CABLES: [(usize, usize); 8] = [(4, 2), (4, 3), (5, 2), (5, 3), (2, 0), (2, 1), (3, 0), (3, 1)];

/// Six routers.
pub struct Fabric {
    routers: BTreeMap<&'static str, Router>,
    /// What each sends where, with everything up.
    whole: BTreeMap<&'static str, Vec<String>>,
}

impl Fabric {
    /// Wires and starts it.
    pub fn start(lab: &Lab) -> Result<Fabric> {
        let nodes = ROUTERS.map(|(name, ..)| router_node(lab, name));
        let nodes: Vec<Node> = nodes.into_iter().collect::<Result<_>>()?;
        let mut plans: Vec<Plan> = ROUTERS.iter().map(|(_, program, asn)| plan(*program, *asn)).collect();
        for (number, (one, other)) in (1..).zip(CABLES) {
            let ends = lay((&nodes[one], &nodes[other]), number)?;
            let watched = !ROUTERS[one].0.starts_with("leaf");
            let link = |own: usize, other: usize, asn| Link { own: ends[own], other: ends[other], asn, watched };
            plans[one].links.push(link(0, 1, ROUTERS[other].2));
            plans[other].links.push(link(1, 0, ROUTERS[one].2));
        }
        for (number, place) in [(1, 4), (2, 5)] {
            plans[place].rack = Some(rack(&nodes[place], number)?);
            plans[place].nodes = vec![Ipv4Addr::new(10, 1, number, 11), Ipv4Addr::new(10, 1, number, 12)];
        }
        for core in [0, 1] {
            plans[core].hosts = OUTSIDE.iter().map(|net| net.parse()).collect::<Result<_, _>>()?;
        }
        let names = ROUTERS.iter().map(|(name, ..)| *name);
        let started = names.zip(nodes.into_iter().zip(&plans));
        let routers = started.map(|(name, (node, plan))| Ok((name, Router::start(node, plan)?)));
        Ok(Fabric { routers: routers.collect::<Result<_>>()?, whole: BTreeMap::new() })
    }

    /// One of them.
    pub fn router(&self, name: &str) -> Result<&Router> {
        self.routers.get(name).with_context(|| format!("there is no {name}"))
    }

    /// All is up: what each router sends where is as it is to be again after each fault.
    pub fn remember(&mut self, prefixes: &[IpNet]) -> Result<()> {
        for (name, router) in &self.routers {
            let routes = wait_for(&format!("{name} to know all pods by all ways"), LIMIT, || {
                let routes = router.routes()?;
                // A leaf's own nodes are one way; every other prefix is reached by both routers of the tier above or below.
                for prefix in prefixes {
                    let shown = prefix.to_string();
                    let shown = shown.trim_end_matches("/32").trim_end_matches("/128");
                    let Some(route) = routes.iter().find(|route| route.contains(&format!(" {shown} "))) else {
                        ensure!(
                            name.starts_with("core") && OUTSIDE.contains(&prefix.to_string().as_str()),
                            "no {shown} in {routes:#?}"
                        );
                        continue;
                    };
                    let ways = if route.contains("dev rack") || route.contains("dev leaf") { 1 } else { 2 };
                    ensure!(route.matches("via ").count() == ways, "{route}");
                }
                Ok(routes)
            })?;
            self.whole.insert(name, routes);
        }
        Ok(())
    }

    /// Waits until all is as it was: nothing is missing and nothing stale.
    pub fn whole(&self) -> Result<()> {
        for (name, router) in &self.routers {
            let whole = self.whole.get(name).context("not remembered")?;
            wait_for(&format!("{name} to send as before"), LIMIT, || {
                let now = router.routes()?;
                let (lost, more): (Vec<_>, Vec<_>) = (less(whole, &now), less(&now, whole));
                ensure!(&now == whole, "\n- {lost:#?}\n+ {more:#?}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits until no router sends anything there.
    pub fn without(&self, subnet: &IpNet) -> Result<()> {
        for (name, router) in &self.routers {
            wait_for(&format!("{name} to forget {subnet}"), LIMIT, || {
                let routes = router.routes()?;
                let left = routes.iter().find(|route| route.contains(&subnet.to_string()));
                ensure!(left.is_none(), "{left:?}");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// What circled for too long, until now.
    pub fn circled(&self) -> Result<u64> {
        self.routers.values().map(Router::circled).sum()
    }
}

fn less<'a>(one: &'a [String], other: &[String]) -> Vec<&'a String> {
    one.iter().filter(|line| !other.contains(line)).collect()
}

/// A router without any link.
pub fn plan(program: Program, asn: u32) -> Plan {
    Plan { program, asn, links: Vec::new(), rack: None, nodes: Vec::new(), unnumbered: Vec::new(), hosts: Vec::new() }
}

/// A node without the lab's own wire.
pub fn bare(lab: &Lab, name: &str) -> Result<Node> {
    let node = lab.node_with(name, Uplink { default_route: DefaultRoute::Absent, ..Uplink::default() })?;
    node.wire().remove()?;
    node.set_addresses(None);
    Ok(node)
}

/// A node that forwards.
pub fn router_node(lab: &Lab, name: &str) -> Result<Node> {
    let node = bare(lab, name)?;
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        node.set_sysctl(key, "1")?;
    }
    // An end that was down has its IPv6 addresses again.
    node.set_sysctl("net/ipv6/conf/all/keep_addr_on_down", "1")?;
    // By ports too, or two hosts would use one way only.
    for key in ["net/ipv4/fib_multipath_hash_policy", "net/ipv6/fib_multipath_hash_policy"] {
        node.set_sysctl(key, "1")?;
    }
    Ok(node)
}

/// A cable between two, each end called after the other, with the addresses of its ends.
fn lay((one, other): (&Node, &Node), number: u8) -> Result<[Stack<std::net::IpAddr>; 2]> {
    cable((one, other.name()), (other, one.name()))?;
    let ends = [(one, other, 1), (other, one, 2)];
    let ends = ends.map(|(node, far, host)| {
        let net = addresses((0, number), host);
        give(node, (far.name(), &net)).map(|()| net.map(|_, net| net.addr()))
    });
    let [one, other] = ends;
    Ok([one?, other?])
}

/// A cable between two ends of these names.
pub fn cable((one, end): (&Station, &str), (other, far): (&Station, &str)) -> Result<()> {
    let name = other.namespace().name();
    one.ip(&format!("link add {end} type veth peer name {far} netns {name}"))?;
    for (node, end) in [(one, end), (other, far)] {
        node.set_sysctl(&format!("net/ipv6/conf/{end}/accept_dad"), "0")?;
        node.ip(&format!("link set {end} up"))?;
    }
    Ok(())
}

/// Addresses for an end.
pub fn give(node: &Station, (end, addresses): (&str, &Stack<IpNet>)) -> Result<()> {
    for net in addresses.values() {
        let nodad = if net.addr().is_ipv6() { "nodad" } else { "" };
        node.ip(&format!("address add {net} dev {end} {nodad}"))?;
    }
    Ok(())
}

/// 10.KIND.NUMBER.HOST/24 and fd00:KIND:NUMBER::HOST/64.
pub fn addresses((kind, number): (u8, u8), host: u8) -> Stack<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(10, kind, number, host), 24);
    let segments = [0xfd00, kind.into(), number.into(), 0, 0, 0, 0, host.into()];
    let v6 = Ipv6Net::new_assert(Ipv6Addr::from(segments), 64);
    Stack::Dual { v4: v4.into(), v6: v6.into() }
}

fn rack(leaf: &Node, number: u8) -> Result<Stack<IpNet>> {
    // Without an address of its own a bridge takes the least of its ports', and another one when a node goes.
    leaf.ip(&format!("link add rack address 02:00:0a:01:00:{number:02x} type bridge mcast_snooping 0"))?;
    leaf.set_sysctl("net/ipv6/conf/rack/accept_dad", "0")?;
    leaf.ip("link set rack up")?;
    let own = addresses((1, number), 1);
    give(leaf, ("rack", &own))?;
    Ok(own)
}

/// Puts a node into a leaf's rack, with its default routes to the leaf.
pub fn plug(leaf: &Node, node: &Node, place: (u8, u8)) -> Result<()> {
    let port = format!("to-{}", node.name());
    cable((leaf, &port), (node, "eth0"))?;
    leaf.ip(&format!("link set {port} master rack"))?;
    let own = addresses((1, place.0), place.1);
    give(node, ("eth0", &own))?;
    node.set_addresses(Some(own.map(|_, net| net.addr())));
    for family in Family::ALL {
        let gateway = addresses((1, place.0), 1);
        let gateway = gateway.get(family).context("both families")?.addr();
        node.ip(&format!("route replace default via {gateway} dev eth0"))?;
    }
    Ok(())
}
