//! [`Leases`]: what is known of the lease files, and how a look at the directory becomes records. Blocking code: it runs
//! beside the daemon's own thread, which moves the value there and back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use ipam::table::Record;
use ipam::{Lease, LeaseKey, Stack};
use ipnet::IpNet;

use super::file::{Found, LeaseFile, Stamp, is_lease_name, read};
use super::place::Place;
use crate::store::Claim;
use crate::store::attributes::fit;
use crate::store::known::Known;
use crate::store::subnet_key::cut;
use crate::store::terms::Terms;
use crate::store::utc::Utc;

/// Which files to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// These names.
    At(BTreeSet<String>),
    /// All that changed since they were last looked at.
    All,
}

impl Look {
    /// Nothing yet.
    pub fn none() -> Look {
        Look::At(BTreeSet::new())
    }

    /// This one too.
    pub fn add(&mut self, name: &str) {
        if let Look::At(names) = self {
            names.insert(name.to_owned());
        }
    }
}

#[derive(Debug)]
struct Seen {
    stamp: Option<Stamp>,
    expires: Option<Utc>,
}

/// What is known of the lease files.
#[derive(Debug)]
pub struct Leases {
    pub(super) place: Place,
    pub(super) terms: Terms,
    /// Leftovers older than this are removed.
    sweep_after: Duration,
    pub(super) known: Known,
    seen: BTreeMap<LeaseKey, Seen>,
    networks: Option<Stack<IpNet>>,
    /// What was learnt and not told yet: it must not get lost with a turn that fails half-way.
    pub(super) news: Vec<Record>,
    /// The lease that this node holds, as last written or found.
    pub(super) held: Option<(LeaseKey, LeaseFile)>,
    /// Whose lease is shown even when it has expired: the claim last asked for.
    pub(super) claim: Option<Claim>,
}

impl Leases {
    /// Nothing known yet of the lease files in a directory.
    pub fn new(directory: &Path, terms: Terms, sweep_after: Duration) -> Leases {
        let place = Place::new(directory.to_owned());
        let (known, seen) = (Known::default(), BTreeMap::new());
        let (networks, news, held, claim) = (None, Vec::new(), None, None);
        Leases { place, terms, sweep_after, known, seen, networks, news, held, claim }
    }

    /// Says where leases must lie. Whether files must be looked at again because of it.
    pub fn judge_by(&mut self, networks: Stack<IpNet>) -> bool {
        if self.networks.as_ref() == Some(&networks) {
            return false;
        }
        let unsettled = self.known.unsettled_by(|subnets| fit(subnets, Some(&networks)).is_ok());
        self.networks = Some(networks);
        if unsettled {
            self.seen.values_mut().for_each(|seen| seen.stamp = None);
        }
        unsettled
    }

    /// Looks at files.
    ///
    /// # Errors
    /// The directory's; a single file's trouble is a record.
    pub fn look(&mut self, look: &Look) -> io::Result<()> {
        match look {
            Look::At(names) => {
                for name in names {
                    self.look_at(&LeaseKey::new(name))?;
                }
            }
            Look::All => {
                let mut present = BTreeSet::new();
                for entry in fs::read_dir(self.place.directory())? {
                    let entry = entry?;
                    let Some(name) = entry.file_name().to_str().filter(|name| is_lease_name(name)).map(str::to_owned)
                    else {
                        self.sweep(&entry);
                        continue;
                    };
                    let key = LeaseKey::new(&name);
                    let stamp = entry.metadata().ok().map(|metadata| Stamp::of(&metadata));
                    let before = self.seen.get(&key).and_then(|seen| seen.stamp);
                    if stamp.is_none() || stamp != before {
                        self.look_at(&key)?;
                    }
                    present.insert(key);
                }
                for key in self.known.others(&present) {
                    self.look_at(&key)?;
                }
            }
        }
        self.expire();
        Ok(())
    }

    /// How long until a lease that is shown ends.
    pub fn next_end(&self) -> Option<Duration> {
        let now = Utc::now();
        let shown = self.seen.iter().filter(|(key, _)| self.known.shows(key) && !self.is_own(key));
        shown.filter_map(|(_, seen)| seen.expires).min().map(|end| now.until(end))
    }

    /// Looks at one file.
    ///
    /// # Errors
    /// The directory is not there, which says nothing of the file.
    pub(super) fn look_at(&mut self, key: &LeaseKey) -> io::Result<()> {
        let path = self.place.directory().join(key.as_str());
        // The stamp first: if the file changes in between, the next look reads it again.
        let stamp = fs::symlink_metadata(&path).ok().map(|metadata| Stamp::of(&metadata));
        let (verdict, expires) = match read(&path) {
            Found::Nothing => {
                fs::metadata(self.place.directory())?;
                self.seen.remove(key);
                let gone = Record::Gone(key.clone());
                if self.known.learn(&gone) {
                    self.news.push(gone);
                }
                return Ok(());
            }
            Found::Garbage(reason) => (Err(reason), None),
            Found::Lease(file) => (file.lease(key, self.networks.as_ref()), Some(file.expires)),
        };
        self.seen.insert(key.clone(), Seen { stamp, expires });
        let in_full = |reason| Record::Garbage(key.clone(), format!("{}: {reason}", cut(&path.to_string_lossy())));
        let record = verdict.map_or_else(in_full, Record::Lease);
        if self.has_ended(key, expires, &record) {
            let shown = self.known.shows(key);
            self.known.learn(&record);
            self.known.hide(key);
            self.news.extend(shown.then(|| Record::Gone(key.clone())));
        } else if self.known.learn(&record) {
            self.news.push(record);
        }
        Ok(())
    }

    /// Takes leases back that have ended since the last look.
    fn expire(&mut self) {
        let now = Utc::now();
        let ended = |(key, seen): (&LeaseKey, &Seen)| {
            let ended =
                seen.expires.is_some_and(|expires| expires <= now) && !self.is_own(key) && self.known.shows(key);
            ended.then(|| key.clone())
        };
        let ended: Vec<LeaseKey> = self.seen.iter().filter_map(ended).collect();
        for key in ended {
            self.known.hide(&key);
            self.news.push(Record::Gone(key));
        }
    }

    fn has_ended(&self, key: &LeaseKey, expires: Option<Utc>, record: &Record) -> bool {
        let node = self.claim.as_ref().map(|claim| &claim.node);
        let own = |lease: &Lease| self.is_own(key) || Some(&lease.node) == node;
        let others = matches!(record, Record::Lease(lease) if !own(lease));
        others && expires.is_some_and(|expires| expires <= Utc::now())
    }

    fn is_own(&self, key: &LeaseKey) -> bool {
        self.held.as_ref().is_some_and(|(held, _)| held == key)
    }

    /// Files of others that have ended in these pools, the longest ended first.
    pub(super) fn ended(&self) -> Vec<LeaseKey> {
        let now = Utc::now();
        let mut ended: Vec<(Utc, &LeaseKey)> =
            self.seen.iter().filter_map(|(key, seen)| Some((seen.expires.filter(|end| *end <= now)?, key))).collect();
        ended.sort();
        ended.into_iter().map(|(_, key)| key.clone()).collect()
    }

    fn sweep(&self, entry: &fs::DirEntry) {
        if let Err(error) = self.place.sweep(&entry.file_name(), self.sweep_after) {
            tracing::debug!(file = %entry.path().display(), %error, "a leftover cannot be swept");
        }
    }
}
