//! Golden folders: `cluster.json` (a node and its peers' leases) → `state.txt` (what its kernel should hold, in the words of
//! `ip`, `bridge` and `nft`). One folder per situation. `BLESS=1 cargo test -p backends --test golden` writes them anew;
//! read the difference before you commit it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "golden files are files, and BLESS is a wish of whoever runs this")]

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use backends::bgp::{BgpSettings, Encapsulation};
use backends::cluster::{OwnSubnetRoute, RouteStyle, UnclaimedAddresses};
use backends::diff::diff;
use backends::evpn::{RouteId, Station};
use backends::extension::ExtensionSettings;
use backends::ipip::IpipSettings;
use backends::learnt::{Learnt, NextHop};
use backends::masquerade::{Exceptions, Firewall, Forward, Masquerade, Segments, TowardsNodes};
use backends::on_link::Hop;
use backends::rollout::Position;
use backends::state::RouteKey;
use backends::sum::{Desired, Facts};
use backends::udp::UdpSettings;
use backends::vxlan::VxlanSettings;
use backends::ways::Ways;
use backends::wireguard::{Mode, WireGuardSettings};
use backends::{Backend, Cluster, KernelState, LinkName, OnLink, Uplink};
use ipam::table::Record;
use ipam::{Carrier, Endpoint, Family, Lease, LeaseTable, SecretKey, Stack};
use ipnet::IpNet;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
struct Situation {
    networks: Stack<IpNet>,
    #[serde(default = "vxlan")]
    backend: String,
    #[serde(default)]
    vni: u64,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    direct_routing: bool,
    #[serde(default)]
    encapsulation: String,
    #[serde(default)]
    learnt: BTreeMap<IpNet, BTreeSet<NextHop>>,
    /// Of a host or router behind a VTEP: what is told of, or nothing but its MAC.
    #[serde(default)]
    fabric: Vec<(Option<IpNet>, Station)>,
    #[serde(default)]
    on_link: Vec<IpNet>,
    /// The same of other links.
    #[serde(default)]
    beside: Vec<(IpNet, LinkName)>,
    /// Links without a carrier.
    #[serde(default)]
    dead: BTreeSet<LinkName>,
    #[serde(default)]
    unreachable: bool,
    #[serde(default)]
    kept_towards: Vec<IpNet>,
    #[serde(default)]
    kept_towards_nodes: bool,
    #[serde(default)]
    masquerade_address: Option<Stack<IpAddr>>,
    #[serde(default)]
    clamp_segments: bool,
    uplink: (LinkName, u32, Stack<IpAddr>),
    masquerade: String,
    forward: bool,
    blackhole: bool,
    nexthop_objects: bool,
    own: Lease,
    peers: Vec<Lease>,
}

fn vxlan() -> String {
    "vxlan".to_owned()
}

impl Situation {
    fn read(folder: &Path) -> Situation {
        let text = std::fs::read_to_string(folder.join("cluster.json")).expect("cluster.json");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
    }

    fn backend(&self) -> Backend {
        match self.backend.as_str() {
            "host-gw" => Backend::HostGw,
            "extension" => Backend::Extension(ExtensionSettings::default()),
            "udp" => Backend::Udp(UdpSettings::new(self.port.unwrap_or(8285))),
            "alloc" => Backend::Alloc,
            "wireguard" => {
                let mode = match self.mode.as_str() {
                    "auto" => Mode::Auto,
                    "ipv4" => Mode::Over(Family::V4),
                    "ipv6" => Mode::Over(Family::V6),
                    _ => Mode::Separate,
                };
                let mut settings = WireGuardSettings::new(mode, &self.networks).expect("a family of the mode's");
                settings.keepalive_secs = 25;
                settings.preshared = Some(SecretKey::new([7; 32]));
                Backend::WireGuard(settings)
            }
            "bgp" => {
                let vxlan = || VxlanSettings::new(self.vni, &self.networks).expect("a VNI");
                let encapsulation = match self.encapsulation.as_str() {
                    "vxlan" => Encapsulation::Vxlan(vxlan()),
                    "cross-subnet" => Encapsulation::CrossSubnet(vxlan()),
                    "ipip" => Encapsulation::Ipip(IpipSettings::new(&self.networks)),
                    _ => Encapsulation::Never,
                };
                Backend::Bgp(BgpSettings { encapsulation })
            }
            "ipip" => {
                let mut settings = IpipSettings::new(&self.networks);
                settings.direct_routing = self.direct_routing;
                Backend::Ipip(settings)
            }
            _ => {
                let mut settings = VxlanSettings::new(self.vni, &self.networks).expect("a VNI");
                settings.port = self.port.unwrap_or(settings.port);
                settings.direct_routing = self.direct_routing;
                Backend::Vxlan(settings)
            }
        }
    }

