//! [`World`]: nodes with the daemon's real logic, in virtual time, and everything that can happen to them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use backends::cluster::{OwnSubnetRoute, RouteStyle, UnclaimedAddresses};
use backends::masquerade::{Firewall, Forward, Masquerade};
use backends::state::{Fdb, Link, Neighbour, Tag};
use backends::sum::Desired;
use backends::{KernelState, LinkName, Uplink};
use ipam::{Lease, LeaseTable, Mac, NodeName, Stack};
use towpathd::config::Instance;
use towpathd::identity::Identity;
use towpathd::netconf::Division;
use towpathd::node::Node;
use towpathd::reconcile::Reconciler;
use towpathd::state_file::LastKnown;
use towpathd::subnet_file::PodMode;
use towpathd::trigger::Moment;

use crate::dice::Dice;
use crate::kernel::ModelKernel;
use crate::store::{Line, ModelStore};
use crate::traffic;

/// What an operator may choose between.
const BACKENDS: [&str; 4] =
    [r#"{"Type":"vxlan"}"#, r#"{"Type":"vxlan","Port":4789}"#, r#"{"Type":"vxlan","VNI":2}"#, r#"{"Type":"host-gw"}"#];

fn network(backend: usize) -> String {
    let backend = BACKENDS[backend % BACKENDS.len()];
    format!(r#"{{"Network":"10.244.0.0/16","IPv6Network":"fd44::/48","EnableIPv6":true,"Backend":{backend}}}"#)
}

const HEARTBEAT: Duration = Duration::from_secs(30);

/// One machine: its kernel and disk last, its daemon comes and goes.
pub(crate) struct Machine {
    /// Which one, from 1: decides its addresses.
    number: u8,
    pub(crate) name: NodeName,
    pub(crate) kernel: ModelKernel,
    untouched: KernelState,
    line: Line,
    pub(crate) daemon: Option<Reconciler>,
    disk: Option<LastKnown>,
    spare_uplink: Option<Uplink>,
    /// Something was changed behind the daemon's back, and the notice is on its way.
    noticed: Option<Moment>,
}

/// The cluster.
pub struct World {
    machines: Vec<Machine>,
    store: ModelStore,
    dice: Dice,
    now: Moment,
    late: usize,
}

impl World {
    /// Some machines, a store, nothing running.
    pub fn new(seed: u64) -> World {
        let mut dice = Dice::new(seed);
        let machines = (1..=2 + dice.below(4)).map(|i| Machine::new(i as u8, dice.next())).collect();
        World { machines, store: ModelStore::new(&network(0), dice.next()), dice, now: Duration::ZERO, late: 30 }
    }

    /// Lets `steps` things happen.
    pub fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            let which = self.dice.below(self.machines.len());
            match self.dice.below(16) {
                0 => self.machines[which].kill(),
                1 => self.machines[which].line.cut ^= true,
                2 => self.machines[which].line.lose_history(),
                3 => self.machines[which].kernel.refuses = self.dice.below(60),
                4 => self.machines[which].kernel.dies_after = Some(self.dice.below(20)),
                5 => self.machines[which].toggle_uplink(self.now),
                6 => self.lose_lease(),
                7..=9 => self.machines[which].tamper(&mut self.dice, self.now),
                10 => self.machines[which].move_address(&mut self.dice, self.now),
                11 => self.machines[which].reboot(),
                12 if self.dice.chance(20) => self.store.configure(&network(self.dice.below(BACKENDS.len()))),
                _ => {}
            }
            self.now += Duration::from_millis(self.dice.below(400) as u64);
            self.turn();
        }
    }

    /// Lets `steps` things happen while the backend is being changed, and nothing breaks that would break it for itself: daemons
    /// die and come back, are cut off, the news are late, kernels refuse, the operator changes their mind. Packets go through
    /// after each of them.
    ///
    /// # Errors
    /// Who sends what to whom, which does not take it.
    pub fn change(&mut self, steps: usize) -> Result<(), String> {
        self.machines.iter_mut().for_each(|machine| machine.kernel.gives_up = true);
        for _ in 0..steps {
            let which = self.dice.below(self.machines.len());
            match self.dice.below(12) {
                0 => self.machines[which].kill(),
                1 => self.machines[which].line.cut ^= true,
                2 => self.machines[which].line.lose_history(),
                3 => self.machines[which].kernel.refuses = self.dice.below(3) * 20,
                4 => self.machines[which].kernel.dies_after = Some(self.dice.below(20)),
                5 => self.store.configure(&network(self.dice.below(BACKENDS.len()))),
                _ => {}
            }
            self.now += Duration::from_millis(self.dice.below(2000) as u64);
            for which in 0..self.machines.len() {
                self.machines[which].turn(&mut self.store, self.now, self.late);
                traffic::check(&self.machines)?;
            }
        }
        Ok(())
    }

    /// Everything works again, and time passes until nothing more is due.
    pub fn calm(&mut self) {
        self.late = 0;
        for machine in &mut self.machines {
            machine.line.cut = false;
            machine.kernel.refuses = 0;
            machine.kernel.dies_after = None;
            if machine.kernel.uplink.is_none() {
                machine.toggle_uplink(self.now);
            }
        }
        for _ in 0..20 {
            self.now += Duration::from_secs(5);
            self.turn();
        }
    }

    /// What must hold after a calm: each kernel is exactly as desired, nothing foreign was touched, no subnet is held
    /// twice, and every node has a path to every other.
    pub fn check(&self) -> Result<(), String> {
        let leases: Vec<_> = self.store.leases().values().collect();
        for (i, a) in leases.iter().enumerate() {
            for b in &leases[i + 1..] {
                if a.subnets().values().any(|x| b.subnets().values().any(|y| x.contains(y) || y.contains(x))) {
                    return Err(format!("{} and {} hold the same", a.node, b.node));
                }
            }
        }
        self.machines.iter().try_for_each(|machine| machine.check(&self.store))?;
        self.check_ways()
    }

    /// And every node has the way of the configuration, and no other.
    fn check_ways(&self) -> Result<(), String> {
        let configured = towpathd::netconf::read(self.store.network(), Division::Claimed).map_err(|e| e.to_string())?;
        for lease in self.store.leases().values() {
            let rollout = lease.rollout.as_ref().ok_or_else(|| format!("{} does not say its way", lease.node))?;
            if !rollout.is_settled() || rollout.main != configured.backend.carrier() {
                return Err(format!("{} has not come to its end: {rollout:?}", lease.node));
            }
        }
        Ok(())
    }

    /// Changes to kernels so far.
    pub fn writes(&self) -> u64 {
        self.machines.iter().map(|machine| machine.kernel.writes).sum()
    }

    /// All daemons are killed and started again, and nothing else happens.
    pub fn restart_all(&mut self) {
        self.machines.iter_mut().for_each(Machine::kill);
        self.calm();
    }

    fn turn(&mut self) {
        for machine in &mut self.machines {
            machine.turn(&mut self.store, self.now, self.late);
        }
    }

    fn lose_lease(&mut self) {
        let keys: Vec<_> = self.store.leases().keys().cloned().collect();
        if let Some(key) = keys.get(self.dice.below(keys.len())) {
            self.store.delete(key);
        }
    }
}

