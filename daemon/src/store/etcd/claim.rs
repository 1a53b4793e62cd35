//! This node's own lease in etcd, by flannel's rules: found by name or address, overwritten in place, else the previous
//! subnet, else one of the first hundred free. Every call looks first and does what is missing.
//!
//! Two rules keep two nodes from one subnet, and both are etcd's to enforce: a key is created in a transaction that
//! demands that no key of the same IPv4 subnet exists, and everything else is written on condition that what was read is still there.

use std::time::{Duration, Instant};

use etcd_client::{Client, Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse};
use ipam::{Family, Lease, LeaseKey, Pool, Stack, Taken, pool};
use ipnet::IpNet;

use super::failure::is_denied;
use super::keys::Keys;
use crate::store::Claim;
use crate::store::attributes::Attributes;
use crate::store::known::Known;
use crate::store::subnet_key;
use crate::store::terms::{Terms, dice};

/// How often a thing is tried again when others are faster, before the caller comes back later.
const ATTEMPTS: usize = 64;
/// How long an overwritten key is left alone after it was put right once: two writers must not fight at etcd's expense.
const TRUCE: Duration = Duration::from_secs(5);

/// The lease that this node holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// As it stands in etcd.
    pub lease: Lease,
    /// The revision of our last write.
    pub written: i64,
    /// When it must be renewed; `None`: it is a reservation and never ends.
    pub renew: Option<Instant>,
    /// When it was last put right after somebody else had overwritten it.
    pub(super) restored: Option<Instant>,
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A request failed: the session is at its end.
    #[error("{0}")]
    Request(#[from] etcd_client::Error),
    /// Keys name an IPv4 subnet always.
    #[error(
        "etcd cannot hold an IPv6-only lease, its keys begin with an IPv4 subnet: give the network an IPv4 `Network` too, or use another store"
    )]
    Ipv6Only,
    /// No subnet is left.
    #[error(
        "no free pod subnet is left in {networks}: delete the leases of nodes that are gone, or give the cluster a wider network or a longer SubnetLen"
    )]
    Exhausted {
        /// The networks.
        networks: String,
    },
    /// Others are always faster.
    #[error("this node's lease: other nodes are faster at every try; trying again")]
    Busy,
    /// We may not write.
    #[error("etcd does not let this node write its lease to {key}: grant its user a role with readwrite on the prefix")]
    Denied {
        /// Where we would write.
        key: String,
    },
    /// What we would publish is not a lease.
    #[error("this node cannot be published: {reason}")]
    Unpublishable {
        /// A clause.
        reason: String,
    },
    /// Somebody overwrites our key again and again.
    #[error(
        "etcd key {key} is this node's and {other} keeps overwriting it: give each node its own name and public address"
    )]
    Contested {
        /// The key.
        key: String,
        /// What is written there.
        other: String,
    },
}

/// What claiming needs to know and reach.
pub struct Office<'a> {
    /// The connection.
    pub client: Client,
    /// Where things are.
    pub keys: &'a Keys,
    /// How long leases last.
    pub terms: Terms,
    /// All leases up to `revision`.
    pub known: &'a Known,
    /// The revision up to which `known` is complete.
    pub revision: i64,
}

/// A key of ours as it was read.
pub(super) struct Own {
    pub(super) key: LeaseKey,
    pub(super) subnets: Stack<IpNet>,
    pub(super) value: KeyValue,
    /// Somebody else wrote the value, without the key having been gone: whose name it carries.
    pub(super) foreign: Option<String>,
}

