//! THE TASKS of the process, all of them:
//!
//! ```text
//!   store (task) ────── events, 64 ──────▶┌───────────┐
//!                ◀───── wish, latest ─────│           │──▶ netlink, in place
//!   notices (thread) ── notices, 64 ─────▶│ node loop │──▶ subnet.env, in place
//!   http (task) ─────── asks, 16 ────────▶│  (main)   │──▶ state file, blocking pool
//!   status socket (task) asks, 16 ───────▶└───────────┘
//!                                               ▲ SIGTERM, SIGINT; timers
//! ```
//!
//! One thread runs them all but the notices. The loop owns the facts and the kernel; nobody else changes either.
//! Channels are bounded: when the loop is busy the store's task waits, and the kernel drops notices and says so.

use std::time::{Duration, Instant};

use kernel::notices::{Notice, Notices, Remote};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::ask::{About, Ask, answer};
use crate::config::{Settings, StoreSettings};
use crate::device_lock::{DeviceLockError, DeviceLocks};
use crate::files::Files;
use crate::hand::Hand;
use crate::identity::Identity;
use crate::node::Node;
use crate::reconcile::Reconciler;
use crate::store::talk::{self, NodeEnd};
use crate::store::{Event, Store, Wish};
use crate::table_choice::Chosen;
use crate::{http, notify_socket, state_file, status_socket, subnet_file};

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
    /// A device is another daemon's.
    #[error(transparent)]
    Device(#[from] DeviceLockError),
}

/// A look at the whole without a reason is at least this rare: notices bring the reasons.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// From so many leases on the memory of a look is worth giving back.
const MANY: usize = 1000;

/// Runs until a signal says stop. The kernel's state is left as it is.
///
/// # Errors
/// [`RunError`].
pub async fn run(settings: Settings) -> Result<(), RunError> {
    if !kernel::inventory::net_admin() {
        return Err(RunError::NoPermission);
    }
    let (mut daemon, mut notices) = Daemon::new(&settings)?;
    let (NodeEnd { wishes: wish, mut events, .. }, end) = talk::ends(Wish::Watch);
    tokio::spawn(Store::new(&settings.store, &settings.node, settings.lease_renew_margin).run(end));
    let (ask, mut asks) = mpsc::channel::<Ask>(16);
    serve(&settings, &ask);
    let mut stop = Stop::new().map_err(RunError::Signals)?;
    loop {
        let due = tokio::time::sleep_until(daemon.due().into());
        tokio::select! {
            biased;
            () = stop.asked() => break,
            Some(event) = events.recv() => daemon.hear(event, &mut events),
            Some(seen) = notices.recv() => daemon.notice(&seen),
            Some(Ask { question, answer: reply }) = asks.recv() => {
                let said = answer(question, &mut daemon.reconciler, &mut daemon.kernel, &daemon.about);
                if reply.send(said).is_err() {
                    tracing::debug!("whoever asked did not wait for the answer");
                }
            }
            () = due => {}
        }
        daemon.turn(&wish)?;
    }
    notify_socket::stopping();
    daemon.files.finish(&mut daemon.reconciler).await;
    tracing::info!("stopped; pods keep their network, the kernel's state is left as it is");
    Ok(())
}

/// What the node loop owns.
struct Daemon {
    began: Instant,
    reconciler: Reconciler,
    kernel: Hand,
    remote: Remote,
    /// Sysctls that the notices watch.
    watched: Vec<String>,
    files: Files,
    locks: DeviceLocks,
    /// Holds the lock on the table's name.
    _table: Chosen,
    about: About,
    announced: bool,
}

impl Daemon {
    fn new(settings: &Settings) -> Result<(Daemon, mpsc::Receiver<Vec<Notice>>), RunError> {
        let mut kernel = Hand::open(settings.interface.clone())?;
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
            StoreSettings::Kubernetes(kubernetes) => kubernetes.place(),
        };
        let began = Instant::now();
        let daemon = Daemon {
            began,
            reconciler: Reconciler::new(node, settings.resync.max(HEARTBEAT), Duration::ZERO),
            kernel,
            files: Files::new(settings, owner),
            locks: DeviceLocks::default(),
            _table: table,
            about: About { store, started: began },
            announced: false,
            remote,
            watched: Vec::new(),
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

    /// What the kernel said: only what does not agree with what is desired is a reason to look.
    fn notice(&mut self, seen: &[Notice]) {
        for notice in seen {
            if notice.concerns_uplink() {
                self.reconciler.look_at_uplink();
            }
            if self.reconciler.desired().is_some_and(|desired| !notice.agrees(desired.state())) {
                self.reconciler.look_again();
            }
        }
    }

    fn turn(&mut self, wish: &watch::Sender<Wish>) -> Result<(), RunError> {
        if let Some(network) = self.reconciler.node.network() {
            self.locks.hold(network.backend.devices().values())?;
        }
        let now = self.now();
        let looks = self.reconciler.record.looks;
        self.reconciler.turn(&mut self.kernel, now);
        if self.reconciler.record.looks > looks && self.reconciler.node.table().len() >= MANY {
            kernel::memory::give_back();
        }
        let wanted = self.reconciler.node.wish();
        wish.send_if_modified(|wish| {
            let changed = *wish != wanted;
            *wish = wanted;
            changed
        });
        let sysctls = self.reconciler.scope().map(|scope| &scope.sysctls);
        if let Some(sysctls) = sysctls.filter(|sysctls| **sysctls != self.watched) {
            self.watched.clone_from(sysctls);
            self.remote.watch(&self.watched);
        }
        self.files.keep(&mut self.reconciler, now);
        if !self.announced && crate::ask::reasons_not_ready(&self.reconciler).is_empty() {
            self.announced = true;
            tracing::info!("ready after {} ms", now.as_millis());
            notify_socket::ready();
        }
        Ok(())
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
                Err(error) => tracing::error!("the kernel's notices cannot be read: {error}"),
            }
        }
    };
    std::thread::Builder::new().name("notices".into()).spawn(watch).map_err(RunError::Signals)?;
    Ok(hear)
}

/// Health, metrics and status: the daemon goes on without those that cannot be had.
fn serve(settings: &Settings, ask: &mpsc::Sender<Ask>) {
    if let Some(address) = settings.healthz {
        let ask = ask.clone();
        tokio::spawn(async move {
            if let Err(error) = http::serve(address, ask).await {
                tracing::error!("health and metrics are not served: {error}");
            }
        });
    }
    let (path, ask) = (settings.status_socket.clone(), ask.clone());
    tokio::spawn(async move {
        if let Err(error) = status_socket::serve(&path, ask).await {
            tracing::error!("towpathctl cannot be answered: {error}");
        }
    });
}

/// The signals that end the daemon.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> std::io::Result<Stop> {
        Ok(Stop { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
