//! THE TASKS of the process, all of them:
//!
//! ```text
//!   store (task) ────── events, 64 ──────▶┌───────────┐
//!                ◀──── wish, standing, ───│           │──▶ netlink, in place
//!                      latest; occurrences│ node loop │──▶ subnet.env, in place
//!   notices (thread) ── notices, 64 ─────▶│  (main)   │──▶ state file, blocking pool
//!   net-conf.json (task) texts, 4 ───────▶│           │
//!   installation (task) troubles, latest ▶│           │
//!                ◀───── ready, latest ────│           │
//!   extension (task), offloads (task),    │           │──▶ table of the udp proxy (two threads)
//!   pods' MTU (task)                      │           │
//!       ── report, latest ──▶ ◀── orders ─│           │
//!   http (task) ─────── asks, 16 ────────▶│           │
//!   bgp (thread) ────── learnt, 16 ──────▶│           │
//!                ◀───── wish, latest ─────│           │
//!   status socket (task) asks, 16 ───────▶└───────────┘──▶ questions, 16, to bgp; bgp and bfd (thread) talk by themselves
//!   burial (task), blocking pool ────────▶ netlink, of links that the plugin left
//!                                               ▲ SIGTERM, SIGINT; timers
//! ```
//!
//! One thread runs them all but the notices, BGP with BFD, and the packets of the udp backend. The loop owns the facts and the kernel; nobody else changes either,
//! but for a thread that it sends with long plans of learnt routes (`hand/errand.rs`).
//! Channels are bounded: when the loop is busy the store's task waits, and the kernel drops notices and says so. The task for
//! net-conf.json is there where the store does not keep it, the installation's where it was asked for; the extension's runs the
//! user's commands, where the network has some; that of offloads tries the tunnel's devices out, by a thread now and then.
//!
//! Before the loop: no other process may be this instance (`instance_lock`), and the node's name is known (`node_name`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use backends::Backend;
use backends::state::Scope;
use kernel::notices::{Notice, Notices, Remote};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use crate::ask::{About, Ask, Clock, Ears, answer};
use crate::config::{PeerObjects, Settings, StoreSettings};
use crate::device_lock::{DeviceLockError, DeviceLocks};
use crate::files::Files;
use crate::hand::Hand;
use crate::identity::Identity;
use crate::installation::Troubles;
use crate::instance_lock::InstanceLock;
use crate::net_config_file::Found;
use crate::node::Node;
use crate::occurrences::Occurrences;
use crate::outlets::Outlets;
use crate::reconcile::Reconciler;
use crate::speech::Speech;
use crate::stop::Stop;
use crate::store::talk::{self, NodeEnd};
use crate::store::{Event, Store, Wish};
use crate::table_choice::Chosen;
use crate::{
    burial, extension, http, installation, net_config_file, node_name, notify_socket, offloads, pod_mtu, state_file,
    status_socket, subnet_file,
};

