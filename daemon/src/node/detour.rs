//! The way round: when the kernel cannot hold what the configuration wants beside a way that is in use, all nodes go to the same on
//! other ports or with another VNI first, and from there on. Each of the two steps is a change like any other, between ways that stand side by side.
//!
//! Whether there is one is a property of leases, so that all nodes find the same, and find it again after a restart.

use backends::Backend;
use backends::rollout::Position;
use ipam::Carrier;
use ipam::table::Stance;

use super::Node;

impl Node {
    /// The backend to go to before the configured one; `None` where that can be gone to at once, or not even so.
    pub(super) fn detour(&self, configured: &Backend) -> Option<Backend> {
        let aside = configured.aside()?;
        let own = self.own_position();
        let used = used(own.as_ref(), self.table.stances());
        let collides =
            |carrier: &&Carrier, backend: &Backend| **carrier != backend.carrier() && self.blocks(carrier, backend);
        if used.iter().any(|carrier| collides(carrier, &aside)) {
            return None;
        }
        let collided = used.iter().any(|carrier| collides(carrier, configured));
        (collided || self.is_turning(own.as_ref(), &aside.carrier(), &configured.carrier())).then_some(aside)
    }

    /// Whether somebody has not come to the end of the way round yet, and nobody has left it: who left it earlier would hold up those
    /// that wait until nobody uses the old way.
    fn is_turning(&self, own: Option<&Position>, aside: &Carrier, configured: &Carrier) -> bool {
        let settled = |it: &Position| it.main == it.target && it.spares.is_empty();
        let by = |carrier: &Carrier| own.is_some_and(|it| it.main == *carrier || it.target == *carrier);
        let (mut there, mut left) = (by(aside), by(configured));
        // A device that lingers would answer in the place of the one that is to come, and so may another node's.
        let mut turning = own.is_some_and(|it| !settled(it) || self.lingers(it));
        for stance in self.table.stances() {
            if let Stance::Told { main, target, settled, .. } = stance {
                there |= main == aside || target == aside;
                left |= main == configured || target == configured;
                turning |= !settled;
            }
        }
        there && turning && !left
    }
}

/// The ways that somebody may be sending by, as far as it is told.
fn used<'t>(own: Option<&'t Position>, stances: impl Iterator<Item = &'t Stance>) -> Vec<&'t Carrier> {
    let mains = stances.filter_map(|stance| match stance {
        Stance::Told { main, .. } => Some(main),
        Stance::Silent { .. } => None,
    });
    let promised = own.into_iter().flat_map(|own| {
        let spares = own.spares.iter().filter(|(_, promised)| *promised > 0).map(|(carrier, _)| carrier);
        [&own.main].into_iter().chain(own.ready.then_some(&own.target)).chain(spares)
    });
    mains.chain(promised).collect()
}
