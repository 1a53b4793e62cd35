//! [`Events`]: the store's mouth. It says everything once: what is as it was is not said again, and of several troubles
//! each has its own beginning and end.

use std::collections::BTreeMap;

use ipam::Lease;
use ipam::table::Record;
use tokio::sync::mpsc;

use super::{Event, Instructions};

/// What a trouble is about; the first is the one that an operator should look at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The store cannot be reached or read.
    Reach,
    /// A part of it cannot: the Nodes of others.
    OtherNodes,
    /// A part of it cannot: the objects that tell of others.
    Objects,
    /// The object that tells others of this node cannot be written.
    Object,
    /// There is no configuration of the network in it.
    Network,
    /// This node's own lease cannot be had or kept.
    Claim,
    /// This node's own lease was taken by another; said until ours stands.
    Taken,
}

/// Nobody listens any more.
#[derive(Debug)]
pub struct Closed;

/// The sending half of a store's events, with the memory of what was said.
#[derive(Debug)]
pub struct Events {
    out: mpsc::Sender<Event>,
    network: Option<String>,
    mine: Option<Lease>,
    unassigned: Option<String>,
    /// `None`: nothing was said, not even that there is nothing.
    instructions: Option<Instructions>,
    /// Whether the clocks were said to be apart.
    skewed: bool,
    troubles: BTreeMap<Topic, Event>,
}

impl Events {
    /// Nothing said yet.
    pub fn new(out: mpsc::Sender<Event>) -> Events {
        Events {
            out,
            network: None,
            mine: None,
            unassigned: None,
            instructions: None,
            skewed: false,
            troubles: BTreeMap::new(),
        }
    }

    /// Until nobody listens.
    pub async fn closed(&self) {
        self.out.closed().await;
    }

    /// The network's configuration, if it is another than before.
    pub async fn network(&mut self, text: String) -> Result<(), Closed> {
        self.well(Topic::Network).await?;
        if self.network.as_ref() == Some(&text) {
            return Ok(());
        }
        self.network = Some(text.clone());
        self.say(Event::Network(text)).await
    }

    /// This node's own lease, if it is another than before.
    pub async fn mine(&mut self, lease: Lease) -> Result<(), Closed> {
        self.unassigned = None;
        if self.mine.as_ref() != Some(&lease) {
            self.mine = Some(lease.clone());
            self.say(Event::Mine(lease)).await?;
        }
        self.well(Topic::Claim).await?;
        self.well(Topic::Taken).await
    }

    /// There is no subnet for this node, for this reason; what was held is told anew when it is held again.
    pub async fn unassigned(&mut self, sentence: String) -> Result<(), Closed> {
        self.mine = None;
        if self.unassigned.replace(sentence.clone()).as_ref() == Some(&sentence) {
            return Ok(());
        }
        self.say(Event::Unassigned(sentence)).await
    }

    /// What an operator wrote for this node, if it is something else than before.
    pub async fn instructed(&mut self, instructions: Instructions) -> Result<(), Closed> {
        if self.instructions.replace(instructions.clone()).as_ref() == Some(&instructions) {
            return Ok(());
        }
        self.say(Event::Instructed(instructions)).await
    }

    /// Clocks are apart, as this says, or are not any more: once for each, for the sentence is another every second.
    pub async fn clock(&mut self, apart: Option<String>) -> Result<(), Closed> {
        if self.skewed == apart.is_some() {
            return Ok(());
        }
        self.skewed = apart.is_some();
        self.say(Event::Clock(apart)).await
    }

    /// This node gave its lease back.
    pub async fn released(&mut self) -> Result<(), Closed> {
        (self.mine, self.unassigned) = (None, None);
        self.well(Topic::Claim).await?;
        self.well(Topic::Taken).await?;
        self.say(Event::Released).await
    }

    /// All leases.
    pub async fn snapshot(&mut self, records: Vec<Record>) -> Result<(), Closed> {
        self.say(Event::Snapshot(records)).await
    }

    /// What changed, if anything.
    pub async fn changed(&mut self, records: Vec<Record>) -> Result<(), Closed> {
        if records.is_empty() { Ok(()) } else { self.say(Event::Changed(records)).await }
    }

    /// A trouble begins, or has another reason now.
    pub async fn trouble(&mut self, topic: Topic, sentence: String) -> Result<(), Closed> {
        self.lasting(topic, Event::Trouble(sentence)).await
    }

    /// The same, and the store answers.
    pub async fn refusal(&mut self, topic: Topic, sentence: String) -> Result<(), Closed> {
        self.lasting(topic, Event::Refusal(sentence)).await
    }

    async fn lasting(&mut self, topic: Topic, event: Event) -> Result<(), Closed> {
        if self.troubles.insert(topic, event.clone()).as_ref() == Some(&event) {
            return Ok(());
        }
        self.say(event).await
    }

    /// A trouble is over; what else there is is said again.
    pub async fn well(&mut self, topic: Topic) -> Result<(), Closed> {
        if self.troubles.remove(&topic).is_none() {
            return Ok(());
        }
        let next = self.troubles.values().next().cloned();
        self.say(next.unwrap_or(Event::Well)).await
    }

    async fn say(&mut self, event: Event) -> Result<(), Closed> {
        self.out.send(event).await.map_err(|_| Closed)
    }
}
