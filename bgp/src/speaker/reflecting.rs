//! Who our clients are, and for which cluster we reflect (RFC 4456), changed while sessions stay: nodes become reflectors, and cease to be
//! ones, with all routes in use.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::machine::collision::Side;
use crate::rib::PeerId;

use super::Speaker;
use super::agreement::Agreement;
use super::config::Reflects;
use super::peer::Peer;
use super::telling::groups;

impl Speaker {
    /// We reflect for this cluster from now on, our identifier for none of several reflectors, and these peers are our clients or not. No session ends:
    /// all peers of our AS are told again what they may be told now. Whoever leaves a cluster asks for what it refused as that cluster's own.
    pub fn reflect(&mut self, clients: &[(PeerId, Reflects)], cluster: Ipv4Addr, now: Duration) {
        let leaves = self.settings.cluster != cluster && cluster == self.settings.identifier;
        self.settings.cluster = cluster;
        self.rib.set_cluster(cluster);
        // All relations first: what one peer is told depends on what the others are.
        for (id, reflects) in clients {
            self.with(*id, now, |speaker, peer| speaker.relate(*id, peer, *reflects));
        }
        let mut members = Vec::new();
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.with(id, now, |speaker, peer| {
                let Some((side, agreement)) = inside(peer) else { return };
                members.extend(groups(peer).into_iter().filter(|_| peer.joined).map(|group| (id, group)));
                if leaves && agreement.refresh {
                    speaker.request_routes(id, peer, (side, &agreement));
                }
            });
        }
        self.rib.retell(members);
        self.wait_anew();
        self.flush();
    }

    fn relate(&mut self, id: PeerId, peer: &mut Peer, reflects: Reflects) {
        peer.config.reflects = reflects;
        let (config, ours) = (peer.config.clone(), self.settings.asn);
        let connected = Side::ALL.into_iter().filter(|side| peer.connection(*side).is_some()).collect::<Vec<_>>();
        let mut relation = None;
        for side in connected {
            if let Some(agreement) = peer.connection_mut(side).and_then(|connection| connection.agreement.as_mut()) {
                agreement.relation = config.relation(agreement.theirs.asn, ours);
                relation = Some(agreement.relation);
            }
        }
        if let Some(kept) = &mut peer.kept {
            kept.relation = config.relation(kept.theirs.asn, ours);
            relation = Some(kept.relation);
        }
        relation.into_iter().for_each(|relation| self.rib.set_relation(id, relation));
    }
}

/// The session with a peer of our AS, if it is up.
fn inside(peer: &Peer) -> Option<(Side, Agreement)> {
    let agreement = peer.agreement().filter(|agreement| agreement.relation.is_internal())?;
    Some((peer.established()?, agreement.clone()))
}
