//! [`Lab`]: the whole, made of namespaces, gone when it is dropped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use ipam::Stack;
use ipnet::IpNet;

use crate::ground::Ground;
use crate::node::Node;
use crate::prerequisites::check_machine;
use crate::record::{Record, sweep};
use crate::spawner::Life;
use crate::station::Station;
use crate::switch::{Passage, Switch};

/// The first node's number on the underlay; those before it are for the switch and for who else wants one.
const FIRST_NODE: u8 = 11;

/// A set of nodes on one underlay. Everything in it ends when this value is dropped, in a panic too; after a `kill -9`
/// it is removed by the next [`Lab::new`] of any process on the machine.
///
/// Any number of labs may exist side by side, in one process and in many.
pub struct Lab {
    ground: Arc<Ground>,
    switch: Switch,
    /// The number of the next node on the underlay.
    next: Mutex<u8>,
}

/// How a node is connected to the underlay.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// Octets.
    pub mtu: u32,
    /// Addresses instead of the next free ones.
    pub addresses: Option<Stack<IpNet>>,
    /// Where the default routes go.
    pub default_route: DefaultRoute,
}

/// Where a node's default routes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultRoute {
    /// To the switch, `.1`: how daemons find the uplink.
    Switch,
    /// There are none.
    Absent,
}

impl Default for Uplink {
    /// 1500 octets, the next addresses, default routes to the switch.
    fn default() -> Uplink {
        Uplink { mtu: 1500, addresses: None, default_route: DefaultRoute::Switch }
    }
}

impl Lab {
    /// Makes an empty lab with its switch, after removing what dead processes left. The name (a–z, 0–9) is part of
    /// its id, and so of the names of its namespaces.
    ///
    /// # Errors
    /// What the machine lacks: root, a capability, a package.
    pub fn new(name: &str) -> Result<Lab> {
        Lab::create(name, Life::WithOwner)
    }

    /// Like [`Lab::new`], but it stays when it is dropped and when the process ends, its programs running, until
    /// [`crate::remove_lab`].
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn to_keep(name: &str) -> Result<Lab> {
        Lab::create(name, Life::BeyondOwner)
    }

    fn create(name: &str, life: Life) -> Result<Lab> {
        check_machine()?;
        if let Err(error) = sweep() {
            eprintln!("netns-harness: {error:#}");
        }
        let ground = Ground::new(Record::write(name, next_number(), life)?);
        let switch = Switch::create(&ground).or_else(|error| {
            ground.remove()?;
            Err(error)
        })?;
        Ok(Lab { ground, switch, next: Mutex::new(FIRST_NODE) })
    }

    /// Adds a node: a namespace with `eth0` on the underlay, at the next free addresses (192.0.2.11, 2001:db8::11 …).
    ///
    /// # Errors
    /// When the name is taken or too long, or the underlay is full.
    pub fn node(&self, name: &str) -> Result<Node> {
        self.node_with(name, Uplink::default())
    }

    /// Adds a node that is connected in another way.
    ///
    /// # Errors
    /// As [`Lab::node`].
    pub fn node_with(&self, name: &str, uplink: Uplink) -> Result<Node> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        // The port on the switch has the node's name: IFNAMSIZ.
        ensure!(
            (1..=15).contains(&name.len()) && name.chars().all(plain),
            "`{name}` is not 1 to 15 letters, digits, `-`"
        );
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *next;
        *next = number.checked_add(1).filter(|number| *number < 255).context("the underlay is full")?;
        Node::create(&self.ground, &self.switch, name, (number, uplink))
    }

    /// Adds a namespace that is connected to nothing.
    ///
    /// # Errors
    /// When the name is taken.
    pub fn station(&self, name: &str) -> Result<Station> {
        Station::create(&self.ground, name)
    }

    /// Stops all frames between two nodes.
    ///
    /// # Errors
    /// When `nft` is missing or refuses.
    pub fn partition(&self, one: &Node, other: &Node) -> Result<()> {
        self.switch.partition([one.wire().port(), other.wire().port()], Passage::Closed)
    }

    /// Lets frames pass between two nodes again.
    ///
    /// # Errors
    /// When `nft` is missing or refuses.
    pub fn join(&self, one: &Node, other: &Node) -> Result<()> {
        self.switch.partition([one.wire().port(), other.wire().port()], Passage::Open)
    }

    /// The underlay.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// The id: what the names of its namespaces begin with, what [`crate::remove_lab`] takes.
    pub fn id(&self) -> &str {
        self.ground.id()
    }

    /// A directory for the lab's files, gone with it.
    pub fn directory(&self) -> &Path {
        self.ground.directory()
    }

    /// Makes a directory in which daemons keep their leases, with the network's configuration beside them.
    ///
    /// # Errors
    /// When there is one already.
    pub fn store_directory(&self, configuration: &str) -> Result<PathBuf> {
        let directory = self.directory().join("store");
        std::fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        std::fs::write(directory.join("net-conf.json"), configuration)?;
        Ok(directory)
    }

    /// The names of its namespaces, sorted.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn namespaces(&self) -> Result<Vec<String>> {
        let namespaces = crate::record::namespaces(self.id())?;
        let mut names: Vec<String> = namespaces.iter().map(|namespace| namespace.name().to_owned()).collect();
        names.sort();
        Ok(names)
    }

    /// Ends it, kept or not, and says what could not be removed. A drop does the same and can only print it.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn remove(self) -> Result<()> {
        self.ground.remove()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.ground.kept() {
            return;
        }
        if let Err(error) = self.ground.remove() {
            eprintln!("netns-harness: {error:#}");
        }
    }
}

/// Labs of one process are numbered.
fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