    fn cluster(&self) -> Cluster {
        let (link, mtu, local) = self.uplink;
        let masquerade = match self.masquerade.as_str() {
            "off" => Masquerade::Off,
            "port-keeping" => Masquerade::PortKeeping,
            _ => Masquerade::FullyRandom,
        };
        let cluster = Cluster {
            networks: self.networks,
            backend: self.backend(),
            uplink: Uplink {
                link,
                mtu,
                local,
                public: local,
                on_link: self.what_is_on_link(),
                settings: Default::default(),
            },
            own: self.own.clone(),
            firewall: Firewall { masquerade, forward: if self.forward { Forward::Accept } else { Forward::Untouched } },
            routes: if self.nexthop_objects { RouteStyle::Objects } else { RouteStyle::Gateways },
            own_subnet_route: if self.blackhole { OwnSubnetRoute::Blackhole } else { OwnSubnetRoute::Absent },
            unclaimed: if self.unreachable { UnclaimedAddresses::Unreachable } else { UnclaimedAddresses::Routed },
            exceptions: Exceptions {
                kept_towards: self.kept_towards.clone(),
                nodes: if self.kept_towards_nodes { TowardsNodes::Kept } else { TowardsNodes::Masqueraded },
                fixed: self.masquerade_address,
            },
            segments: if self.clamp_segments { Segments::Clamped } else { Segments::Untouched },
            ways: None,
        };
        self.with_ways(cluster)
    }

    fn what_is_on_link(&self) -> OnLink {
        let direct = self.on_link.iter().map(|net| (*net, Hop::Direct));
        let beside = self.beside.iter().map(|(net, link)| (*net, Hop::Beside(*link)));
        let routes = direct.chain(beside).map(|(net, hop)| (RouteKey::new(net), hop));
        OnLink::new([routes.collect()]).with_dead(self.dead.clone())
    }

    /// The same with the older ways that the own lease says it has.
    fn with_ways(&self, cluster: Cluster) -> Cluster {
        let Some(rollout) = &self.own.rollout else { return cluster };
        let (position, target) = (Position::of(rollout), cluster.backend.carrier());
        let seen = |carrier: &Carrier| {
            let data = |family, endpoint: &Endpoint| match rollout.spare(carrier) {
                Some(spare) => Endpoint { data: spare.data.get(family).expect("its data").clone(), ..endpoint.clone() },
                None => endpoint.clone(),
            };
            let own = Lease { endpoints: self.own.endpoints.map(data), ..self.own.clone() };
            let backend = cluster.backend.of(carrier, &self.networks).expect("a backend");
            Cluster { backend, own, ..cluster.clone() }
        };
        let held = position.held(&target, &self.table());
        let older = held.iter().skip(1).map(|carrier| (carrier.clone(), seen(carrier))).collect();
        Cluster { own: seen(&target).own, ways: Some(Box::new(Ways::new(position, target, older))), ..cluster.clone() }
    }

    fn learnt(&self) -> Learnt {
        let mut learnt = Learnt::default();
        for (prefix, hops) in &self.learnt {
            assert!(learnt.set(*prefix, hops));
        }
        for (number, (destination, station)) in (0_u8..).zip(&self.fabric) {
            learnt.fabric.set(id(number, *destination), [*station].into());
        }
        learnt
    }

    fn table(&self) -> LeaseTable {
        let mut table = LeaseTable::default();
        let leases = self.peers.iter().chain([&self.own]).cloned();
        table.replace(leases.map(Record::Lease).collect());
        table.set_own(Some(self.own.key.clone()));
        table
    }
}

fn text(situation: &Situation) -> String {
    let table = situation.table();
    let desired = Desired::of(situation.cluster(), Facts { table: &table, learnt: &situation.learnt() });
    let mut text = format!("pods' MTU {}\n{}", situation.cluster().pod_mtu(), desired.state());
    for lease in table.leases() {
        if let Some(fault) = desired.fault(&lease.key) {
            writeln!(text, "fault of {}: {fault}", lease.node).expect("a string");
        }
    }
    for (_, reason) in desired.refused() {
        writeln!(text, "refused: {reason}").expect("a string");
    }
    text
}

fn facts<'f>(table: &'f LeaseTable, learnt: &'f Learnt) -> Facts<'f> {
    Facts { table, learnt }
}

#[test]
fn every_situation_gives_the_state_written_beside_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut seen = 0;
    for folder in std::fs::read_dir(root).expect("golden folders") {
        let folder = folder.expect("an entry").path();
        let is = text(&Situation::read(&folder));
        let golden = folder.join("state.txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &is).expect("state.txt");
        }
        let should_be = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(is, should_be, "{}", folder.display());
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} situations");
}