impl Machine {
    fn new(i: u8, seed: u64) -> Machine {
        let link = LinkName::new("eth0").expect("a name");
        let local = addresses(i * 10);
        let on_link = ["192.0.2.0/24", "2001:db8::/64"].map(|net| net.parse::<ipnet::IpNet>().expect("a prefix"));
        let uplink = Uplink {
            link,
            mtu: 1500,
            local,
            public: local,
            on_link: on_link.into_iter().collect(),
            settings: Default::default(),
        };
        let untouched = foreign();
        let name = NodeName::new(&format!("n{i}")).expect("a name");
        let kernel = ModelKernel::new(uplink, untouched.clone(), seed);
        Machine {
            number: i,
            name,
            kernel,
            untouched,
            line: Line::default(),
            daemon: None,
            disk: None,
            spare_uplink: None,
            noticed: None,
        }
    }

    fn kill(&mut self) {
        self.daemon = None;
        let cut = self.line.cut;
        self.line = Line::default();
        self.line.cut = cut;
    }

    /// The kernel forgets everything of ours, the disk does not.
    fn reboot(&mut self) {
        self.kill();
        let names: Vec<_> = self.kernel.ours.links.keys().copied().collect();
        names.iter().for_each(|name| self.kernel.delete_link(*name));
        self.kernel.ours.ruleset = None;
    }

    fn toggle_uplink(&mut self, now: Moment) {
        match self.spare_uplink.take() {
            Some(uplink) => self.kernel.uplink = Some(uplink),
            None => self.spare_uplink = self.kernel.lose_uplink(),
        }
        self.noticed = Some(now);
    }

    fn move_address(&mut self, dice: &mut Dice, now: Moment) {
        let local = addresses(self.number * 10 + dice.below(10) as u8);
        if let Some(uplink) = &mut self.kernel.uplink {
            (uplink.local, uplink.public) = (local, local);
            uplink.mtu = 1400 + dice.below(3) as u32 * 50;
            self.noticed = Some(now);
        }
    }

