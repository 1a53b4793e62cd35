//! [`Node`]: a daemon's place in these tests: it wishes, listens, and keeps what it heard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ipam::table::Record;
use ipam::{BackendData, Family, Lease, LeaseKey, Mac, NodeName, Pool, Stack};
use ipnet::IpNet;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
use towpathd::store::talk::{self, Counted, Counts, NodeEnd, Occurrence, Standing};
use towpathd::store::{Claim, Event, Instructions, Published, Store, Wish};

/// How long something may take that should take milliseconds: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub const NETWORK: &str = r#"{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}"#;

pub struct Node {
    pub wishes: watch::Sender<Wish>,
    events: mpsc::Receiver<Event>,
    pub network: Option<String>,
    pub mine: Option<Lease>,
    pub records: BTreeMap<LeaseKey, Record>,
    /// What is wrong with leases that are good for something all the same.
    flaws: BTreeMap<LeaseKey, Record>,
    pub trouble: Option<String>,
    pub unassigned: Option<String>,
    pub instructions: Instructions,
    /// Everything heard, in short.
    pub log: Vec<String>,
    running: tokio::task::JoinHandle<()>,
    rest: (watch::Sender<Standing>, mpsc::Sender<Occurrence>, Arc<Counted>),
}

impl Node {
    pub fn start(store: Store) -> Node {
        Node::start_with(store, Wish::Watch)
    }

    pub fn start_with(store: Store, wish: Wish) -> Node {
        let (NodeEnd { wishes, standing, occurrences, events, counted }, end) = talk::ends(wish);
        let running = tokio::spawn(store.run(end));
        let (network, mine, trouble, unassigned) = (None, None, None, None);
        let (records, flaws, instructions) = (BTreeMap::new(), BTreeMap::new(), Instructions::default());
        let log = Vec::new();
        let rest = (standing, occurrences, counted);
        Node { wishes, events, network, mine, records, flaws, trouble, unassigned, instructions, log, running, rest }
    }

    /// A node that holds a lease.
    pub async fn holding(store: Store, claim: Claim) -> Node {
        let mut node = Node::start_with(store, Wish::Hold(claim));
        node.until("a lease of its own", |node| node.mine.is_some()).await;
        node
    }

    pub fn wish(&self, wish: Wish) {
        self.wishes.send(wish).unwrap();
    }

    pub fn stand(&self, standing: Standing) {
        self.rest.0.send(standing).unwrap();
    }

    pub fn occur(&self, occurrence: Occurrence) {
        self.rest.1.try_send(occurrence).unwrap();
    }

    pub fn counted(&self) -> Counts {
        self.rest.2.now()
    }

    /// Ends the store at once, as a kill would.
    pub fn kill(self) {
        self.running.abort();
    }

