//! [`Session`]: what is done over one connection, from the first question to the last word: the network's configuration, all
//! leases or what changed since, then the watch, and this node's own lease beside it.
//!
//! What outlives a connection is in [`Memory`].

use etcd_client::{Client, Event as Notice, GetOptions, KeyValue, WatchOptions, WatchResponse, WatchStream};
use ipam::Stack;
use ipam::table::Record;
use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::claim::{Held, Office, Refusal};
use super::failure::Failure;
use super::keys::Keys;
use crate::store::attributes::fit;
use crate::store::events::{Closed, Events, Topic};
use crate::store::known::Known;
use crate::store::terms::{Backoff, Terms};
use crate::store::{Claim, Wish};

/// How many leases are read at once: some hundred kilobytes.
const PAGE: i64 = 2000;
/// The longest answer that is taken, in bytes: far more than leases need, so that somebody's huge values under their prefix
/// end up as garbage and do not keep us from reading the others.
const LARGEST: usize = 64 << 20;
/// What our watches are called on their common stream.
const WATCH_LEASES: i64 = 1;
const WATCH_NETWORK: i64 = 2;

/// What is remembered from one connection to the next.
#[derive(Debug, Default)]
pub struct Memory {
    known: Known,
    /// Which cluster that was, and the revision up to which all changes of leases were told; `None`: list them.
    told: Option<(u64, i64)>,
    networks: Option<Stack<IpNet>>,
    held: Option<Held>,
    /// Whose lease it is that is held, or is being given back.
    claim: Option<Claim>,
    released: bool,
    /// Records of our own key by somebody else's hand: told when it is decided what becomes of it.
    withheld: Vec<Record>,
    /// The last session came as far as watching.
    pub(super) worked: bool,
}

/// Why a session ended.
#[derive(Debug)]
pub enum End {
    /// Nobody listens.
    Closed,
    /// All leases must be listed again; nothing is wrong.
    Again,
    /// Something is.
    Failed(Failure),
}

impl From<Closed> for End {
    fn from(_: Closed) -> End {
        End::Closed
    }
}

impl From<etcd_client::Error> for End {
    fn from(error: etcd_client::Error) -> End {
        End::Failed(Failure::Request(error))
    }
}

/// One connection's work.
pub struct Session<'a> {
    /// The connection.
    pub client: Client,
    /// Where things are.
    pub keys: &'a Keys,
    /// How long leases last.
    pub terms: Terms,
    /// What is remembered.
    pub memory: &'a mut Memory,
    /// Where everything is told.
    pub events: &'a mut Events,
}

