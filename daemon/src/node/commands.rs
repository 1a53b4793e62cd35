//! The extension backend's part: which commands are to be run, and what came of them.

use backends::Backend;
use backends::extension::ExtensionSettings;
use ipam::{BackendData, Family, Lease};

use super::Node;
use crate::extension::{Orders, Report};

impl Node {
    /// What the commands came to.
    pub fn on_commands(&mut self, report: Option<Report>) {
        let printed = |report: &Option<Report>| report.as_ref().and_then(|report| report.output.clone());
        let other = printed(&self.extension) != printed(&report);
        self.extension = report;
        if other {
            self.changed = true;
        }
    }

    /// What this node publishes; `None` until its first command has said it.
    pub(super) fn command_data(&self, settings: &ExtensionSettings, family: Family) -> Option<BackendData> {
        // Flannel's has it for IPv4 alone.
        let other = family == Family::V6 && self.network.as_ref()?.networks.has(Family::V4);
        let output = match (&settings.pre_startup, other) {
            (None, _) | (_, true) => String::new(),
            (Some(_), false) => self.extension.as_ref()?.output.clone()?,
        };
        Some(BackendData::Extension { output: output.into() })
    }

    /// What the commands came to, where there are any.
    pub fn commands(&self) -> Option<&Report> {
        self.extension.as_ref()
    }

    /// The commands to be run as things are now; `None` where the backend is another.
    pub fn orders(&self) -> Option<Orders> {
        let network = self.network.as_ref()?;
        let settings = self.commanded()?;
        let orders = Orders::to_prepare(settings);
        let Some(own) = self.own.as_ref().filter(|_| self.peers_known) else { return Some(orders) };
        let peers = self.table.leases().filter(|lease| lease.key != own.key);
        let standing = peers.filter(|lease| self.table.standing(&lease.key).is_some());
        // Only the store itself can say who is gone.
        let told = self.last_known.is_none();
        let gone = self.former.iter().filter(|lease| told && self.table.get(&lease.key).is_none());
        Some(orders.with_lease(settings, (&network.networks, own), (standing, gone)))
    }

    /// The commands, as long as one of this node's ways is made by them.
    fn commanded(&self) -> Option<&ExtensionSettings> {
        self.backends().find_map(|backend| match backend {
            Backend::Extension(settings) => Some(settings),
            _ => None,
        })
    }

    /// Why pods cannot be started for want of a command: one sentence.
    pub fn unprepared(&self) -> Option<String> {
        self.commanded()?;
        match &self.extension {
            Some(report) if report.prepared => None,
            Some(Report { trouble: Some(trouble), .. }) => Some(trouble.clone()),
            _ => Some("the extension backend's commands have not all been run yet".to_owned()),
        }
    }
}

/// Those of an earlier life's leases for which commands may have been run.
pub(super) fn of_extension(leases: &[Lease]) -> Vec<Lease> {
    let ours = |lease: &&Lease| lease.endpoints.values().any(|end| matches!(end.data, BackendData::Extension { .. }));
    leases.iter().filter(ours).cloned().collect()
}
