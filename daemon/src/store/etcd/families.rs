//! This node's lease gets one family more or less: under flannel's rules another key, put in the place of the old one in one step,
//! so that the others have the node in the first family all the while.

use etcd_client::{Compare, CompareOp, GetOptions, Txn, TxnOp};
use ipam::{Lease, LeaseKey, pool};
use ipnet::IpNet;

use super::claim::{Held, Office, Own, Refusal, overlap};
use crate::store::Claim;
use crate::store::attributes::Attributes;
use crate::store::subnet_key;
use crate::store::terms::dice;

impl Office<'_> {
    /// The lease with the claim's families and the subnets that it had; `None` when there is no such, or somebody was faster.
    pub(super) async fn change_families(&mut self, claim: &Claim, own: &Own) -> Result<Option<Held>, Refusal> {
        // What somebody else wrote, or reserved, is not ours to rename.
        if own.foreign.is_some() || own.value.lease() == 0 {
            return Ok(None);
        }
        let taken = self.known.taken(claim, std::slice::from_ref(&own.key));
        let Some(subnets) = pool::choose(&claim.pools, &taken, Some(&own.subnets), dice()) else { return Ok(None) };
        let shared = own.subnets.iter().any(|(family, net)| subnets.get(family) == Some(net));
        let key = LeaseKey::new(&subnet_key::format(&subnets));
        if !shared || key == own.key {
            return Ok(None);
        }
        let wanted = Attributes::of(claim);
        let endpoints = wanted.endpoints(&subnets).map_err(|reason| Refusal::Unpublishable { reason })?;
        let (etcd_lease, renew) = self.running(own.value.lease()).await?;
        let before = self.keys.of(&own.key);
        // As long as the old key is there, nobody else makes one of the same IPv4 subnet.
        let unchanged = Compare::mod_revision(before.as_str(), CompareOp::Equal, own.value.mod_revision());
        let leases = self.keys.leases();
        let newer =
            GetOptions::new().with_range(leases.end).with_keys_only().with_min_create_revision(self.revision + 1);
        let put = self.put(&key, &wanted, etcd_lease)?;
        let steps = [TxnOp::get(leases.start, Some(newer)), put, TxnOp::delete(before, None)];
        let Some((written, answers)) = self.commit(&key, Txn::new().when([unchanged]).and_then(steps)).await? else {
            return Ok(None);
        };
        let clash = |other: &IpNet| subnets.values().any(|net| overlap(net, other));
        let others = self.listed(answers).into_iter().filter(|(other, _)| *other != own.key);
        if others.map(|(_, other)| other).any(|other| other.values().any(clash)) {
            // Somebody has taken the other family's subnet since we looked: back, and once more with what is known then.
            let ours = Compare::mod_revision(self.keys.of(&key), CompareOp::Equal, written);
            let back = [self.put(&own.key, &wanted, etcd_lease)?, TxnOp::delete(self.keys.of(&key), None)];
            self.commit(&own.key, Txn::new().when([ours]).and_then(back)).await?;
            return Err(Refusal::Busy);
        }
        let rollout = wanted.rollout(&endpoints);
        let since = u64::try_from(written).unwrap_or(0);
        let lease = Lease { key, node: claim.node.clone(), since, endpoints, rollout };
        Ok(Some(Held { lease, written, renew, restored: None }))
    }
}
