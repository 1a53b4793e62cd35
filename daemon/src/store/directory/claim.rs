//! This node's own lease in the directory: found, taken, renewed, published anew, given back. Every call looks first and
//! does what is missing, so that it does not matter what happened in between.

use std::io;

use ipam::{Lease, LeaseKey, Pool, Stack, pool};
use ipnet::IpNet;

use super::file::{Found, LeaseFile, name};
use super::leases::{Leases, Look};
use super::trouble::Trouble;
use crate::store::Claim;
use crate::store::attributes::Attributes;
use crate::store::terms::dice;
use crate::store::utc::Utc;

/// How often a subnet is chosen anew when others are faster, before the store is asked to come back later.
const ATTEMPTS: usize = 32;

/// What came of holding a lease.
#[derive(Debug)]
pub struct Held {
    /// The lease.
    pub lease: Lease,
    /// One sentence, when the lease that was held until now belongs to another node.
    pub taken: Option<String>,
}

impl Leases {
    /// Holds a lease as the claim says.
    ///
    /// # Errors
    /// What stands in the way.
    pub fn hold(&mut self, claim: &Claim) -> Result<Held, Trouble> {
        self.claim = Some(claim.clone());
        let mut own = self.own_files(claim)?;
        let is_held = |key: &LeaseKey| self.held.as_ref().is_some_and(|(held, _)| held == key);
        own.sort_by_key(|(key, file)| (!fits(claim, file), !is_held(key), file.acquired, key.clone()));
        let mut kept = own.first().is_some_and(|(_, file)| fits(claim, file)).then(|| own.remove(0));
        if let (None, Some((key, file))) = (&kept, own.first())
            && let Some(changed) = self.change_families(claim, key, file)?
        {
            kept = Some(changed);
            own.remove(0);
        }
        // A node has one lease. The subnets of one that does not fit any more are the first choice for the next.
        for (key, file) in &own {
            self.place.remove(key.as_str(), file).map_err(|error| self.io(error))?;
            self.look_at(key).map_err(|error| self.io(error))?;
        }
        let (key, file) = match kept {
            Some((key, file)) => self.freshen(claim, key, file)?,
            None => {
                let before = self.held.as_ref().map(|(_, file)| file.clone());
                let given = claim.previous;
                let previous = before.and_then(|file| file.stack().ok()).or(given);
                let previous = previous.or_else(|| own.first().and_then(|(_, file)| file.stack().ok()));
                let regained = if own.is_empty() { self.regain(claim) } else { None };
                regained.map_or_else(|| self.acquire(claim, previous.as_ref()), Ok)?
            }
        };
        let lease = check(&key, &file)?;
        let before = self.held.replace((key.clone(), file));
        self.look_at(&key).map_err(|error| self.io(error))?;
        let lost = before.filter(|(before, file)| *before != key && fits(claim, file));
        Ok(Held { lease, taken: lost.map(|(key, _)| self.taken(&key)) })
    }

    /// One sentence about a lease that was ours.
    fn taken(&self, key: &LeaseKey) -> String {
        let subnet = key.as_str().trim_end_matches(".json").replace('-', "/");
        let other = match self.place.find(key.as_str()) {
            Found::Lease(file) => file.node.to_string(),
            _ => "another node".to_owned(),
        };
        format!("{subnet}, held by this node until now, belongs to {other} in {key}: this node took another subnet")
    }

    /// Gives the lease back, if there is one.
    ///
    /// # Errors
    /// The file system's.
    pub fn release(&mut self) -> Result<(), Trouble> {
        let Some(claim) = self.claim.clone() else { return Ok(()) };
        for (key, file) in self.own_files(&claim)? {
            self.place.remove(key.as_str(), &file).map_err(|error| self.io(error))?;
            self.look_at(&key).map_err(|error| self.io(error))?;
        }
        (self.claim, self.held) = (None, None);
        Ok(())
    }

    /// Holds nothing any more, without giving anything back: the lease ends in its time, or is found again.
    pub fn rest(&mut self) {
        self.held = None;
    }

    /// How long until the own lease must be renewed.
    pub fn next_renewal(&self) -> Option<std::time::Duration> {
        let (_, file) = self.held.as_ref()?;
        Some(Utc::now().until(file.expires).saturating_sub(self.terms.effective_margin()))
    }

