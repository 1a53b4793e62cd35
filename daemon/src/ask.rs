//! [`Ask`]: a question that somebody outside has for the run loop, and [`answer`], which is all that the loop does with it.
//!
//! The loop owns the [`Reconciler`] and the kernel, so only it can answer; an answer is plain data. How it is turned into
//! text, JSON or HTTP is the business of those who ask (`status_socket`, `http`), in their own tasks.

mod clock;
#[cfg(test)]
pub(crate) mod fixture;
mod probing;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backends::diff::diff;
use backends::sum::Desired;
use backends::{Backend, Plan};
use tokio::sync::{mpsc, oneshot, watch};

use crate::bgp;
use crate::bgp::views::PeerView;
use crate::explain::Explanation;
use crate::metrics::{Figures, Tunnels};
use crate::netconf::policy::Policies;
use crate::offloads::Report;
use crate::reconcile::{Kernel, Reconciler};
use crate::status::{Readiness, RolloutStatus, Status};
use crate::store::talk::Counted;

pub use clock::Clock;
pub use probing::{Probed, Probing};

/// A question with the place where the answer goes.
#[derive(Debug)]
pub struct Ask {
    /// What is asked.
    pub question: Question,
    /// Who asked may be gone by then: nobody misses the answer.
    pub answer: oneshot::Sender<Answer>,
}

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// All that an operator may want to know.
    Status,
    /// What a look at the whole kernel would change now.
    Plan,
    /// Where packets to this address go, and whether the kernel has what that needs.
    Explain(IpAddr),
    /// How far a change of the backend is.
    Rollout,
    /// The BGP policies of the network.
    Policies,
    /// Whether this node is ready for pods.
    Ready,
    /// Figures for Prometheus.
    Metrics,
    /// Give the lease back: not a question, but it comes the same way.
    Release,
    /// Give all nodes new keys: the same.
    RotateKeys,
    /// Try the devices' checksum offload again: the same.
    ProbeOffloads,
}

/// What was found.
#[derive(Debug)]
pub enum Answer {
    /// To [`Question::Status`].
    Status(Box<Status>),
    /// To [`Question::Plan`]; or why there is none.
    Plan(Result<Plan, String>),
    /// To [`Question::Explain`]; or why the kernel could not be asked.
    Explanation(Result<Box<Explanation>, String>),
    /// To [`Question::Rollout`].
    Rollout(Box<RolloutStatus>),
    /// To [`Question::Policies`]; nothing while no network is known.
    Policies(Option<Policies>),
    /// To [`Question::Ready`].
    Ready(Readiness),
    /// To [`Question::Metrics`].
    Metrics(Box<Figures>),
    /// To [`Question::Release`]: what happens now, in one sentence.
    Release(String),
    /// To [`Question::RotateKeys`]: what happens now, in one sentence, or why nothing does.
    RotateKeys(Result<String, String>),
    /// To [`Question::ProbeOffloads`]: what is to be waited for, or why nothing is tried.
    Probing(Result<Probing, String>),
}

/// What the run loop knows of itself beside the reconciler's facts. Made once, at start.
#[derive(Clone, Debug)]
pub struct About {
    /// Where leases are kept, as an operator would say it: `directory /var/lib/towpath/store`.
    pub store: String,
    /// The instant that every [`Moment`](crate::trigger::Moment) is counted from.
    pub started: Instant,
    /// What the store counts, where that is worth a figure.
    pub counted: Option<Arc<Counted>>,
    /// Where the trials of checksum offload are told.
    pub trials: Option<watch::Receiver<Option<Report>>>,
}

/// Answers a question from what is known now; [`Question::Plan`], [`Question::Explain`] and, for sessions, [`Question::Status`] look at the kernel, and
/// none of them changes it.
pub fn answer(question: Question, reconciler: &mut Reconciler, kernel: &mut impl Kernel, about: &About) -> Answer {
    let clock = || Clock::at(about.started.elapsed());
    match question {
        Question::Status => Answer::Status(Box::new(status(reconciler, kernel, about))),
        Question::Plan => Answer::Plan(plan(reconciler, kernel, &clock())),
        Question::Explain(address) => Answer::Explanation(Explanation::new(address, reconciler, kernel).map(Box::new)),
        Question::Rollout => Answer::Rollout(Box::new(RolloutStatus::new(reconciler, &clock()))),
        Question::Policies => Answer::Policies(reconciler.node.network().map(|network| network.policies.clone())),
        Question::Ready => Answer::Ready(Readiness::of(reconciler, &clock())),
        Question::Metrics => {
            let mut figures = Figures::new(reconciler, &clock());
            figures.counts = about.counted.as_ref().map(|counted| counted.now());
            figures.tunnels = tunnels(reconciler, kernel);
            Answer::Metrics(Box::new(figures))
        }
        Question::Release => Answer::Release(release(reconciler)),
        Question::ProbeOffloads => Answer::Probing(Probing::begin(reconciler, about)),
        Question::RotateKeys => Answer::RotateKeys(reconciler.node.rotate_keys()),
    }
}