/// Why the daemon cannot run. Everything else is waited for and tried again.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The kernel would refuse everything.
    #[error("towpathd lacks CAP_NET_ADMIN: run it as root, or give the container `capabilities: add: [NET_ADMIN]`")]
    NoPermission,
    /// Netlink or signals could not be had.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// Signals could not be had.
    #[error("signals cannot be received, or threads not be started")]
    Signals(#[source] std::io::Error),
    /// It cannot be told whether this instance runs already.
    #[error("the lock that keeps this instance from running twice cannot be taken")]
    Instance(#[source] std::io::Error),
    /// A device is another daemon's.
    #[error(transparent)]
    Device(#[from] DeviceLockError),
}

/// A look at the whole without a reason is at least this rare: notices bring the reasons.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// From so many leases and learnt routes on the memory of a look is worth giving back.
const MANY: usize = 1000;

/// Runs until a signal says stop. The kernel's state is left as it is.
///
/// # Errors
/// [`RunError`].
pub async fn run(settings: Settings) -> Result<(), RunError> {
    if !kernel::inventory::net_admin() {
        return Err(RunError::NoPermission);
    }
    let mut stop = Stop::new().map_err(RunError::Signals)?;
    let (ask, mut asks) = mpsc::channel::<Ask>(16);
    let (mut speech, questions) = Speech::new();
    let ears = Ears { asks: ask, speaker: Some(questions) };
    let begun = tokio::select! {
        begun = begin(settings, &ears) => begun?,
        () = stop.asked() => return Ok(()),
    };
    let (_instance, settings) = begun;
    let (mut daemon, mut notices) = Daemon::new(&settings)?;
    let (node_end, store_end) = talk::ends(Wish::Watch);
    daemon.about.counted = Some(Arc::clone(&node_end.counted)).filter(|_| settings.store.assigns());
    tokio::spawn(Store::new(&settings.store, &settings.node, settings.lease_renew_margin).run(store_end));
    let NodeEnd { wishes, standing, occurrences, mut events, .. } = node_end;
    let (ready, mut installation) = install(&settings);
    let ((orders, mut commands), (trial, mut trials)) = (extension::start(), offloads::start());
    daemon.about.trials = Some(trials.clone());
    let (pod_mtu, mut pods) = pod_mtu::start(settings.subnet_file.clone());
    let mut outlets =
        Outlets { wishes, standing, occurrences, ready, orders, trial, pod_mtu, said: Occurrences::default() };
    let mut network = follow_network(&settings);
    loop {
        let due = tokio::time::sleep_until(daemon.due().into());
        tokio::select! {
            biased;
            () = stop.asked() => break,
            Some(event) = events.recv() => daemon.hear(event, &mut events),
            Some(found) = network.recv() => daemon.hear_network(found),
            Ok(()) = installation.changed() => {
                daemon.reconciler.record.installation.clone_from(&installation.borrow_and_update());
            }
            Ok(()) = commands.changed() => daemon.reconciler.node.on_commands(commands.borrow_and_update().clone()),
            Ok(()) = trials.changed() => daemon.reconciler.node.on_trial(trials.borrow_and_update().as_ref()),
            Ok(()) = pods.changed() => daemon.reconciler.record.pods = pods.borrow_and_update().all(),
            Some(seen) = notices.recv() => daemon.notice(&seen),
            Some(Ask { question, answer: reply }) = asks.recv() => {
                let said = answer(question, &mut daemon.reconciler, &mut daemon.kernel, &daemon.about);
                if reply.send(said).is_err() {
                    tracing::debug!("whoever asked did not wait for the answer");
                }
            }
            // Behind those who ask: a table of a router's goes on for seconds.
            Some(news) = speech.next() => speech.hear(news, &mut daemon.reconciler),
            () = due => {}
        }
        // First, for a turn may find the node ready, and it is not before the peers that it needs.
        speech.tell(&mut daemon.reconciler).map_err(RunError::Signals)?;
        daemon.turn(&mut outlets)?;
        // Which ends the overlay has may be known only now.
        speech.tell(&mut daemon.reconciler).map_err(RunError::Signals)?;
        // Who asks and what the store says come by other tasks of this thread, and a full table leaves the loop never idle.
        tokio::task::yield_now().await;
    }
    notify_socket::stopping();
    speech.end().await;
    daemon.files.finish(&mut daemon.reconciler).await;
    tracing::info!("stopped; pods keep their network, the kernel's state is left as it is");
    Ok(())
}

/// All that comes before the node loop: this instance alone, with its name. Health is served while that is waited for.
async fn begin(settings: Settings, ears: &Ears) -> Result<(InstanceLock, Settings), RunError> {
    let lock = InstanceLock::hold(&settings.instance).await.map_err(RunError::Instance)?;
    serve(&settings, ears);
    Ok((lock, node_name::learn(settings).await))
}

/// The network's configuration from its file, where the store does not bring it.
fn follow_network(settings: &Settings) -> mpsc::Receiver<Found> {
    let (tell, found) = mpsc::channel(4);
    if !settings.store.keeps_network() {
        tokio::spawn(net_config_file::follow(settings.net_config_path.clone(), tell));
    }
    found
}

/// What the container runtime is given, where that was asked for.
fn install(settings: &Settings) -> (watch::Sender<bool>, watch::Receiver<Troubles>) {
    let (ready, is_ready) = watch::channel(false);
    let (tell, troubles) = watch::channel(Troubles::new());
    if let Some(installation) = settings.installation.clone() {
        tokio::spawn(installation::keep(installation, is_ready, tell));
    }
    (ready, troubles)
}

/// What the node loop owns.
struct Daemon {
    began: Instant,
    reconciler: Reconciler,
    kernel: Hand,
    remote: Remote,
    /// What the notices watch beside the kernel's own words.
    watched: Option<Scope>,
    files: Files,
    locks: DeviceLocks,
    /// Holds the lock on the table's name.
    _table: Chosen,
    about: About,
    announced: bool,
    /// Whether flannel's rules are still to be looked for.
    relieves: bool,
}

impl Daemon {
    fn new(settings: &Settings) -> Result<(Daemon, mpsc::Receiver<Vec<Notice>>), RunError> {
        let mut kernel = Hand::open(settings.interface.clone(), settings.keys.clone(), settings.store.host_settings())?;
        let table = Chosen::new(settings.instance.clone())?;
        let notices = kernel.notices(&table.instance)?;
        let remote = notices.remote();
        let identity = Identity::new(settings, &table.instance, kernel.route_style());
        let owner = state_file::Owner::new(settings);
        let last_known = state_file::load(&settings.state_file, &owner).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            None
        });
        let previous = subnet_file::read(&settings.subnet_file).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            None
        });
        let node = Node::new(identity, last_known, previous.map(|file| file.subnets));
        let store = match &settings.store {
            StoreSettings::Directory { path } => format!("directory {}", path.display()),
            StoreSettings::Etcd(etcd) => format!("etcd {}{}", etcd.endpoints.join(","), etcd.prefix),
            StoreSettings::Kubernetes(kubernetes) => match &kubernetes.peers {
                PeerObjects::Nodes => kubernetes.place(),
                PeerObjects::Leases { namespace } => format!("{}, peers by Leases in {namespace}", kubernetes.place()),
            },
        };
        let began = Instant::now();
        let daemon = Daemon {
            began,
            reconciler: Reconciler::new(node, settings.resync.max(HEARTBEAT), Duration::ZERO),
            kernel,
            files: Files::new(settings, owner),
            locks: DeviceLocks::default(),
            _table: table,
            about: About { store, started: began, counted: None, trials: None },
            announced: false,
            relieves: true,
            remote,
            watched: None,
        };
        Ok((daemon, listen(notices)?))
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn due(&self) -> Instant {
        let due = self.reconciler.due();
        self.began + self.files.due().map_or(due, |files| files.min(due))
    }

    /// One event, and whatever came with it: a burst is one turn.
    fn hear(&mut self, first: Event, more: &mut mpsc::Receiver<Event>) {
        let now = self.now();
        self.reconciler.node.on_event(first, now);
        while let Ok(event) = more.try_recv() {
            self.reconciler.node.on_event(event, now);
        }
    }

    /// What became of net-conf.json.
    fn hear_network(&mut self, found: Found) {
        let now = self.now();
        match found {
            Ok(text) => self.reconciler.node.on_event(Event::Network(text), now),
            Err(reason) => self.reconciler.node.on_network_missing(reason, now),
        }
    }

    /// What the kernel said: only what does not agree with what is desired is a reason to look.
    fn notice(&mut self, seen: &[Notice]) {
        for notice in seen {
            if notice.concerns_uplink() {
                self.reconciler.look_at_uplink();
                // What we put on it goes with its carrier or its address, and the kernel does not say so of next hops
                // (`nexthop_flush_dev`).
                if self
                    .reconciler
                    .desired()
                    .is_some_and(|desired| desired.cluster().backends().any(Backend::uses_uplink))
                    || self.reconciler.node.learns()
                {
                    self.reconciler.look_again();
                }
            }
            if self.reconciler.desired().is_some_and(|desired| !notice.agrees(desired.state())) {
                self.reconciler.look_again();
            }
        }
    }

    fn turn(&mut self, outlets: &mut Outlets) -> Result<(), RunError> {
        self.locks.hold(self.reconciler.node.backends().flat_map(Backend::devices))?;
        let now = self.now();
        let looks = self.reconciler.record.looks;
        self.reconciler.turn(&mut self.kernel, now);
        let many = self.reconciler.node.table().len() + self.reconciler.node.learnt().len() >= MANY;
        if self.reconciler.record.looks > looks && many {
            kernel::memory::give_back();
        }
        if let Some(scope) = self.reconciler.scope().filter(|scope| self.watched.as_ref() != Some(*scope)) {
            self.remote.watch(scope);
            self.watched = Some(scope.clone());
        }
        self.files.keep(&mut self.reconciler, now);
        self.relieve();
        outlets.tell(&self.reconciler, now);
        if !self.announced && crate::ask::reasons_not_ready(&self.reconciler, &Clock::at(now)).is_empty() {
            self.announced = true;
            tracing::info!("ready after {} ms", now.as_millis());
            notify_socket::ready();
        }
        Ok(())
    }
}

