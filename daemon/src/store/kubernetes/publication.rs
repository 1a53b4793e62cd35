//! [`Publication`]: what this node says on its own Node: its annotations and the condition NetworkUnavailable, in one patch, sent
//! only when something differs, and again whenever somebody takes it away. Flannel's rights suffice (patch nodes/status). With
//! `--peer-objects=leases` it says the same in its Lease object, first.
//!
//! What there is to say is decided by `decision`.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use ipam::table::Record;
use ipam::{Family, Lease, LeaseKey, NodeName, Stack};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep};

use super::annotations::subnets;
use super::client::{Client, Question};
use super::decision::{Decision, Outcome, Patch, decide};
use super::failure::Failure;
use super::lease_object::{self, LeaseObject};
use super::object::Object;
use super::sight::Sight;
use crate::config::{KubernetesSettings, PeerObjects};
use crate::store::Wish;
use crate::store::events::{Closed, Events, Topic};
use crate::store::talk::Standing;
use crate::store::terms::Backoff;

/// Patches that follow one another faster than this are somebody's quarrel with us, and get slower.
const QUIET: Duration = Duration::from_secs(10);
/// The longest answer to a patch that is taken: the whole Node.
const LONGEST: usize = 16 << 20;

/// Says on the own Node what is to be said there.
pub struct Publication<'a> {
    /// Over which it asks.
    pub client: Client,
    /// The own Node's name.
    pub node: &'a NodeName,
    /// What of it is wanted.
    pub settings: &'a KubernetesSettings,
    /// For people: where the API is.
    pub place: String,
    /// Where everything is told.
    pub events: &'a Mutex<Events>,
    /// What is seen of the own Node.
    pub sight: &'a watch::Sender<Sight>,
    /// What the node wishes.
    pub wishes: watch::Receiver<Wish>,
    /// How it stands.
    pub standing: watch::Receiver<Standing>,
}

