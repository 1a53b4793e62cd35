//! [`Register`]: what is known of all nodes from the collections that are followed, and what of it is told.
//!
//! Where Lease objects are followed, a node is told of by its Node as long as that is in [`Collection::OtherNodes`], and else by
//! its Lease object: it is never in neither, because the object is written before the label that takes the Node out. How
//! collections are followed is `watch`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipam::table::Record;
use ipam::{LeaseKey, NodeName, Stack};
use ipnet::IpNet;
use tokio::sync::{Mutex, watch};

use super::annotations;
use super::lease_object;
use super::object::Object;
use super::peers::{Peers, Rival, overlaps};
use super::sight::Sight;
use crate::config::kube::AnnotationPrefix;
use crate::config::{KubernetesSettings, PeerObjects};
use crate::store::events::{Closed, Events, Topic};
use crate::store::talk::Counted;

/// What a watcher follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// All Nodes.
    Nodes,
    /// The Nodes that no Lease object tells of.
    OtherNodes,
    /// Our own Node.
    OwnNode,
    /// The Lease objects.
    Leases,
}

impl Collection {
    /// Those that are to be followed.
    pub fn all(peers: &PeerObjects) -> &'static [Collection] {
        match peers {
            PeerObjects::Nodes => &[Collection::Nodes],
            PeerObjects::Leases { .. } => &[Collection::OwnNode, Collection::OtherNodes, Collection::Leases],
        }
    }

    /// What a trouble with it is about.
    pub fn topic(self) -> Topic {
        match self {
            Collection::Nodes | Collection::OwnNode => Topic::Reach,
            Collection::OtherNodes => Topic::OtherNodes,
            Collection::Leases => Topic::Objects,
        }
    }
}

/// One collection's part.
#[derive(Debug)]
struct Book {
    peers: Peers,
    /// Not told yet.
    news: Vec<Record>,
    /// Whether there was a whole list.
    complete: bool,
    /// Whether our own is in the list that is told.
    own_seen: bool,
}

/// What is known of all nodes.
#[derive(Debug)]
pub struct Register<'a> {
    node: &'a NodeName,
    prefix: &'a AnnotationPrefix,
    events: &'a Mutex<Events>,
    sight: &'a watch::Sender<Sight>,
    counted: Arc<Counted>,
    /// All Nodes, or those that no Lease object tells of.
    nodes: Book,
    own: Book,
    leases: Book,
    /// What Lease objects say of nodes that are told of by their Nodes yet.
    waiting: BTreeMap<LeaseKey, Vec<Record>>,
    /// Whether there was a first snapshot.
    told: bool,
}