impl Session<'_> {
    /// Works until the connection fails or nobody listens.
    pub async fn run(&mut self, wishes: &mut watch::Receiver<Wish>) -> End {
        match self.work(wishes).await {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    async fn work(&mut self, wishes: &mut watch::Receiver<Wish>) -> Result<std::convert::Infallible, End> {
        let network_revision = self.network().await?;
        let listed = self.list().await?;
        let mut watch = match self.watch(network_revision).await {
            Ok(watch) => watch,
            Err(end) => {
                // What was listed is told only when it is watched as well; so it is to be listed again.
                self.memory.told = self.memory.told.filter(|_| listed.is_none());
                return Err(end);
            }
        };
        self.memory.worked = true;
        self.events.well(Topic::Reach).await?;
        let mut backoff = Backoff::default();
        // Our own lease first, so that nobody takes it for a peer's; but if that fails, all leases are told before the end.
        let pursued = self.pursue(wishes, &mut backoff).await;
        if let Some(records) = listed.filter(|_| !matches!(pursued, Err(End::Again))) {
            self.snapshot(records).await?;
        }
        let mut next = pursued?;
        let mut wishing = true;
        loop {
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            let look = tokio::select! {
                biased;
                answer = watch.message() => match answer? {
                    Some(answer) => self.take(&answer).await?,
                    None => return Err(End::Failed(Failure::Watch("the connection was closed".to_owned()))),
                },
                () = due => true,
                changed = wishes.changed(), if wishing => {
                    wishing = changed.is_ok();
                    wishing
                }
                () = self.events.closed() => return Err(End::Closed),
            };
            if look {
                next = self.pursue(wishes, &mut backoff).await?;
            }
        }
    }

    /// Reads the network's configuration. Returns the revision of the answer.
    async fn network(&mut self) -> Result<i64, End> {
        let answer = self.client.get(self.keys.network(), None).await?;
        let (cluster, revision) = answer.header().map_or((0, 0), |header| (header.cluster_id(), header.revision()));
        // Another cluster, or one that was put back to an older state: what we were told is not what is there.
        if self.memory.told.is_some_and(|(of, told)| of != cluster || told > revision) {
            self.memory.told = None;
        }
        self.tell_network(answer.kvs().first().map(|kv| kv.value())).await?;
        Ok(revision)
    }

    async fn tell_network(&mut self, value: Option<&[u8]>) -> Result<(), Closed> {
        match value {
            Some(value) => self.events.network(String::from_utf8_lossy(value).into_owned()).await,
            None => {
                let key = self.keys.network();
                let example = r#"{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}"#;
                let sentence = format!(
                    "etcd has no key {key}: put the network's configuration there, for example `etcdctl put {key} '{example}'`"
                );
                self.events.trouble(Topic::Network, sentence).await
            }
        }
    }

    /// Reads all leases, in pages of one and the same revision; `None` when what is known can be carried on.
    async fn list(&mut self) -> Result<Option<Vec<Record>>, End> {
        if self.memory.told.is_some() {
            return Ok(None);
        }
        let range = self.keys.leases();
        let (mut records, mut start, mut of) = (Vec::new(), range.start, None);
        let mut reader = self.client.kv_client().max_decoding_message_size(LARGEST);
        loop {
            let mut options = GetOptions::new().with_range(range.end.as_slice()).with_limit(PAGE);
            if let Some((_, revision)) = of {
                options = options.with_revision(revision);
            }
            let answer = reader.get(start, Some(options)).await?;
            of = of.or_else(|| answer.header().map(|header| (header.cluster_id(), header.revision())));
            let networks = self.memory.networks.as_ref();
            let record = |kv: &KeyValue| Some(self.keys.record(self.keys.lease_key(kv.key())?, kv, networks));
            records.extend(answer.kvs().iter().filter_map(record));
            match answer.kvs().last() {
                // The next key after any other is that one with a zero byte behind it.
                Some(last) if answer.more() => start = [last.key(), b"\0"].concat(),
                _ => break,
            }
        }
        self.memory.known.replace(&records);
        self.memory.withheld.clear();
        self.memory.told = of;
        Ok(Some(records))
    }

    /// Watches the leases from where they were told, and the configuration from where it was read.
    async fn watch(&mut self, network_revision: i64) -> Result<WatchStream, End> {
        let told = self.memory.told.map_or(0, |(_, revision)| revision);
        let range = self.keys.leases();
        let leases =
            WatchOptions::new().with_watch_id(WATCH_LEASES).with_range(range.end).with_start_revision(told + 1);
        let network = WatchOptions::new().with_watch_id(WATCH_NETWORK).with_start_revision(network_revision + 1);
        let mut watcher = self.client.watch_client().max_decoding_message_size(LARGEST);
        let mut watch = watcher.watch(range.start, Some(leases.with_progress_notify())).await?;
        watch.watch(self.keys.network(), Some(network)).await?;
        Ok(watch)
    }

    /// Tells all leases.
    async fn snapshot(&mut self, records: Vec<Record>) -> Result<(), Closed> {
        let admitted = records.into_iter().filter_map(|record| self.admit(record));
        let present = admitted.filter(|record| !matches!(record, Record::Gone(_))).collect();
        self.events.snapshot(present).await
    }

    /// Takes an answer of the watch in. Whether our own lease must be looked at.
    async fn take(&mut self, answer: &WatchResponse) -> Result<bool, End> {
        if answer.compact_revision() > 0 {
            self.memory.told = None;
            return Err(End::Again);
        }
        if answer.canceled() {
            return Err(End::Failed(Failure::Watch(answer.cancel_reason().to_owned())));
        }
        let (mut records, mut own, mut seen) = (Vec::new(), false, 0);
        for notice in answer.events() {
            let Some(kv) = notice.kv() else { continue };
            let Some(key) = self.keys.lease_key(kv.key()) else {
                self.tell_network(Some(kv.value()).filter(|_| !is_deletion(notice))).await?;
                continue;
            };
            seen = seen.max(kv.mod_revision());
            let record = match is_deletion(notice) {
                true => Record::Gone(key),
                false => self.keys.record(key, kv, self.memory.networks.as_ref()),
            };
            match self.memory.held.as_ref().filter(|held| held.lease.key == *record.key()) {
                // What was before our own last write is past.
                Some(held) if kv.mod_revision() < held.written => {}
                Some(held) if kv.mod_revision() > held.written => {
                    own = true;
                    self.memory.withheld.push(record);
                }
                _ => {
                    own |= self.is_surplus(&record);
                    records.extend(self.admit(record).filter(|record| self.memory.known.learn(record)));
                }
            }
        }
        // An answer without events, if it is not the first, says how far everything has been told.
        let progress = answer.events().is_empty() && !answer.created() && answer.watch_id() == WATCH_LEASES;
        let header = answer.header().filter(|_| progress).map_or(0, etcd_client::ResponseHeader::revision);
        if let Some((_, told)) = &mut self.memory.told {
            *told = (*told).max(seen).max(header);
        }
        self.events.changed(records).await?;
        Ok(own)
    }

    /// A second lease in our own name is not a peer: it is left out, and deleted when our own is looked at.
    fn admit(&mut self, record: Record) -> Option<Record> {
        if !self.is_surplus(&record) {
            return Some(record);
        }
        let shown = self.memory.known.shows(record.key());
        self.memory.known.learn(&record);
        self.memory.known.hide(record.key());
        shown.then(|| Record::Gone(record.key().clone()))
    }

    fn is_surplus(&self, record: &Record) -> bool {
        let Record::Lease(lease) = record else { return false };
        let own = self.memory.claim.as_ref().is_some_and(|claim| claim.is_of(lease));
        own && self.memory.held.as_ref().is_some_and(|held| held.lease.key != lease.key)
    }

    /// Does what the wish asks for. Returns when to look again: to renew, or because it could not be done.
    async fn pursue(
        &mut self,
        wishes: &mut watch::Receiver<Wish>,
        backoff: &mut Backoff,
    ) -> Result<Option<Instant>, End> {
        let wish = wishes.borrow_and_update().clone();
        let released = std::mem::replace(&mut self.memory.released, matches!(wish, Wish::Release));
        let done = match wish {
            Wish::Watch => {
                self.memory.held = None;
                Ok(())
            }
            Wish::Hold(claim) => self.hold(claim).await?,
            Wish::Release if released => Ok(()),
            Wish::Release => self.release().await?,
        };
        let refusal = match done {
            Ok(()) => {
                *backoff = Backoff::default();
                self.tell_withheld().await?;
                let renew = self.memory.held.as_ref().and_then(|held| held.renew);
                return Ok(renew.map(Instant::from_std));
            }
            Err(Refusal::Request(error)) => {
                // It is not known whether the write was done: the next list says.
                self.memory.told = self.memory.told.filter(|_| self.memory.held.is_some());
                return Err(error.into());
            }
            Err(refusal) => refusal,
        };
        self.memory.released = false;
        self.events.trouble(Topic::Claim, refusal.to_string()).await?;
        Ok(Some(Instant::now() + backoff.pause()))
    }

    async fn hold(&mut self, claim: Claim) -> Result<Result<(), Refusal>, End> {
        let networks = claim.pools.map(|_, pool| pool.network);
        if self.memory.networks.as_ref() != Some(&networks) {
            let unsettled = self.memory.known.unsettled_by(|subnets| fit(subnets, Some(&networks)).is_ok());
            self.memory.networks = Some(networks);
            if unsettled {
                self.memory.told = None;
                return Err(End::Again);
            }
        }
        let held = self.memory.held.clone();
        let held = held.filter(|_| self.memory.claim.as_ref().is_some_and(|before| before.node == claim.node));
        self.memory.claim = Some(claim.clone());
        let (held, taken) = match self.office().hold(&claim, held.as_ref()).await {
            Ok(done) => done,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.memory.held = Some(held.clone());
        if let Some(sentence) = taken {
            self.events.trouble(Topic::Taken, sentence).await?;
        }
        self.events.mine(held.lease).await?;
        Ok(Ok(()))
    }

    async fn release(&mut self) -> Result<Result<(), Refusal>, End> {
        let (claim, held) = (self.memory.claim.clone(), self.memory.held.clone());
        if let Some(claim) = claim
            && let Err(refusal) = self.office().release(&claim, held.as_ref()).await
        {
            return Ok(Err(refusal));
        }
        (self.memory.claim, self.memory.held) = (None, None);
        self.events.released().await?;
        Ok(Ok(()))
    }

    /// Tells what was withheld of keys that are not ours any more; what happened to the one that is, is past.
    async fn tell_withheld(&mut self) -> Result<(), Closed> {
        let held = self.memory.held.as_ref().map(|held| held.lease.key.clone());
        let withheld = std::mem::take(&mut self.memory.withheld);
        let others = withheld.into_iter().filter(|record| Some(record.key()) != held.as_ref());
        let news = others.filter(|record| self.memory.known.learn(record)).collect();
        self.events.changed(news).await
    }

    fn office(&mut self) -> Office<'_> {
        Office {
            client: self.client.clone(),
            keys: self.keys,
            terms: self.terms,
            known: &self.memory.known,
            revision: self.memory.told.map_or(0, |(_, revision)| revision),
        }
    }
}

/// A deleted key comes with its name and nothing else: version 0.
fn is_deletion(notice: &Notice) -> bool {
    notice.kv().is_none_or(|kv| kv.version() == 0)
}