    /// Somebody deletes or alters one of our objects.
    fn tamper(&mut self, dice: &mut Dice, now: Moment) {
        let ours = &mut self.kernel.ours;
        let links: Vec<_> = ours.links.keys().copied().collect();
        let link = links.get(dice.below(links.len())).copied();
        match dice.below(8) {
            0 => link.into_iter().for_each(|link| self.kernel.delete_link(link)),
            1 => link.into_iter().for_each(|link| {
                self.kernel.flush(link);
                self.kernel.ours.links.entry(link).and_modify(|link: &mut Link| link.up = false);
            }),
            2 => drop(ours.routes.pop_first()),
            3 => drop(ours.nexthops.pop_last().map(|(nexthop, _)| {
                ours.routes.retain(|_, route| route.via != backends::state::Via::Object(nexthop));
            })),
            4 => {
                ours.neighbours
                    .first_entry()
                    .map(|mut entry| entry.insert(Neighbour { mac: Mac([2; 6]), tag: Tag::Ours }));
            }
            5 => {
                let remote = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 250));
                ours.fdb.first_entry().map(|mut entry| entry.insert(Fdb { remote, tag: Tag::Ours }));
            }
            6 => ours.ruleset = None,
            _ => {
                let value = ours.sysctls.first_entry();
                value.into_iter().for_each(|mut value| drop(value.insert("7".to_owned())));
            }
        }
        self.noticed = Some(now);
    }

    fn turn(&mut self, store: &mut ModelStore, now: Moment, late: usize) {
        let (name, disk) = (&self.name, &self.disk);
        let daemon = self.daemon.get_or_insert_with(|| {
            let node = Node::new(identity(name), disk.clone(), None);
            Reconciler::new(node, HEARTBEAT, now)
        });
        if self.noticed.take_if(|since| now > *since).is_some() {
            daemon.look_again();
            daemon.look_at_uplink();
        }
        // Twice: the first exchange brings the network, which lets the node say what it wants.
        for _ in 0..2 {
            let wish = daemon.node.wish();
            for event in self.line.exchange(store, &wish, &self.name, late) {
                daemon.node.on_event(event, now);
            }
            daemon.turn(&mut self.kernel, now);
        }
        if std::mem::take(&mut daemon.node.unsaved) {
            self.disk = Some(daemon.node.last_known());
        }
        if self.kernel.dies_after == Some(0) {
            self.kernel.dies_after = None;
            self.kill();
        }
    }

    fn check(&self, store: &ModelStore) -> Result<(), String> {
        let name = &self.name;
        if self.kernel.foreign != self.untouched {
            return Err(format!("{name}: something foreign was touched"));
        }
        let own = store.leases().values().find(|lease| lease.node == *name);
        let daemon = self.daemon.as_ref().ok_or("no daemon")?;
        let own = own.ok_or_else(|| format!("{name} holds no lease: {:?}", daemon.node))?;
        let cluster = daemon.node.cluster().ok_or_else(|| format!("{name} does not know its cluster"))?;
        // Nobody sends more at a time than the least that a node takes.
        let least = store.leases().values().filter_map(Lease::mtu).min();
        let uplink = self.kernel.uplink.clone();
        let uplink = uplink.map(|uplink| Uplink { mtu: least.unwrap_or(uplink.mtu).min(uplink.mtu), ..uplink });
        if cluster.own.endpoints != own.endpoints || Some(&cluster.uplink) != uplink.as_ref() {
            let rollouts: Vec<_> = store.leases().values().map(|lease| (&lease.node, &lease.rollout)).collect();
            return Err(format!("{name} believes in another lease or uplink than it has: {rollouts:?}"));
        }
        let mut table = LeaseTable::default();
        table.replace(store.leases().values().cloned().map(ipam::table::Record::Lease).collect());
        table.set_own(Some(own.key.clone()));
        let desired = Desired::new(cluster, &table);
        let mut wanted = desired.state().clone();
        // A forwarding sysctl stays for ever once set; all others are exactly those of the devices.
        wanted.sysctls.extend(
            self.kernel
                .ours
                .sysctls
                .clone()
                .into_iter()
                .filter(|(p, _)| !wanted.sysctls.contains_key(p))
                .collect::<Vec<_>>(),
        );
        if self.kernel.ours != wanted {
            return Err(format!("{name} has\n{}\nwants\n{wanted}", self.kernel.ours));
        }
        let others = store.leases().values().filter(|lease| lease.node != *name);
        let unreachable = others
            .flat_map(|lease| lease.subnets().values().copied().collect::<Vec<_>>())
            .find(|net| !self.kernel.ours.routes.contains_key(&backends::state::RouteKey::new(*net)));
        unreachable.map_or(Ok(()), |net| Err(format!("{name} has no route to {net}")))
    }
}

fn addresses(i: u8) -> Stack<IpAddr> {
    let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(i));
    Stack::Dual { v4: Ipv4Addr::new(192, 0, 2, i).into(), v6: v6.into() }
}

fn identity(name: &NodeName) -> Identity {
    Identity {
        name: name.clone(),
        instance: Instance { alias: "towpath /run/flannel/subnet.env".into(), table: "towpath".into() },
        firewall: Firewall { masquerade: Masquerade::FullyRandom, forward: Forward::Accept },
        own_subnet_route: OwnSubnetRoute::Absent,
        unclaimed: UnclaimedAddresses::Routed,
        masquerade_address: None,
        bgp_as: None,
        labels: Default::default(),
        pods: PodMode::Bridge,
        routes: RouteStyle::Objects,
        division: Division::Claimed,
    }
}

/// Somebody else's objects; a change that names any of them would show.
fn foreign() -> KernelState {
    let mut state = KernelState::default();
    let link = LinkName::new("vxlan7").expect("a name");
    let mac = Mac([2, 0, 0, 0, 0, 7]);
    let key = backends::state::FdbKey { link, mac };
    state.fdb.insert(key, Fdb { remote: IpAddr::V4(Ipv4Addr::LOCALHOST), tag: Tag::Adopted });
    state
}
