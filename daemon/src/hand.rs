//! [`Hand`]: the real kernel behind the reconciler's trait, with the choice of the uplink from its facts.

mod errand;

use std::collections::BTreeMap;
use std::sync::Arc;

use backends::cluster::RouteStyle;
use backends::state::{Nexthop, Scope};
use backends::wireguard::Generation;
use backends::{KernelState, LinkName, Outcome, Plan, Uplink};
use ipam::PublicKey;
use kernel::notices::Notices;
use kernel::sysctl;
use kernel::wireguard::Session;

use crate::config::{Instance, InterfaceWish};
use crate::host_settings::{self, HostSettings};
use crate::neighbour_room::Crowd;
use crate::reconcile::{Kernel, WantedUplink};
use crate::tunnel_keys::{KeySettings, TunnelKeys};
use crate::uplink::{self, Facts};
use errand::Errands;

/// Changes from which on somebody else does them: one of a lease or two is done before anybody could be woken.
const MANY: usize = 256;

/// The kernel of the namespace in which the daemon runs.
pub struct Hand {
    errands: Errands,
    wish: InterfaceWish,
    keys: KeySettings,
    settings: HostSettings,
}

impl Hand {
    /// Opens netlink.
    ///
    /// # Errors
    /// One sentence: the kernel could not be spoken to.
    pub fn open(wish: InterfaceWish, keys: KeySettings, settings: HostSettings) -> Result<Hand, kernel::Error> {
        Ok(Hand { errands: Errands::new(kernel::Hand::open()?), wish, keys, settings })
    }

    /// What the kernel says of itself from now on, our own changes excepted.
    ///
    /// # Errors
    /// When there are no sockets to be had.
    pub fn notices(&mut self, instance: &Instance) -> Result<Notices, kernel::Error> {
        Notices::open(&self.errands.kernel(), &instance.alias, &instance.table)
    }

    /// How this kernel wants routes to many peers.
    pub fn route_style(&mut self) -> RouteStyle {
        if self.errands.kernel().nexthop_objects() { RouteStyle::Objects } else { RouteStyle::Gateways }
    }
}

impl Kernel for Hand {
    fn observe(&mut self, scope: &Scope) -> Result<KernelState, String> {
        self.errands.kernel().observe(scope).map_err(|error| error.to_string())
    }

    fn apply(&mut self, scope: &Scope, plan: &Plan) -> Outcome {
        self.errands.kernel().apply(scope, plan)
    }

    fn begin(&mut self, scope: &Scope, plan: &Arc<Plan>) -> Option<Outcome> {
        if plan.changes.len() < MANY { Some(self.apply(scope, plan)) } else { self.errands.begin(scope, plan) }
    }

    fn end(&mut self) -> Outcome {
        self.errands.end()
    }

    fn leave(&mut self, lost: Nexthop) {
        match self.errands.kernel().leave(lost) {
            Ok(0) => {}
            Ok(count) => tracing::info!("{count} groups of next hops go on without {}", lost.gateway),
            // The routes are written one by one then.
            Err(refusal) => tracing::warn!("a group of next hops keeps {}, which is dead: {refusal}", lost.gateway),
        }
    }

    fn tunnel_keys(&mut self, generation: Generation) -> Result<TunnelKeys, String> {
        let (keys, private) = TunnelKeys::load(&self.keys, generation).map_err(|error| error.to_string())?;
        self.errands.kernel().keep_key(keys.public, private);
        Ok(keys)
    }

    fn sessions(&mut self, links: &[LinkName]) -> Result<Vec<Session>, String> {
        self.errands.kernel().sessions(links).map_err(|error| error.to_string())
    }

    fn forget_keys(&mut self, generation: Generation, key: PublicKey) {
        self.errands.kernel().forget_key(key);
        self.keys.remove(generation);
    }

    fn uplink(&mut self, wanted: &WantedUplink) -> Result<Uplink, String> {
        let inventory = kernel::inventory::read().map_err(|error| error.to_string())?;
        let reach =
            self.wish.can_reach.map(kernel::inventory::route_to).transpose().map_err(|error| error.to_string())?;
        let facts = Facts { inventory: &inventory, reach: reach.flatten() };
        let public = wanted.public.or(self.wish.public);
        let wish = InterfaceWish { public, ..self.wish.clone() };
        let is = |path: &str| sysctl::read(path).ok().flatten();
        let uplink = uplink::choose(&wish, facts, &wanted.families).map_err(|error| {
            let why = uplink::switched_off(&inventory, &wanted.families, is);
            why.map_or_else(|| error.to_string(), |why| format!("{error}; {why}"))
        })?;
        let links = uplink::links(uplink.link, wanted, &inventory);
        let on_link = kernel::inventory::on_link(&links, &wanted.pods).map_err(|error| error.to_string())?;
        let on_link = on_link.with_dead(uplink::dead(&links, wanted, &inventory));
        let settings = self.settings.wanted(&uplink, &wanted.families, &inventory);
        Ok(Uplink { on_link, settings, ..uplink })
    }

    fn missed_settings(&mut self, wanted: &BTreeMap<String, String>, crowd: &Crowd) -> Vec<String> {
        let no_room = crowd.sentences(|path| sysctl::read(path).ok().flatten());
        host_settings::missed(wanted).into_iter().chain(no_room).collect()
    }

    fn gates(&mut self, scope: &Scope) -> Vec<String> {
        match kernel::nft::gate::gates(scope) {
            Ok(gates) => gates.iter().map(ToString::to_string).collect(),
            Err(error) => {
                tracing::debug!("{error}");
                Vec::new()
            }
        }
    }
}