    /// The files that carry our name, each read once more, and the one that we hold even if it was scribbled over.
    fn own_files(&mut self, claim: &Claim) -> Result<Vec<(LeaseKey, LeaseFile)>, Trouble> {
        let held = self.held.clone();
        let mut keys = self.known.own(claim);
        if let Some((key, _)) = held.as_ref().filter(|(key, _)| !keys.contains(key)) {
            keys.push(key.clone());
        }
        let mut own = Vec::new();
        for key in keys {
            let held = held.as_ref().filter(|(held, _)| *held == key);
            match (self.place.find(key.as_str()), held) {
                // It was ours a moment ago, and nobody else can have claimed it through that.
                (Found::Garbage(_), Some((_, file))) => {
                    self.place.restore(key.as_str(), file).map_err(|error| self.io(error))?;
                    own.push((key, file.clone()));
                }
                (Found::Lease(file), _) if file.node == claim.node && file.lease(&key, None).is_ok() => {
                    own.push((key, file))
                }
                _ => {}
            }
        }
        Ok(own)
    }

    /// The lease that was held when this daemon ran last, if somebody has scribbled over it since: nobody else can have
    /// claimed it through that.
    fn regain(&self, claim: &Claim) -> Option<(LeaseKey, LeaseFile)> {
        let subnets = claim.previous.filter(|subnets| self.held.is_none() && in_pools(&claim.pools, subnets))?;
        let (key, file) = self.fresh(claim, &subnets).ok()?;
        let scribbled = matches!(self.place.find(key.as_str()), Found::Garbage(_));
        if !scribbled || self.known.has_rival(&key, &subnets) {
            return None;
        }
        // What cannot be replaced (a directory of that name) is reported as garbage, and another subnet is taken.
        self.place.restore(key.as_str(), &file).ok()?;
        Some((key, file))
    }

    /// Writes our lease anew if it must be renewed or says something else than it should.
    fn freshen(&mut self, claim: &Claim, key: LeaseKey, file: LeaseFile) -> Result<(LeaseKey, LeaseFile), Trouble> {
        let due = Utc::now().until(file.expires) <= self.terms.effective_margin();
        let attributes = Attributes { node: None, ..Attributes::of(claim) };
        if !due && file.attributes == attributes {
            return Ok((key, file));
        }
        let now = Utc::now();
        let fresh = LeaseFile { renewed: now, expires: now.after(self.terms.validity), attributes, ..file.clone() };
        check(&key, &fresh)?;
        match self.place.replace(key.as_str(), &file, &fresh).map_err(|error| self.io(error))? {
            true => Ok((key, fresh)),
            false => Err(Trouble::Busy { key: key.as_str().to_owned() }),
        }
    }

    /// Our lease with one family more or less, in its place: the others have it in the first family all the while.
    fn change_families(
        &mut self,
        claim: &Claim,
        key: &LeaseKey,
        file: &LeaseFile,
    ) -> Result<Option<(LeaseKey, LeaseFile)>, Trouble> {
        let taken = self.known.taken(claim, std::slice::from_ref(key));
        let subnets =
            file.stack().ok().and_then(|previous| pool::choose(&claim.pools, &taken, Some(&previous), dice()));
        let Some(subnets) = subnets.filter(|subnets| name(subnets) == key.as_str()) else { return Ok(None) };
        let (_, fresh) = self.fresh(claim, &subnets)?;
        if !self.place.replace(key.as_str(), file, &fresh).map_err(|error| self.io(error))? {
            return Err(Trouble::Busy { key: key.as_str().to_owned() });
        }
        // As in `acquire`: the name protects the first family alone.
        self.look(&Look::All).map_err(|error| self.io(error))?;
        if !self.known.has_rival(key, &subnets) {
            return Ok(Some((key.clone(), fresh)));
        }
        self.place.replace(key.as_str(), &fresh, file).map_err(|error| self.io(error))?;
        Ok(None)
    }