fn status(reconciler: &Reconciler, kernel: &mut impl Kernel, about: &About) -> Status {
    let status = Status::new(reconciler, &about.store, &Clock::at(about.started.elapsed()));
    let encrypts = |desired: &Desired| matches!(desired.cluster().backend, Backend::WireGuard(_));
    match (reconciler.scope(), reconciler.desired().filter(|desired| encrypts(desired))) {
        // A list that cannot be had is missing here; what is wrong with the kernel is said elsewhere.
        (Some(scope), Some(_)) => {
            let sessions = kernel.sessions(&scope.links).unwrap_or_default();
            status.with_sessions(&sessions, reconciler.node.table())
        }
        _ => status,
    }
}

/// The WireGuard sessions, where there are to be any: also while the backend is being changed.
fn tunnels(reconciler: &Reconciler, kernel: &mut impl Kernel) -> Option<Tunnels> {
    let (scope, desired) = reconciler.scope().zip(reconciler.desired())?;
    let wanted: BTreeSet<_> = desired.state().peers.keys().copied().collect();
    let sessions = (!wanted.is_empty()).then(|| kernel.sessions(&scope.links))?.ok()?;
    Some(Tunnels::new(sessions, &wanted, reconciler.node.table()))
}

/// Why this node is not ready: one sentence each; empty when it is.
pub fn reasons_not_ready(reconciler: &Reconciler, clock: &Clock) -> Vec<String> {
    Readiness::of(reconciler, clock).reasons
}

fn plan(reconciler: &Reconciler, kernel: &mut impl Kernel, clock: &Clock) -> Result<Plan, String> {
    let (Some(desired), Some(scope)) = (reconciler.desired(), reconciler.node.scope()) else {
        let reasons = reasons_not_ready(reconciler, clock).join("; ");
        return Err(format!("there is no plan yet, because it is not known what the kernel should hold: {reasons}"));
    };
    let observed = kernel.observe(&scope).map_err(|reason| format!("the kernel's state cannot be read: {reason}"))?;
    Ok(diff(&observed, desired.state()))
}

fn release(reconciler: &mut Reconciler) -> String {
    reconciler.node.release();
    let name = reconciler.node.name();
    let after = "restart towpathd on it to claim one again";
    match reconciler.node.own() {
        Some(lease) => format!("node {name} gives its lease {} ({}) back; {after}", lease.key, lease.subnets()),
        None => format!("node {name} holds no lease, and claims none from now on; {after}"),
    }
}

/// How long the run loop may take. A look at 15,000 peers takes a tenth of a second; more than this is trouble.
const PATIENCE: Duration = Duration::from_secs(5);

/// Those who are asked.
#[derive(Clone, Debug)]
pub struct Ears {
    /// The run loop.
    pub asks: mpsc::Sender<Ask>,
    /// The BGP speaker, where there is one.
    pub speaker: Option<mpsc::Sender<bgp::question::Question>>,
}

impl Ears {
    /// The BGP peers; none where there is no speaker, or it does not answer, which its log says.
    pub async fn peers_of_bgp(&self) -> Vec<PeerView> {
        let Some(speaker) = &self.speaker else { return Vec::new() };
        let (to, peers) = oneshot::channel();
        let answered = async {
            speaker.send(bgp::question::Question::Peers(to)).await.ok()?;
            peers.await.ok()
        };
        tokio::time::timeout(PATIENCE, answered).await.ok().flatten().unwrap_or_default()
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The run loop has ended.
    #[error("towpathd is stopping and answers no more")]
    Stopping,
    /// The run loop is busy or stuck.
    #[error("towpathd did not answer within {} s: see its log for what it is busy with", PATIENCE.as_secs())]
    Busy,
}

/// Asks the run loop and waits for its answer.
///
/// # Errors
/// [`Unanswered`] when none comes within a few seconds.
pub async fn ask(asks: &mpsc::Sender<Ask>, question: Question) -> Result<Answer, Unanswered> {
    let (sender, receiver) = oneshot::channel();
    let answered = async {
        asks.send(Ask { question, answer: sender }).await.map_err(|_| Unanswered::Stopping)?;
        receiver.await.map_err(|_| Unanswered::Stopping)
    };
    tokio::time::timeout(PATIENCE, answered).await.unwrap_or(Err(Unanswered::Busy))
}

#[cfg(test)]
mod tests;
