//! The generations of this node's WireGuard keys: which there must be, which one it is going to use, and which are of no use any
//! more.
//!
//! A rotation is a change of the way of carrying packets like any other: from the device with the old key to one beside it with
//! the new key, on other ports. All nodes go to the highest generation that any of them names.

use std::collections::{BTreeMap, BTreeSet};

use backends::Backend;
use backends::rollout::Position;
use backends::wireguard::{Generation, NAME};
use ipam::table::Stance;
use ipam::{Carrier, PublicKey, SecretKey};

use super::{Node, Trouble};
use crate::netconf::Network;
use crate::trigger::Moment;
use crate::tunnel_keys::TunnelKeys;

/// What this node knows of its keys.
#[derive(Debug, Default)]
pub(super) struct OwnKeys {
    /// What its devices are known by.
    public: BTreeMap<Generation, PublicKey>,
    /// What all nodes know, where it is not in the network's configuration.
    preshared: Option<SecretKey>,
    /// The generation that was asked for here.
    asked: Generation,
}

impl Node {
    /// The generation whose key is needed and not known yet.
    pub fn missing_key(&self) -> Option<Generation> {
        // Which generation it is, the leases say.
        let network = self.network.as_ref().filter(|_| self.peers_known)?;
        let current = matches!(network.backend, Backend::WireGuard(_)).then(|| self.generation());
        let named = self.own_carriers().into_iter().filter_map(|carrier| generation_of(&carrier));
        let held = self.backends().filter_map(|backend| generation_of(&backend.carrier()));
        named.chain(current).chain(held).find(|generation| !self.keys.public.contains_key(generation))
    }

    /// Takes the key of a generation, or why there is none.
    pub fn on_keys(&mut self, generation: Generation, found: Result<TunnelKeys, String>, now: Moment) {
        match found {
            Ok(keys) => {
                self.keys_trouble = None;
                self.keys.public.insert(generation, keys.public);
                self.keys.preshared = keys.preshared;
                self.changed = true;
            }
            Err(reason) => {
                let since = self.keys_trouble.as_ref().map_or(now, |trouble| trouble.since);
                if self.keys_trouble.as_ref().map(|trouble| &trouble.reason) != Some(&reason) {
                    tracing::error!("{reason}");
                }
                self.keys_trouble = Some(Trouble { since, reason });
            }
        }
    }

    /// The key of a generation.
    pub(super) fn key(&self, generation: Generation) -> Option<PublicKey> {
        self.keys.public.get(&generation).copied()
    }

    /// Asks for another generation on all nodes.
    ///
    /// # Errors
    /// One sentence: why not now.
    pub fn rotate_keys(&mut self) -> Result<String, String> {
        let configured = self.network.as_ref().map(|network| self.configured_backend(network));
        let Some(Backend::WireGuard(settings)) = configured else {
            return Err("there are no keys to rotate: the network's backend is not wireguard".to_owned());
        };
        let settled = |position: &Position| position.main == position.target && position.spares.is_empty();
        if !self.position().is_some_and(settled) {
            return Err(
                "the network's configuration or its keys are being changed already, see `towpathctl rollout status`; \
                        ask again when all nodes are through"
                    .to_owned(),
            );
        }
        let mut next = settings.clone();
        next.generation = settings.generation.next();
        self.keys.asked = next.generation;
        self.changed = true;
        let ports: BTreeSet<u16> = next.devices().families().map(|family| next.port(family)).collect();
        let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
        Ok(format!(
            "all nodes make new keys (generation {}) and change to them, on UDP port {}; `towpathctl rollout status` says how far \
             it is",
            next.generation,
            ports.join(" and ")
        ))
    }

    /// Keys that nothing uses any more, once there is nothing between two of them.
    pub fn take_obsolete_keys(&mut self) -> Vec<(Generation, PublicKey)> {
        let settled = |position: &Position| position.main == position.target && position.ready;
        if !self.position().is_some_and(settled) {
            return Vec::new();
        }
        let used =
            |backend: &Backend, generation| matches!(backend, Backend::WireGuard(it) if it.generation == generation);
        let current = self.generation();
        let is_used = |generation| self.backends().any(|backend| used(backend, generation));
        let obsolete = self.keys.public.iter().filter(|(it, _)| **it < current && !is_used(**it));
        let obsolete: Vec<_> = obsolete.map(|(generation, key)| (*generation, *key)).collect();
        self.keys.public.retain(|generation, _| !obsolete.iter().any(|(gone, _)| gone == generation));
        obsolete
    }

    /// The configured backend with what is this node's own business: the generation, the key that all nodes share where
    /// this node has it from another place, and who computes checksums; where there is a way round to it, that.
    pub(super) fn configured_backend(&self, network: &Network) -> Backend {
        let mut backend = network.backend.clone();
        if let Backend::WireGuard(settings) = &mut backend {
            settings.generation = self.generation();
            settings.preshared = self.keys.preshared.or(settings.preshared);
        }
        let backend = self.detour(&backend).unwrap_or(backend);
        self.with_offload(backend)
    }

    /// The highest that is named anywhere.
    fn generation(&self) -> Generation {
        let told = self.table.stances().filter_map(|stance| match stance {
            Stance::Told { target, .. } => generation_of(target),
            Stance::Silent { .. } => None,
        });
        let own = self.own_carriers().into_iter().filter_map(|carrier| generation_of(&carrier));
        told.chain(own).chain([self.keys.asked]).max().unwrap_or_default()
    }

    /// What this node says of its ways, or said last.
    fn own_carriers(&self) -> Vec<Carrier> {
        let Some(Position { main, target, spares, .. }) = self.own_position() else { return Vec::new() };
        [main, target].into_iter().chain(spares.into_iter().map(|(carrier, _)| carrier)).collect()
    }

    /// Where this node stands, or stood when it last said so.
    pub(super) fn own_position(&self) -> Option<Position> {
        self.position().cloned().or_else(|| {
            let rollout = self.own_or_last()?.rollout.as_ref()?;
            Some(Position::of(rollout))
        })
    }
}

/// The generation of keys that a way uses; `None` of one without keys.
fn generation_of(carrier: &Carrier) -> Option<Generation> {
    (carrier.backend() == NAME).then(|| Generation::of(carrier))
}