    /// Listens until something is so.
    pub async fn until(&mut self, what: &str, so: impl Fn(&Node) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            let event = timeout_at(deadline, self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("waited in vain for {what}; heard {:#?}", self.log));
            self.hear(event.unwrap_or_else(|| panic!("the store ended while waiting for {what}")));
        }
    }

    /// The next event.
    pub async fn next(&mut self) -> Event {
        let event = timeout_at(Instant::now() + PATIENCE, self.events.recv()).await;
        let event = event.unwrap_or_else(|_| panic!("nothing more is told; heard {:#?}", self.log)).unwrap();
        self.hear(event.clone());
        event
    }

    /// What was told already and not listened to yet.
    pub fn heard_already(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            self.hear(event.clone());
            all.push(event);
        }
        all
    }

    fn hear(&mut self, event: Event) {
        self.log.push(match &event {
            Event::Snapshot(records) => format!("snapshot of {}", records.len()),
            other => format!("{other:?}").chars().take(600).collect(),
        });
        match event {
            Event::Network(text) => self.network = Some(text),
            Event::Mine(lease) => (self.mine, self.unassigned) = (Some(lease), None),
            Event::Released => self.mine = None,
            Event::Unassigned(sentence) => (self.mine, self.unassigned) = (None, Some(sentence)),
            Event::Instructed(instructions) => self.instructions = instructions,
            Event::Snapshot(records) => {
                (self.records, self.flaws) = (BTreeMap::new(), BTreeMap::new());
                records.into_iter().for_each(|record| self.take(record));
            }
            Event::Changed(records) => {
                records.into_iter().for_each(|record| self.take(record));
            }
            Event::Trouble(sentence) | Event::Refusal(sentence) => self.trouble = Some(sentence),
            Event::Clock(_) => {}
            Event::Well => self.trouble = None,
        }
    }

    /// As the daemon's table does: what was good of a lease stays.
    fn take(&mut self, record: Record) {
        let key = record.key().clone();
        self.flaws.remove(&key);
        match record {
            Record::Gone(_) => _ = self.records.remove(&key),
            Record::Garbage(..) if matches!(self.records.get(&key), Some(Record::Lease(_))) => {
                self.flaws.insert(key, record);
            }
            record => _ = self.records.insert(key, record),
        }
    }

    pub fn lease(&self) -> &Lease {
        self.mine.as_ref().unwrap()
    }

    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.records.values().filter_map(|record| match record {
            Record::Lease(lease) => Some(lease),
            _ => None,
        })
    }

    /// The leases of which nothing wrong was told.
    pub fn sound_leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases().filter(|lease| !self.flaws.contains_key(&lease.key))
    }

    /// The lease of a node, as it was told.
    pub fn lease_of(&self, name: &str) -> Option<&Lease> {
        self.leases().find(|lease| lease.node.as_str() == name)
    }

    pub fn garbage(&self) -> Vec<&str> {
        let reasons = self.records.values().chain(self.flaws.values()).map(|record| match record {
            Record::Garbage(_, reason) => Some(reason.as_str()),
            _ => None,
        });
        reasons.flatten().collect()
    }

    pub fn subnet(&self, family: Family) -> IpNet {
        self.lease().subnet(family).unwrap()
    }
}

/// Lets the stores work until something is so that they do not tell.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub fn name(number: u16) -> String {
    format!("node-{number}")
}

pub fn public(number: u16) -> std::net::IpAddr {
    let [high, low] = number.to_be_bytes();
    [192, 168, high, low].into()
}

pub fn mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac([2, 0, 0, 0, high, low])
}

pub fn data(number: u16) -> BackendData {
    BackendData::Vxlan { vni: 1, mac: mac(number) }
}

pub fn pool4() -> Pool {
    let (first, last) = (net("10.244.1.0/24"), net("10.244.255.0/24"));
    Pool { network: net("10.244.0.0/16"), length: 24, first, last }
}

pub fn pool6() -> Pool {
    let (first, last) = (net("fd00:1:0:1::/64"), net("fd00:1:0:ffff::/64"));
    Pool { network: net("fd00:1::/48"), length: 64, first, last }
}

/// A node's claim in the network above.
pub fn claim(number: u16) -> Claim {
    Claim {
        node: NodeName::new(&name(number)).unwrap(),
        pools: Stack::V4(pool4()),
        published: Stack::V4(Published { public: public(number), data: data(number) }),
        previous: None,
        rollout: None,
    }
}

/// The same in both families.
pub fn dual_claim(number: u16) -> Claim {
    let v6 = Published { public: format!("2001:db8::{number:x}").parse().unwrap(), data: data(number) };
    let v4 = Published { public: public(number), data: data(number) };
    let pools = Stack::Dual { v4: pool4(), v6: pool6() };
    Claim { pools, published: Stack::Dual { v4, v6 }, ..claim(number) }
}

/// A claim that held a subnet before.
pub fn claim_before(number: u16, subnet: &str) -> Claim {
    Claim { previous: Some(Stack::V4(net(subnet))), ..claim(number) }
}