impl Office<'_> {
    /// Holds a lease as the claim says. The second value is a sentence, when the lease that was held until now belongs to
    /// another node.
    ///
    /// # Errors
    /// What stands in the way.
    pub async fn hold(&mut self, claim: &Claim, held: Option<&Held>) -> Result<(Held, Option<String>), Refusal> {
        if !claim.pools.has(Family::V4) {
            return Err(Refusal::Ipv6Only);
        }
        for _ in 0..ATTEMPTS {
            let mut own = self.search(claim, held).await?;
            let before = held.map(|held| &held.lease);
            let is_held = |own: &Own| before.is_some_and(|lease| lease.key == own.key);
            own.sort_by_key(|own| (!in_pools(&claim.pools, &own.subnets), !is_held(own), own.value.create_revision()));
            let keys: Vec<LeaseKey> =
                own.iter().map(|own| &own.key).chain(before.map(|lease| &lease.key)).cloned().collect();
            let kept = own.first().is_some_and(|own| in_pools(&claim.pools, &own.subnets)).then(|| own.remove(0));
            if let (None, Some(first)) = (&kept, own.first())
                && let Some(changed) = self.change_families(claim, first).await?
            {
                return Ok((changed, None));
            }
            // A node has one lease. The subnets of one that does not fit any more are the first choice for the next.
            for surplus in &own {
                self.delete(surplus).await?;
            }
            if let Some(kept) = kept {
                match self.freshen(claim, &kept, held).await? {
                    Some(fresh) => return Ok((fresh, None)),
                    None => continue,
                }
            }
            let previous = before.map(Lease::subnets).or(claim.previous);
            let previous = previous.or_else(|| own.first().map(|own| own.subnets));
            let mut taken = self.known.taken(claim, &keys);
            let fresh = self.acquire(claim, previous.as_ref(), &mut taken).await?;
            let lost =
                before.filter(|before| before.key != fresh.lease.key && in_pools(&claim.pools, &before.subnets()));
            let sentence = match lost {
                Some(lost) => Some(self.taken(&lost.key).await?),
                None => None,
            };
            return Ok((fresh, sentence));
        }
        Err(Refusal::Busy)
    }

    /// One sentence about a lease that was ours.
    async fn taken(&mut self, key: &LeaseKey) -> Result<String, Refusal> {
        let name = self.keys.of(key);
        let value = self.client.get(name.as_str(), None).await?.take_kvs().pop();
        let other = value.map_or("another node".to_owned(), |value| whose(&value));
        Ok(format!("etcd key {name}, this node's until now, belongs to {other}: this node took another subnet"))
    }

    /// Gives the lease back; a reservation stays, it is the operator's.
    ///
    /// # Errors
    /// The request's.
    pub async fn release(&mut self, claim: &Claim, held: Option<&Held>) -> Result<(), Refusal> {
        for own in self.search(claim, held).await? {
            if own.value.lease() != 0 && own.foreign.is_none() {
                self.delete(&own).await?;
            }
        }
        Ok(())
    }

    /// Reads the keys that may be ours.
    async fn search(&mut self, claim: &Claim, held: Option<&Held>) -> Result<Vec<Own>, Refusal> {
        let mut keys = self.known.own(claim);
        let held_key = held.map(|held| &held.lease.key);
        if let Some(key) = held_key.filter(|key| !keys.contains(key)) {
            keys.push(key.clone());
        }
        // What was held when this daemon ran last, in case somebody has scribbled over it since.
        let previous = claim.previous.filter(|subnets| keys.is_empty() && in_pools(&claim.pools, subnets));
        let previous = previous.map(|subnets| LeaseKey::new(&subnet_key::format(&subnets)));
        keys.extend(previous.clone());
        let mut found = Vec::new();
        for key in keys {
            let Some(value) = self.client.get(self.keys.of(&key), None).await?.take_kvs().pop() else { continue };
            let Ok(subnets) = subnet_key::parse(key.as_str()) else { continue };
            let attributes = Attributes::parse(value.value()).ok().filter(|it| it.publisher().is_some());
            let signed = attributes.as_ref().is_some_and(|attributes| {
                claim.is_signed(attributes.publisher().as_ref(), attributes.public(Family::V4), &subnets)
            });
            let scribbled = attributes.is_none() && previous.as_ref() == Some(&key);
            // The key that we made and nobody deleted is ours, whatever stands in it.
            let made =
                |held: &Held| held.lease.key == key && i64::try_from(held.lease.since) == Ok(value.create_revision());
            let foreign = if signed { None } else { Some(whose(&value)) };
            if signed || scribbled || held.is_some_and(made) {
                found.push(Own { key, subnets, value, foreign });
            }
        }
        Ok(found)
    }

    /// Writes our lease anew if it must be renewed or says something else than it should; `None` when it changed meanwhile.
    async fn freshen(&mut self, claim: &Claim, own: &Own, held: Option<&Held>) -> Result<Option<Held>, Refusal> {
        let held = held.filter(|held| held.lease.key == own.key);
        let mut restored = held.and_then(|held| held.restored);
        if let Some(other) = &own.foreign {
            if restored.is_some_and(|at| at.elapsed() < TRUCE) {
                return Err(Refusal::Contested { key: self.keys.of(&own.key), other: other.clone() });
            }
            restored = Some(Instant::now());
        }
        let wanted = Attributes::of(claim);
        let right = Attributes::parse(own.value.value()).is_ok_and(|attributes| attributes == wanted);
        // Who overwrites a lease with `etcdctl put` takes its end away without meaning to make a reservation of it.
        let endless =
            own.value.lease() == 0 && (own.foreign.is_none() || held.is_some_and(|held| held.renew.is_none()));
        let (etcd_lease, renew) = match endless {
            true => (0, None),
            false => self.running(own.value.lease()).await?,
        };
        let mut written = own.value.mod_revision();
        if !right || etcd_lease != own.value.lease() {
            let unchanged = Compare::mod_revision(self.keys.of(&own.key), CompareOp::Equal, written);
            let put = self.put(&own.key, &wanted, etcd_lease)?;
            match self.commit(&own.key, Txn::new().when([unchanged]).and_then([put])).await? {
                Some((revision, _)) => written = revision,
                None => return Ok(None),
            }
        }
        let endpoints = wanted.endpoints(&own.subnets).map_err(|reason| Refusal::Unpublishable { reason })?;
        let since = u64::try_from(own.value.create_revision()).unwrap_or(0);
        let rollout = wanted.rollout(&endpoints);
        let lease = Lease { key: own.key.clone(), node: claim.node.clone(), since, endpoints, rollout };
        Ok(Some(Held { lease, written, renew, restored }))
    }

    /// The etcd lease to write under, and when that must be renewed: the present one while enough of it is left, else a new one.
    pub(super) async fn running(&mut self, etcd_lease: i64) -> Result<(i64, Option<Instant>), Refusal> {
        if etcd_lease != 0 {
            let left = self.client.lease_time_to_live(etcd_lease, None).await?;
            let renewal = self.renewal(left.ttl(), left.granted_ttl());
            if !renewal.is_zero() {
                return Ok((etcd_lease, Some(Instant::now() + renewal)));
            }
        }
        let seconds = i64::try_from(self.terms.validity.as_secs()).unwrap_or(i64::MAX).max(1);
        let granted = self.client.lease_grant(seconds, None).await?;
        Ok((granted.id(), Some(Instant::now() + self.renewal(granted.ttl(), granted.ttl()))))
    }

    /// How long until an etcd lease must be renewed.
    fn renewal(&self, left: i64, granted: i64) -> Duration {
        let seconds = |ttl| Duration::from_secs(u64::try_from(ttl).unwrap_or(0));
        seconds(left).saturating_sub(Terms { validity: seconds(granted), ..self.terms }.effective_margin())
    }

    /// Takes a subnet.
    async fn acquire(
        &mut self,
        claim: &Claim,
        previous: Option<&Stack<IpNet>>,
        taken: &mut Taken,
    ) -> Result<Held, Refusal> {
        let wanted = Attributes::of(claim);
        let (etcd_lease, renew) = self.running(0).await?;
        for _ in 0..ATTEMPTS {
            let Some(subnets) = pool::choose(&claim.pools, taken, previous, dice()) else {
                self.client.lease_revoke(etcd_lease).await?;
                return Err(Refusal::Exhausted { networks: claim.pools.map(|_, pool| pool.network).to_string() });
            };
            let endpoints = wanted.endpoints(&subnets).map_err(|reason| Refusal::Unpublishable { reason })?;
            let key = LeaseKey::new(&subnet_key::format(&subnets));
            let Some((written, others)) = self.create(&key, &subnets, self.put(&key, &wanted, etcd_lease)?).await?
            else {
                // Only IPv4 is known to be taken. Of what was ours and is another's now, the other family is too.
                let lost = if previous == Some(&subnets) { 2 } else { 1 };
                subnets.values().take(lost).for_each(|net| taken.insert(net));
                continue;
            };
            let since = u64::try_from(written).unwrap_or(0);
            if others.iter().flat_map(Stack::values).all(|other| subnets.values().all(|net| !overlap(net, other))) {
                let rollout = wanted.rollout(&endpoints);
                let lease = Lease { key, node: claim.node.clone(), since, endpoints, rollout };
                return Ok(Held { lease, written, renew, restored: None });
            }
            // An older lease has the same IPv6 subnet, or one of another length: ours makes way.
            let ours = Compare::mod_revision(self.keys.of(&key), CompareOp::Equal, written);
            self.commit(&key, Txn::new().when([ours]).and_then([TxnOp::delete(self.keys.of(&key), None)])).await?;
            others.iter().flat_map(Stack::values).for_each(|net| taken.insert(net));
        }
        Err(Refusal::Busy)
    }

    /// Creates a key if nobody has the IPv4 subnet: the revision, and the subnets of leases that were made since what is known.
    async fn create(
        &mut self,
        key: &LeaseKey,
        subnets: &Stack<IpNet>,
        put: TxnOp,
    ) -> Result<Option<(i64, Vec<Stack<IpNet>>)>, Refusal> {
        let Some(v4) = subnets.get(Family::V4) else { return Err(Refusal::Ipv6Only) };
        let (same, leases) = (self.keys.same_v4(v4), self.keys.leases());
        let free = Compare::version(same.start, CompareOp::Equal, 0).with_range(same.end);
        let newer =
            GetOptions::new().with_range(leases.end).with_keys_only().with_min_create_revision(self.revision + 1);
        let newer = TxnOp::get(leases.start, Some(newer));
        let Some((revision, answers)) = self.commit(key, Txn::new().when([free]).and_then([newer, put])).await? else {
            return Ok(None);
        };
        Ok(Some((revision, self.listed(answers).into_iter().map(|(_, subnets)| subnets).collect())))
    }

    /// The leases that a transaction listed.
    pub(super) fn listed(&self, answers: Vec<TxnOpResponse>) -> Vec<(LeaseKey, Stack<IpNet>)> {
        let listed = answers.iter().filter_map(|answer| match answer {
            TxnOpResponse::Get(listed) => Some(listed.kvs()),
            _ => None,
        });
        let keys = listed.flatten().filter_map(|kv| self.keys.lease_key(kv.key()));
        keys.filter_map(|key| Some((key.clone(), subnet_key::parse(key.as_str()).ok()?))).collect()
    }

    /// Deletes a key of ours, unless it changed since it was read.
    async fn delete(&mut self, own: &Own) -> Result<(), Refusal> {
        let name = self.keys.of(&own.key);
        let unchanged = Compare::mod_revision(name.as_str(), CompareOp::Equal, own.value.mod_revision());
        self.commit(&own.key, Txn::new().when([unchanged]).and_then([TxnOp::delete(name, None)])).await.map(drop)
    }

    pub(super) fn put(&self, key: &LeaseKey, attributes: &Attributes, etcd_lease: i64) -> Result<TxnOp, Refusal> {
        let json =
            serde_json::to_vec(attributes).map_err(|error| Refusal::Unpublishable { reason: error.to_string() })?;
        Ok(TxnOp::put(self.keys.of(key), json, Some(PutOptions::new().with_lease(etcd_lease))))
    }

    /// Does a transaction about a key: its revision and answers; `None` when its condition did not hold.
    pub(super) async fn commit(
        &mut self,
        key: &LeaseKey,
        txn: Txn,
    ) -> Result<Option<(i64, Vec<TxnOpResponse>)>, Refusal> {
        match self.client.txn(txn).await {
            Ok(done) if done.succeeded() => {
                let revision = done.header().map_or(0, etcd_client::ResponseHeader::revision);
                Ok(Some((revision, done.op_responses())))
            }
            Ok(_) => Ok(None),
            Err(error) if is_denied(&error) => Err(Refusal::Denied { key: self.keys.of(key) }),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whose lease a value is.
fn whose(value: &KeyValue) -> String {
    let publisher = Attributes::parse(value.value()).ok().and_then(|attributes| attributes.publisher());
    publisher.map_or("something that is no lease".to_owned(), |node| node.to_string())
}

pub(super) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// Whether the subnets are one of each pool.
fn in_pools(pools: &Stack<Pool>, subnets: &Stack<IpNet>) -> bool {
    let same_families = pools.families().eq(subnets.families());
    same_families && pools.iter().all(|(family, pool)| subnets.get(family).is_some_and(|net| pool.compatible(net)))
}