impl Publication<'_> {
    /// Goes on until nobody listens.
    pub async fn run(mut self) {
        if self.publish().await.is_err() {
            tracing::debug!("nobody listens to the store any more");
        }
    }

    async fn publish(&mut self) -> Result<(), Closed> {
        let mut seen = self.sight.subscribe();
        let (mut backoff, mut last, mut rested) = (Backoff::default(), None::<Instant>, false);
        let mut object = ObjectTurn::default();
        // The lease that was told, or that it was given back.
        let mut told: Option<Record> = None;
        loop {
            let sight = seen.borrow_and_update().clone();
            let decision = {
                let (wish, standing) = (self.wishes.borrow_and_update(), self.standing.borrow_and_update());
                decide(&sight, (&wish, &standing), (self.settings, self.node))
            };
            if let Some(instructions) = decision.instructions.clone().filter(|_| sight.complete) {
                self.events.lock().await.instructed(instructions).await?;
            }
            if let Some(wanted) = decision.object.as_ref().filter(|_| object.is_due()) {
                self.apply(wanted, &mut object).await?;
                continue;
            }
            let Some(patch) = &decision.patch else {
                self.events.lock().await.well(Topic::Claim).await?;
                self.tell(&decision, &mut told).await?;
                let due = object.due.filter(|_| decision.object.is_some());
                self.change(&mut seen, due).await;
                continue;
            };
            if last.is_none_or(|last| last.elapsed() >= QUIET) {
                backoff = Backoff::default();
            } else if !std::mem::take(&mut rested) {
                sleep(backoff.pause()).await;
                // What is to be said may be something else by now.
                rested = true;
                continue;
            }
            (last, rested) = (Some(Instant::now()), false);
            match self.send(patch).await {
                Ok(node) => {
                    self.events.lock().await.well(Topic::Claim).await?;
                    self.sight.send_if_modified(|sight| sight.take(&node));
                }
                Err(failure) => {
                    let sentence = format!("{}: node {} cannot be updated: {failure}", self.place, self.node);
                    failure.tell(&mut *self.events.lock().await, Topic::Claim, sentence).await?;
                    sleep(Backoff::default().pause().max(failure.retry_after().unwrap_or_default())).await;
                }
            }
        }
    }

    /// What is true now, once: first our own lease, then the record of it.
    async fn tell(&self, decision: &Decision, told: &mut Option<Record>) -> Result<(), Closed> {
        let mut events = self.events.lock().await;
        match &decision.outcome {
            Outcome::Nothing => Ok(()),
            Outcome::Held(lease) => {
                events.mine(lease.clone()).await?;
                let record = Record::Lease(lease.clone());
                if told.as_ref() == Some(&record) {
                    return Ok(());
                }
                *told = Some(record.clone());
                self.warn_of_absent_families(lease);
                events.changed(vec![record]).await
            }
            Outcome::Unassigned(sentence) => events.unassigned(sentence.clone()).await,
            Outcome::Released(uid) => {
                let gone = Record::Gone(LeaseKey::new(uid));
                if told.as_ref() == Some(&gone) {
                    return Ok(());
                }
                *told = Some(gone.clone());
                events.released().await?;
                events.changed(vec![gone]).await
            }
        }
    }

    /// A network of two families on a Node with one podCIDR, or the other way round, is half a network: worth a line, not a
    /// trouble.
    fn warn_of_absent_families(&self, lease: &Lease) {
        let Wish::Hold(claim) = &*self.wishes.borrow() else { return };
        let all = self.sight.borrow().node.as_deref().and_then(|node| subnets(node).ok().flatten());
        for (family, subnet) in all.iter().flat_map(Stack::iter).filter(|(family, _)| !claim.pools.has(*family)) {
            tracing::warn!(
                "node {} has the podCIDR {subnet}, but its pods get no {family} address: {}",
                self.node,
                match family {
                    Family::V4 => "net-conf.json has no Network (EnableIPv4), or the uplink no address",
                    Family::V6 => "net-conf.json has no IPv6Network (EnableIPv6), or the uplink no address",
                }
            );
        }
        for (family, pool) in claim.pools.iter().filter(|(family, _)| !lease.endpoints.has(*family)) {
            let network = pool.network;
            tracing::warn!(
                "node {} has no usable {family} podCIDR, so its pods get no {family} address: the network is {network}, give \
                 kube-controller-manager a --cluster-cidr of both families",
                self.node
            );
        }
    }

    /// Until something may have to be said, or at a time.
    async fn change(&mut self, seen: &mut watch::Receiver<Sight>, due: Option<Instant>) {
        let rest = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = rest => {}
            () = changed(seen) => {}
            () = changed(&mut self.wishes) => {}
            () = changed(&mut self.standing) => {}
        }
    }

    /// Makes the own Lease object what it should be. Peers are led to the Node while the API server does not take it.
    async fn apply(&mut self, wanted: &LeaseObject, turn: &mut ObjectTurn) -> Result<(), Closed> {
        let PeerObjects::Leases { namespace } = &self.settings.peers else { return Ok(()) };
        let path = format!("{}/{}?fieldManager=towpathd&force=true", lease_object::path(namespace), self.node);
        let body = Some(("application/apply-patch+yaml", wanted.body(self.node).to_string()));
        match self.ask(Question { method: Method::PATCH, path, body }).await {
            Ok(object) => {
                turn.rest(Duration::ZERO);
                self.sight.send_modify(|sight| (sight.object, sight.refused) = (Some(Arc::new(object)), false));
                self.events.lock().await.well(Topic::Object).await
            }
            Err(failure) => {
                turn.rest(failure.retry_after().unwrap_or_default());
                self.sight.send_modify(|sight| sight.refused |= failure.is_refusal());
                let sentence = format!(
                    "{}: the Lease object of node {} in namespace {namespace} cannot be written, so peers \
                     are told by the Node alone: {failure}",
                    self.place, self.node
                );
                failure.tell(&mut *self.events.lock().await, Topic::Object, sentence).await
            }
        }
    }

    /// Sends a patch. Gives the Node as it is then.
    async fn send(&mut self, patch: &Patch) -> Result<Object, Failure> {
        let body = Some(("application/strategic-merge-patch+json", patch.body()));
        let path = format!("/api/v1/nodes/{}/status", self.node);
        self.ask(Question { method: Method::PATCH, path, body }).await
    }

    /// Asks, and reads the object that is the answer.
    async fn ask(&mut self, question: Question) -> Result<Object, Failure> {
        let body = self.client.ask(&question).await?.whole(LONGEST).await?;
        serde_json::from_slice(&body).map_err(|error| Failure::Unreadable(error.to_string()))
    }
}

/// When the own Lease object may be written again: at once, but not again and again.
#[derive(Debug, Default)]
struct ObjectTurn {
    backoff: Backoff,
    last: Option<Instant>,
    due: Option<Instant>,
}

impl ObjectTurn {
    fn is_due(&self) -> bool {
        self.due.is_none_or(|due| due <= Instant::now())
    }

    /// It was tried; the server wants to be left alone for so long.
    fn rest(&mut self, at_least: Duration) {
        let now = Instant::now();
        if self.last.is_none_or(|last| now - last >= QUIET) {
            self.backoff = Backoff::default();
        }
        (self.last, self.due) = (Some(now), Some(now + self.backoff.pause().max(at_least)));
    }
}

/// Until there is another value; for ever when nobody is there any more to give one.
async fn changed<T>(value: &mut watch::Receiver<T>) {
    if value.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}