    /// Takes a subnet: the previous one, one that is free, and only if nothing is left one whose lease has ended.
    fn acquire(&mut self, claim: &Claim, previous: Option<&Stack<IpNet>>) -> Result<(LeaseKey, LeaseFile), Trouble> {
        let held = self.held.as_ref().map(|(key, _)| key.clone());
        let mut taken = self.known.taken(claim, held.as_slice());
        for _ in 0..ATTEMPTS {
            let Some(subnets) = pool::choose(&claim.pools, &taken, previous, dice()) else {
                return self.inherit(claim);
            };
            let (key, file) = self.fresh(claim, &subnets)?;
            if !self.place.put_new(key.as_str(), &file).map_err(|error| self.io(error))? {
                let ours = match self.place.find(key.as_str()) {
                    // Scribbled over between two looks.
                    Found::Garbage(_) => Some(&key) == held.as_ref(),
                    // The store came back between two looks, and our lease with it.
                    Found::Lease(file) => file.node == claim.node && file.lease(&key, None).is_ok(),
                    Found::Nothing => false,
                };
                if ours {
                    // The next look puts it right.
                    return Err(Trouble::Busy { key: key.as_str().to_owned() });
                }
                // The name is the first family's. Of what was ours and is another's now, the other family is too.
                let lost = if previous == Some(&subnets) { 2 } else { 1 };
                subnets.values().take(lost).for_each(|net| taken.insert(net));
                continue;
            }
            // The name protects the first family. Of two nodes that chose one IPv6 subnet at the same moment each one sees the
            // other after its own file is in place; both make way then, since neither knows who looked first.
            self.look(&Look::All).map_err(|error| self.io(error))?;
            let returned = self.own_files(claim)?.into_iter().find(|(other, file)| *other != key && fits(claim, file));
            if returned.is_none() && !self.known.has_rival(&key, &subnets) {
                return Ok((key, file));
            }
            self.place.remove(key.as_str(), &file).map_err(|error| self.io(error))?;
            self.look_at(&key).map_err(|error| self.io(error))?;
            if let Some((key, _)) = returned {
                return Err(Trouble::Busy { key: key.as_str().to_owned() });
            }
            taken = self.known.taken(claim, held.as_slice());
        }
        Err(Trouble::Busy { key: "every subnet tried".to_owned() })
    }

    /// Takes the place of a lease that has ended.
    fn inherit(&mut self, claim: &Claim) -> Result<(LeaseKey, LeaseFile), Trouble> {
        for key in self.ended() {
            let Found::Lease(old) = self.place.find(key.as_str()) else { continue };
            let Ok(subnets) = old.stack() else { continue };
            let ended = old.expires <= Utc::now() && in_pools(&claim.pools, &subnets);
            let (_, file) = self.fresh(claim, &subnets)?;
            if ended && self.place.replace(key.as_str(), &old, &file).map_err(|error| self.io(error))? {
                return Ok((key, file));
            }
        }
        Err(Trouble::Exhausted { networks: claim.pools.map(|_, pool| pool.network).to_string() })
    }

    fn fresh(&self, claim: &Claim, subnets: &Stack<IpNet>) -> Result<(LeaseKey, LeaseFile), Trouble> {
        let now = Utc::now();
        // What was deleted under our hands and is put back is as old as it was.
        let before = self.held.as_ref().filter(|(_, file)| file.stack().as_ref() == Ok(subnets));
        let file = LeaseFile {
            node: claim.node.clone(),
            subnets: subnets.values().copied().collect(),
            acquired: before.map_or(now, |(_, file)| file.acquired),
            renewed: now,
            expires: now.after(self.terms.validity),
            attributes: Attributes { node: None, ..Attributes::of(claim) },
        };
        let key = LeaseKey::new(&name(subnets));
        check(&key, &file)?;
        Ok((key, file))
    }

    fn io(&self, source: io::Error) -> Trouble {
        Trouble::Write { directory: self.place.directory().to_owned(), source }
    }
}

/// What is written must be a lease to whoever reads it.
fn check(key: &LeaseKey, file: &LeaseFile) -> Result<Lease, Trouble> {
    file.lease(key, None).map_err(|reason| Trouble::Refused { reason })
}

fn fits(claim: &Claim, file: &LeaseFile) -> bool {
    file.stack().is_ok_and(|subnets| in_pools(&claim.pools, &subnets))
}

/// Whether the subnets are one of each pool.
fn in_pools(pools: &Stack<Pool>, subnets: &Stack<IpNet>) -> bool {
    let same_families = pools.families().eq(subnets.families());
    same_families && pools.iter().all(|(family, pool)| subnets.get(family).is_some_and(|net| pool.compatible(net)))
}
