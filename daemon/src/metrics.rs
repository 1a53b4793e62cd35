//! [`Figures`]: what Prometheus is told of this daemon, gathered in the run loop without looking at any single lease, and
//! written by whoever serves it. There is no registry that lives: counters are what `record` counts anyway.
//!
//! Names carry their unit; `process_…` are the names that Prometheus' own clients use.

mod page;
mod process;
mod sessions;
mod tunnels;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipam::{Family, Lease, Stack};
use ipnet::IpNet;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Registry, Unit};

use crate::ask::Clock;
use crate::bfd::Tally;
use crate::bgp::views::PeerView;
use crate::node::Trouble;
use crate::reconcile::Reconciler;
use crate::status::Readiness;
use crate::store::talk::Counts;
use page::Page;
pub use process::Process;
pub use tunnels::Tunnels;

/// The media type of [`Figures::page`] (OpenMetrics 1.0, section "Protocol Negotiation").
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What Prometheus is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    node: String,
    backend: Option<&'static str>,
    own: Option<Stack<IpNet>>,
    leases: u64,
    peers: u64,
    lease_faults: u64,
    changes: u64,
    refusals: u64,
    failing: u64,
    repairs: u64,
    looks: u64,
    /// For how long the backend has been being changed.
    rollout: Option<Duration>,
    /// When the last look was, since 1970.
    last_look: Option<Duration>,
    converged: bool,
    ready: bool,
    /// For how long the store cannot be used.
    store_trouble: Option<Duration>,
    /// What the store counts, where that is worth a figure.
    pub counts: Option<Counts>,
    /// BGP peers, where there are any.
    pub peers_of_bgp: Vec<PeerView>,
    /// What BFD counts, where it is wanted.
    bfd: Option<Arc<Tally>>,
    /// WireGuard sessions, where there are to be any.
    pub tunnels: Option<Tunnels>,
    /// Since 1970.
    now: Duration,
    /// Since 1970.
    started: Duration,
}

impl Figures {
    /// As they are now.
    pub fn new(reconciler: &Reconciler, clock: &Clock) -> Figures {
        let (node, record) = (&reconciler.node, &reconciler.record);
        let own_is_listed = node.table().own().is_some_and(|key| node.table().get(key).is_some());
        let leases = node.table().len() as u64;
        let age = |trouble: &Trouble| clock.age(trouble.since);
        Figures {
            node: node.name().to_string(),
            backend: node.network().map(|network| network.backend.name()),
            own: node.own().map(Lease::subnets),
            leases,
            peers: leases - u64::from(own_is_listed),
            lease_faults: record.complaints.len() as u64,
            changes: record.changes,
            refusals: record.refusals,
            failing: record.failures.len() as u64,
            repairs: record.repaired,
            looks: record.looks,
            rollout: node.changing_since().map(|since| clock.age(since)),
            last_look: record.last_look.map(|at| clock.since_epoch(at)),
            converged: record.converged(),
            ready: Readiness::of(reconciler, clock).ready,
            store_trouble: node.store_trouble.as_ref().map(age),
            counts: None,
            peers_of_bgp: Vec::new(),
            bfd: record.bfd.clone(),
            tunnels: None,
            now: clock.since_epoch(clock.now),
            started: clock.since_epoch(Duration::ZERO),
        }
    }

    /// The page that Prometheus reads, with what the process costs now.
    ///
    /// # Errors
    /// When the writer of the format refuses a name, which is a mistake in this file.
    pub fn page(self, process: Process) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Scrape { figures: self, process }));
        let mut page = String::new();
        encode(&mut page, &registry)?;
        Ok(page)
    }

    fn describe(&self, page: &mut Page) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        page.info("towpath_build", "What runs here", &version)?;
        let backend = self.backend.unwrap_or("none").to_owned();
        page.info("towpath_node", "This node and its backend", &[("node", self.node.clone()), ("backend", backend)])?;
        let subnets = self.own.iter().flat_map(Stack::iter);
        page.flags("towpath_own_lease", "Subnets that this node holds", subnets.map(labels))?;
        page.gauge("towpath_leases", "Leases in the store, this node's own included", self.leases)?;
        page.gauge("towpath_peers", "Leases of other nodes", self.peers)?;
        page.gauge("towpath_lease_faults", "Leases that are not or not wholly usable", self.lease_faults)
    }

    fn report(&self, page: &mut Page) -> fmt::Result {
        page.gauge("towpath_ready", "Whether /readyz says yes", u64::from(self.ready))?;
        page.gauge("towpath_converged", "Whether the kernel holds what it should", u64::from(self.converged))?;
        page.counter("towpath_kernel_changes", "Changes made to the kernel", self.changes)?;
        page.counter("towpath_kernel_refusals", "Changes that the kernel refused", self.refusals)?;
        page.gauge("towpath_kernel_failing", "Changes that the kernel refuses now", self.failing)?;
        page.counter("towpath_repairs", "Things that others broke and that were put back", self.repairs)?;
        page.counter("towpath_looks", "Comparisons of the whole kernel", self.looks)?;
        if let Some(at) = self.last_look {
            page.time("towpath_last_look_timestamp", "When the last of them was, since 1970", at)?;
        }
        let rollout = self.rollout.unwrap_or_default();
        page.gauge(
            "towpath_rollout_active",
            "Whether the backend is being changed",
            u64::from(self.rollout.is_some()),
        )?;
        page.time("towpath_rollout_duration", "For how long it has been, 0 when it is not", rollout)?;
        page.gauge("towpath_store_up", "Whether the store can be used", u64::from(self.store_trouble.is_none()))?;
        let trouble = self.store_trouble.unwrap_or_default();
        page.time("towpath_store_trouble", "For how long the store could not be used, 0 when it can", trouble)?;
        self.counts.map_or(Ok(()), |counts| report_store(counts, page))
    }
}

fn report_store(counts: Counts, page: &mut Page) -> fmt::Result {
    let Counts { received, notices, unchanged, lists } = counts;
    page.counter_in("towpath_store_received", "What came in the API's answers", (Unit::Bytes, received))?;
    page.counter("towpath_store_notices", "What the API's watch said of single objects", notices)?;
    page.counter("towpath_store_notices_unchanged", "How much of that changed nothing of ours", unchanged)?;
    page.counter("towpath_store_lists", "How often everything was listed", lists)
}

fn labels((family, subnet): (Family, &IpNet)) -> [(&'static str, String); 2] {
    [("subnet", subnet.to_string()), ("family", family.to_string().to_lowercase())]
}

/// One page's worth.
#[derive(Debug)]
struct Scrape {
    figures: Figures,
    process: Process,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page::new(encoder);
        self.figures.describe(&mut page)?;
        self.figures.report(&mut page)?;
        sessions::describe(&self.figures.peers_of_bgp, &mut page)?;
        if let Some(tally) = &self.figures.bfd {
            sessions::describe_bfd(tally, &mut page)?;
        }
        if let Some(tunnels) = &self.figures.tunnels {
            tunnels.describe(self.figures.now, &mut page)?;
        }
        page.time("process_start_time", "When the process began, since 1970", self.figures.started)?;
        page.seconds_counted("process_cpu", "Time on the processors, user and system", self.process.cpu)?;
        if let Some(resident) = self.process.resident {
            page.gauge_in("process_resident_memory", "Memory that is in use", (Unit::Bytes, resident))?;
        }
        if let Some(files) = self.process.open_files {
            page.gauge("process_open_fds", "Open file descriptors", files)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