#[test]
fn what_is_learnt_comes_and_goes_one_by_one_as_all_at_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for folder in ["bgp", "from-vxlan-to-bgp"] {
        let situation = Situation::read(&root.join(folder));
        let (table, none, mut learnt) = (situation.table(), BTreeSet::new(), situation.learnt());
        let mut stepwise = Desired::of(situation.cluster(), facts(&table, &learnt));
        let gone = situation.learnt.keys().map(|prefix| (*prefix, BTreeSet::new()));
        let back = situation.learnt.iter().map(|(prefix, hops)| (*prefix, hops.clone()));
        for (prefix, hops) in gone.chain(back) {
            learnt.set(prefix, &hops);
            let before = stepwise.state().clone();
            let mut plan = stepwise.follow((&none, &[prefix]), facts(&table, &learnt)).changes;
            let mut should_be = diff(&before, stepwise.state()).changes;
            plan.sort_by_key(|change| format!("{change:?}"));
            should_be.sort_by_key(|change| format!("{change:?}"));
            assert_eq!(plan, should_be, "{folder}: {prefix}");
            assert_eq!(stepwise.state(), Desired::of(situation.cluster(), facts(&table, &learnt)).state());
        }
    }
}

#[test]
fn a_fabrics_routes_come_and_go_in_any_order_and_each_changes_what_is_its_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for folder in ["vxlan-with-evpn", "bgp-with-evpn"] {
        let mut situation = Situation::read(&root.join(folder));
        let (table, none) = (situation.table(), BTreeSet::new());
        for turn in 0..situation.fabric.len() {
            let mut learnt = situation.learnt();
            let ids: Vec<RouteId> = (0_u8..).zip(&situation.fabric).map(|(number, it)| id(number, it.0)).collect();
            let whole = Desired::of(situation.cluster(), facts(&table, &learnt));
            let mut stepwise = Desired::of(situation.cluster(), facts(&table, &learnt));
            let mut step = |learnt: &Learnt, touched: &BTreeSet<IpNet>| {
                let before = stepwise.state().clone();
                let touched: Vec<IpNet> = touched.iter().copied().collect();
                let mut plan = stepwise.follow((&none, &touched), facts(&table, learnt)).changes;
                let mut should_be = diff(&before, stepwise.state()).changes;
                plan.sort_by_key(|change| format!("{change:?}"));
                should_be.sort_by_key(|change| format!("{change:?}"));
                assert_eq!(plan, should_be);
                assert_eq!(stepwise.state(), Desired::of(situation.cluster(), facts(&table, learnt)).state());
            };
            for id in &ids {
                let touched = learnt.fabric.set(id.clone(), BTreeSet::new());
                step(&learnt, &touched);
            }
            assert!(learnt.fabric.is_empty());
            for (id, (_, station)) in ids.into_iter().zip(&situation.fabric) {
                let touched = learnt.fabric.set(id, [*station].into());
                step(&learnt, &touched);
            }
            assert_eq!(stepwise.state(), whole.state(), "{folder} {turn}");
            situation.fabric.rotate_left(1);
        }
    }
}

fn id(number: u8, destination: Option<IpNet>) -> RouteId {
    RouteId { destination, bytes: [number].into() }
}

#[test]
fn a_second_look_changes_nothing_and_peers_come_in_any_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for folder in std::fs::read_dir(root).expect("golden folders") {
        let situation = Situation::read(&folder.expect("an entry").path());
        let learnt = situation.learnt();
        let prefixes: Vec<IpNet> = learnt.prefixes().collect();
        let whole = Desired::of(situation.cluster(), facts(&situation.table(), &learnt));
        assert!(diff(whole.state(), whole.state()).is_empty());
        for turn in 0..situation.peers.len() {
            let mut table = LeaseTable::default();
            let mut stepwise = Desired::new(situation.cluster(), &table);
            table.set_own(Some(situation.own.key.clone()));
            // Routes come before or after the leases.
            if turn == 0 {
                stepwise.follow((&BTreeSet::new(), &prefixes), facts(&table, &learnt));
            }
            let mut peers = situation.peers.clone();
            peers.rotate_left(turn);
            for lease in peers.into_iter().chain([situation.own.clone()]) {
                let touched = table.apply(Record::Lease(lease));
                stepwise.follow((&touched, &[]), facts(&table, &learnt));
            }
            stepwise.follow((&BTreeSet::new(), &prefixes), facts(&table, &learnt));
            assert_eq!(stepwise.state(), whole.state());
            // And all of them leave again.
            for lease in &situation.peers {
                let touched = table.apply(Record::Gone(lease.key.clone()));
                stepwise.follow((&touched, &[]), facts(&table, &learnt));
            }
            stepwise.follow((&BTreeSet::new(), &prefixes), Facts { table: &table, learnt: &Learnt::default() });
            let mut alone = situation.cluster().base();
            // Who left is not named in the rules any more, and nobody else was.
            alone.ruleset.clone_from(&Desired::new(situation.cluster(), &table).state().ruleset);
            assert_eq!(*stepwise.state(), alone);
        }
        let from_nothing = diff(&KernelState::default(), whole.state());
        assert!(from_nothing.changes.len() >= whole.state().routes.len() + whole.state().nexthops.len());
    }
}