impl<'a> Register<'a> {
    /// Nobody is known.
    pub fn new(
        (settings, node): (&'a KubernetesSettings, &'a NodeName),
        events: &'a Mutex<Events>,
        sight: &'a watch::Sender<Sight>,
        counted: &Arc<Counted>,
    ) -> Register<'a> {
        let book = |followed: bool| Book {
            peers: Peers::new(&settings.annotations),
            news: Vec::new(),
            complete: !followed,
            own_seen: false,
        };
        let objects = settings.peers != PeerObjects::Nodes;
        Register {
            node,
            prefix: &settings.annotations,
            events,
            sight,
            counted: Arc::clone(counted),
            nodes: book(true),
            own: book(objects),
            leases: book(objects),
            waiting: BTreeMap::new(),
            told: false,
        }
    }

    fn book(&mut self, of: Collection) -> &mut Book {
        match of {
            Collection::Nodes | Collection::OtherNodes => &mut self.nodes,
            Collection::OwnNode => &mut self.own,
            Collection::Leases => &mut self.leases,
        }
    }

    /// A list begins: what is seen from now on is in it. Subnets must lie in these networks, if that is known.
    pub fn begin_list(&mut self, of: Collection, networks: Option<Stack<IpNet>>) {
        self.counted.list();
        let told = self.told;
        let book = self.book(of);
        if !told {
            // Nothing of a first list was told.
            (book.complete, book.own_seen) = (false, false);
            book.peers.forget();
            book.news.clear();
        }
        book.own_seen = false;
        if let Some(networks) = networks {
            book.peers.fit_in(networks);
        }
        book.peers.begin_list();
    }

    /// An object stands there, as part of a list or not.
    pub fn see(&mut self, of: Collection, object: &Object, listed: Listed) {
        self.counted.notice();
        let own = *object.metadata.name == *self.node.as_str();
        self.book(of).own_seen |= own;
        match of {
            Collection::Nodes | Collection::OwnNode => self.see_node(of, object, (own, listed)),
            // Our own is followed by itself.
            Collection::OtherNodes if own => self.counted.no_change(),
            Collection::OtherNodes => self.see_other(object),
            Collection::Leases => self.see_lease(object, own),
        }
    }

    fn see_node(&mut self, of: Collection, node: &Object, (own, listed): (bool, Listed)) {
        let (told, news) = (self.told, self.book(of).peers.take(node));
        if news.is_none() {
            self.counted.no_change();
        }
        if own {
            let rival = self.rival(node);
            self.sight.send_if_modified(|sight| {
                let changed = sight.rival != rival;
                sight.rival = rival;
                // What is listed is how it is, even if it was newer before.
                sight.node = sight.node.take().filter(|_| listed == Listed::No);
                sight.take(node) || changed
            });
        }
        // Our own is told by the publication, when it is held; but the first list is told whole.
        let records = news.filter(|_| !own || !told).unwrap_or_default();
        self.book(of).news.extend(records);
    }

    fn see_other(&mut self, node: &Object) {
        let Some(mut news) = self.nodes.peers.take(node) else { return self.counted.no_change() };
        let key = LeaseKey::new(&node.metadata.uid);
        // A Node that says nothing any more is heard, and not its Lease object.
        let unsaid = self.told && self.leases.peers.tells_of(&key) && !self.waiting.contains_key(&key);
        if news.is_empty() && unsaid {
            news.push(Record::Gone(key));
        }
        self.nodes.news.append(&mut news);
    }

    fn see_lease(&mut self, object: &Object, own: bool) {
        let Some(node) = lease_object::node(object, self.prefix) else { return self.counted.no_change() };
        if own {
            return self.sight.send_modify(|sight| sight.object = Some(Arc::new(object.clone())));
        }
        let Some(news) = self.leases.peers.take(&node) else { return self.counted.no_change() };
        self.leases.news.extend(news);
    }

    /// A Lease object changed: it may belong to another Node of the same name now.
    pub fn inherit(&mut self, object: &Object) {
        let (Some(uid), name) = (object.metadata.owner.as_deref().map(LeaseKey::new), &object.metadata.name) else {
            return;
        };
        if !self.leases.peers.knows(&uid) {
            for before in self.leases.peers.namesakes(name, &uid) {
                self.forget(Collection::Leases, &before);
            }
        }
    }

    /// An object is gone from a collection; from [`Collection::OtherNodes`] see [`Register::hand_over`].
    pub fn lose(&mut self, of: Collection, object: &Object) {
        self.counted.notice();
        if of == Collection::Leases {
            if *object.metadata.name == *self.node.as_str() {
                return self.sight.send_modify(|sight| sight.object = None);
            }
            let uid = object.metadata.owner.as_deref().unwrap_or_default();
            return self.forget(of, &LeaseKey::new(uid));
        }
        self.forget(of, &LeaseKey::new(&object.metadata.uid));
        self.sight.send_if_modified(|sight| sight.lose(&object.metadata.uid));
    }

    fn forget(&mut self, of: Collection, uid: &LeaseKey) {
        let told = self.told;
        let book = self.book(of);
        if !told {
            // A first list is told whole, so it must not name who has gone meanwhile.
            book.news.retain(|record| record.key() != uid);
        }
        let gone = book.peers.lose(uid.as_str());
        book.news.extend(gone);
    }

    /// Whether it must be looked whether there is a Lease object, before a Node that went out of [`Collection::OtherNodes`] is
    /// told to be gone: the watches of both collections keep no order.
    pub fn is_in_doubt(&self, uid: &LeaseKey) -> bool {
        !self.waiting.contains_key(uid) && (self.nodes.peers.tells_of(uid) || self.leases.peers.knows(uid))
    }

    /// A Node is out of [`Collection::OtherNodes`]: deleted, or told of by a Lease object from now on, perhaps this one.
    pub fn hand_over(&mut self, uid: &LeaseKey, heir: Option<&Object>) {
        self.counted.notice();
        let heir = heir.and_then(|object| lease_object::node(object, self.prefix));
        let heir = heir.filter(|node| *node.metadata.uid == *uid.as_str());
        let networks = self.leases.peers.networks();
        let heir = heir.map(|node| annotations::records(&node, self.prefix, networks)).filter(|all| !all.is_empty());
        if !self.told {
            self.nodes.news.retain(|record| record.key() != uid);
        }
        let gone = self.nodes.peers.lose(uid.as_str());
        match self.waiting.remove(uid).or(heir) {
            Some(mut records) => self.leases.news.append(&mut records),
            None => self.nodes.news.extend(gone),
        }
    }

    /// Who was not in the list of a collection that is whole now; their uids and names.
    pub fn absent(&mut self, of: Collection) -> Vec<(LeaseKey, Box<str>)> {
        self.book(of).peers.absent()
    }

    /// The list is whole: everything in it is known.
    pub async fn end_list(&mut self, of: Collection) -> Result<(), Closed> {
        for (uid, _) in self.absent(of) {
            self.forget(of, &uid);
        }
        self.book(of).complete = true;
        let complete = self.nodes.complete && self.own.complete && self.leases.complete;
        if self.told {
            self.tell().await?;
        } else if complete {
            self.tell_all().await?;
        }
        let own_seen = self.book(of).own_seen;
        // Only now may our own lease be told: a snapshot after it would take its record away.
        self.sight.send_modify(|sight| {
            sight.complete = complete;
            match of {
                Collection::Nodes | Collection::OwnNode if !own_seen => sight.node = None,
                Collection::Leases if !own_seen => sight.object = None,
                _ => {}
            }
        });
        Ok(())
    }

    async fn tell_all(&mut self) -> Result<(), Closed> {
        self.told = true;
        if self.own.peers.count() > 0 {
            let (apart, others) = (self.leases.peers.count(), self.nodes.peers.count());
            tracing::info!(
                "{apart} nodes are followed by their Lease objects, and {others} that have none by their Nodes"
            );
        }
        let mut news = self.news();
        news.shrink_to_fit();
        self.look_for_rivals(&news);
        self.events.lock().await.snapshot(news).await
    }

    /// Tells what is new, but of the first lists nothing before they are whole.
    pub async fn tell(&mut self) -> Result<(), Closed> {
        if !self.told {
            return Ok(());
        }
        let news = self.news();
        if news.is_empty() {
            return Ok(());
        }
        self.look_for_rivals(&news);
        self.events.lock().await.changed(news).await
    }

    /// How much there is to tell.
    pub fn untold(&self) -> usize {
        self.nodes.news.len() + self.leases.news.len()
    }

    /// Takes what is new, without what Lease objects say of who is told of by his Node.
    fn news(&mut self) -> Vec<Record> {
        let mut news = std::mem::take(&mut self.nodes.news);
        news.append(&mut self.own.news);
        for record in std::mem::take(&mut self.leases.news) {
            let key = record.key();
            if !self.nodes.peers.knows(key) {
                news.push(record);
            } else if matches!(record, Record::Gone(_)) {
                self.waiting.remove(key);
            } else {
                // A lease, and perhaps what is wrong with a family of it.
                let said = self.waiting.entry(key.clone()).or_default();
                let lease = matches!(record, Record::Lease(_));
                said.retain(|before| !lease && matches!(before, Record::Lease(_)));
                said.push(record);
            }
        }
        news
    }

    /// Whether some node would be judged otherwise, now that subnets must lie in something else; then all are listed again.
    pub fn is_unsettled(&mut self, of: Collection, networks: Stack<IpNet>) -> bool {
        self.book(of).peers.fit_in(networks)
    }

    fn rival(&self, own: &Object) -> Option<Rival> {
        let everybody = self.nodes.peers.rival(own, |_| true);
        everybody.or_else(|| self.leases.peers.rival(own, |uid| !self.nodes.peers.knows(uid)))
    }

    /// Looks whether another node's subnets overlap ours, where what is new may have changed that.
    fn look_for_rivals(&self, news: &[Record]) {
        let (node, rival) = {
            let seen = self.sight.borrow();
            (seen.node.clone(), seen.rival.clone())
        };
        let Some(node) = node else { return };
        let Ok(Some(own)) = annotations::subnets(&node) else { return };
        let near = |record: &Record| match record {
            Record::Lease(lease) => lease.subnets().values().any(|subnet| overlaps(subnet, &own)),
            Record::Garbage(..) | Record::Gone(_) => false,
        };
        if rival.is_some() || news.iter().any(near) {
            let now = self.rival(&node);
            self.sight.send_if_modified(|sight| {
                let changed = sight.rival != now;
                sight.rival = now;
                changed
            });
        }
    }
}

/// Whether an object is seen as part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// It is.
    Yes,
    /// It came or changed.
    No,
}
