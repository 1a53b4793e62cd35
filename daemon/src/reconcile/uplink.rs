//! [`WantedUplink`]: which uplink the reconciler asks the kernel for.

use std::net::IpAddr;

use backends::Uplink;
use ipam::{Family, Stack};
use ipnet::IpNet;

use super::Kernel;

/// What the uplink must have, beside what the daemon's own settings say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedUplink {
    /// The families of the network.
    pub families: Vec<Family>,
    /// Public addresses that the store has for this node: they override those of the settings.
    pub public: Option<Stack<IpAddr>>,
    /// The networks of the pods: routes into them say nothing of what is on the uplink's link.
    pub pods: Vec<IpNet>,
    /// The backend that it is for.
    pub backend: &'static str,
}

impl WantedUplink {
    /// The uplink as one of two families has it.
    pub(super) fn half(&self, kernel: &mut impl Kernel) -> Option<Uplink> {
        let mut alone = |family: &Family| kernel.uplink(&WantedUplink { families: vec![*family], ..self.clone() }).ok();
        self.families.iter().filter(|_| self.families.len() > 1).find_map(&mut alone)
    }
}