impl Daemon {
    /// Flannel's own rules, once ours stand in their place: on a node that was flannel's, and on Kubernetes, where nobody
    /// else's daemon has its chains. Once: one that still runs would put them back as often as we took them.
    fn relieve(&mut self) {
        let record = &mut self.reconciler.record;
        let here = record.found_foreign || self.reconciler.node.assigned();
        if !record.settled || !std::mem::take(&mut self.relieves) || !here {
            return;
        }
        match kernel::nft::predecessor::remove() {
            Ok(removed) => {
                record.found_foreign |= !removed.is_empty();
                removed.iter().for_each(|rules| tracing::info!("flannel's {rules} removed: ours stands in its place"));
            }
            Err(error) => tracing::warn!("{error}; they do what ours do, and go at the next boot"),
        }
    }
}

/// The thread that waits for the kernel's notices. It ends with the process.
fn listen(mut notices: Notices) -> Result<mpsc::Receiver<Vec<Notice>>, RunError> {
    let (tell, hear) = mpsc::channel(64);
    let watch = move || {
        loop {
            match notices.wait(Duration::from_secs(1)) {
                Ok(seen) if seen.is_empty() => {}
                Ok(seen) => {
                    if tell.blocking_send(seen).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!("the kernel's notices cannot be read: {error}");
                    // An error that stays must not take a core and fill a disk; the slow look finds what is missed.
                    #[allow(clippy::disallowed_methods, reason = "there is no condition to wait for")]
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
    };
    std::thread::Builder::new().name("notices".into()).spawn(watch).map_err(RunError::Signals)?;
    Ok(hear)
}

/// Health, metrics and status: the daemon goes on without those that cannot be had, and tries again. Whoever has their place
/// may be about to leave it: a daemon of another kind before a rollout, mostly.
fn serve(settings: &Settings, ears: &Ears) {
    if let Some(address) = settings.healthz {
        let ears = ears.clone();
        tokio::spawn(async move {
            let mut said = None;
            while let Err(error) = http::serve(address, ears.clone()).await {
                complain(&mut said, format!("health and metrics are not served: {error}"));
                sleep(SERVE_AGAIN).await;
            }
        });
    }
    tokio::spawn(async move {
        if let Err(error) = burial::serve().await {
            tracing::info!("the plugin deletes pods' links itself, the slower way: {error}");
        }
    });
    let path = settings.status_socket.clone();
    let ears = ears.clone();
    tokio::spawn(async move {
        let mut said = None;
        while let Err(error) = status_socket::serve(&path, ears.clone()).await {
            complain(&mut said, format!("towpathctl cannot be answered: {error}"));
            sleep(SERVE_AGAIN).await;
        }
    });
}

/// How long until a place that cannot be had is tried again.
const SERVE_AGAIN: Duration = Duration::from_secs(2);

/// Once for each reason.
fn complain(said: &mut Option<String>, sentence: String) {
    if said.as_ref() != Some(&sentence) {
        tracing::error!("{sentence}; it is tried again");
        *said = Some(sentence);
    }
}
