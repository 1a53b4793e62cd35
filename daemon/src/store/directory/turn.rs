//! [`Desk`]: one turn of the directory store, from looking to having said everything that is to be said. Blocking code.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipam::table::Record;

use super::Pace;
use super::file::read_bounded;
use super::leases::{Leases, Look};
use super::trouble::Trouble;
use crate::store::events::Topic;
use crate::store::terms::Terms;
use crate::store::{Event, Wish};

/// The configuration of a network is a few hundred bytes.
const MAX_NETWORK: usize = 1 << 20;

/// What a turn has to say.
#[derive(Debug)]
pub enum Said {
    /// To be told (once) as it is.
    Event(Event),
    /// A trouble, now.
    Trouble(Topic, Trouble),
    /// Another node has our lease: a sentence.
    Taken(String),
    /// No trouble of this kind.
    Well(Topic),
}

/// What came of a turn.
#[derive(Debug)]
pub struct Turn {
    /// In the order in which it is to be told.
    pub said: Vec<Said>,
    /// When a lease ends or must be renewed, if one does.
    pub next: Option<Duration>,
    /// Whether something failed that is to be tried again soon.
    pub failed: bool,
}

/// The directory store's whole state.
#[derive(Debug)]
pub struct Desk {
    root: PathBuf,
    leases: Leases,
    /// The directory was there before.
    used: bool,
    /// The first snapshot was told.
    told: bool,
    released: bool,
}

impl Desk {
    /// Before the first turn.
    pub fn new(root: &Path, terms: Terms, pace: Pace) -> Desk {
        let leases = Leases::new(&root.join("leases"), terms, pace.sweep_after);
        Desk { root: root.to_owned(), leases, used: false, told: false, released: false }
    }

    /// Makes the directories where they are missing at the start; later, a directory that is missing as a whole is away.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn prepare(&self) -> Result<(), Trouble> {
        let (leases, network) = (self.root.join("leases"), self.root.join("net-conf.json"));
        if self.used && !leases.exists() && !network.exists() {
            return Err(Trouble::Away { directory: self.root.clone() });
        }
        let made = DirBuilder::new().recursive(true).mode(0o755).create(&leases);
        made.map_err(|source| Trouble::Read { directory: leases, source })
    }

    /// Looks, does what the wish asks for, and says what is new.
    pub fn turn(&mut self, look: Look, wish: &Wish) -> Turn {
        let mut said = Vec::new();
        match self.work(look, wish, &mut said) {
            Ok(()) => said.insert(0, Said::Well(Topic::Reach)),
            Err(trouble) => said.push(Said::Trouble(Topic::Reach, trouble)),
        }
        let failed = said.iter().any(|said| matches!(said, Said::Trouble(topic, _) if *topic != Topic::Network));
        let next = self.leases.next_end().into_iter().chain(self.leases.next_renewal()).min();
        Turn { said, next, failed }
    }

    fn work(&mut self, mut look: Look, wish: &Wish, said: &mut Vec<Said>) -> Result<(), Trouble> {
        self.prepare()?;
        let network = self.network();
        if let Wish::Hold(claim) = wish
            && self.leases.judge_by(claim.pools.map(|_, pool| pool.network))
        {
            look = Look::All;
        }
        if !self.told {
            look = Look::All;
        }
        let directory = self.root.join("leases");
        let looked = self.leases.look(&look);
        looked.or_else(|source| self.prepare().and(Err(Trouble::Read { directory, source })))?;
        self.used = true;
        let own = self.wish(wish);
        // If the directory went away in the middle of this, that is what is wrong, and not what came of it.
        self.prepare()?;
        said.push(network);
        said.extend(own);
        let news = std::mem::take(&mut self.leases.news);
        said.push(Said::Event(if self.told { Event::Changed(news) } else { Event::Snapshot(without_gone(news)) }));
        self.told = true;
        Ok(())
    }

    /// The network's configuration, with a word when there is none.
    fn network(&self) -> Said {
        let file = self.root.join("net-conf.json");
        match read_bounded(&file, MAX_NETWORK) {
            Ok(text) => Said::Event(Event::Network(String::from_utf8_lossy(&text).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Said::Trouble(Topic::Network, Trouble::NoNetwork { file })
            }
            Err(source) => Said::Trouble(Topic::Network, Trouble::Network { file, source }),
        }
    }

    fn wish(&mut self, wish: &Wish) -> Vec<Said> {
        let released = std::mem::replace(&mut self.released, matches!(wish, Wish::Release));
        let answer = match wish {
            Wish::Watch => {
                self.leases.rest();
                return Vec::new();
            }
            Wish::Hold(claim) => self.leases.hold(claim).map(|held| {
                let taken = held.taken.map(Said::Taken);
                taken.into_iter().chain([Said::Event(Event::Mine(held.lease))]).collect()
            }),
            Wish::Release if released => return Vec::new(),
            Wish::Release => self.leases.release().map(|()| vec![Said::Event(Event::Released)]),
        };
        answer.unwrap_or_else(|trouble| {
            self.released = false;
            vec![Said::Trouble(Topic::Claim, trouble)]
        })
    }
}

/// A snapshot holds what there is; what came and went while it was taken is left out.
fn without_gone(records: Vec<Record>) -> Vec<Record> {
    let mut last = std::collections::BTreeMap::new();
    for record in records {
        last.insert(record.key().clone(), record);
    }
    last.into_values().filter(|record| !matches!(record, Record::Gone(_))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::fs;

    use ipam::{BackendData, Mac, NodeName, Pool, Stack};

    use super::*;
    use crate::store::{Claim, Published};

    fn claim(previous: Option<&str>) -> Claim {
        let net = |text: &str| text.parse().unwrap();
        let (first, last) = (net("10.244.1.0/24"), net("10.244.255.0/24"));
        let pool = Pool { network: net("10.244.0.0/16"), length: 24, first, last };
        let data = BackendData::Vxlan { vni: 1, mac: Mac([2, 0, 0, 0, 0, 1]) };
        Claim {
            node: NodeName::new("alpha").unwrap(),
            pools: Stack::V4(pool),
            published: Stack::V4(Published { public: "192.0.2.1".parse().unwrap(), data }),
            previous: previous.map(|subnet| Stack::V4(net(subnet))),
            rollout: None,
        }
    }

    fn desk(root: &Path) -> Desk {
        let validity = Duration::from_secs(24 * 3600);
        let terms = Terms { validity, margin: Duration::from_secs(3600) };
        Desk::new(root, terms, Pace::default())
    }

    fn mine(turn: &Turn) -> Option<String> {
        turn.said.iter().find_map(|said| match said {
            Said::Event(Event::Mine(lease)) => Some(lease.subnets().to_string()),
            _ => None,
        })
    }

    /// A daemon that starts while a mounted directory is away makes one and sees nothing in it; the true one comes back
    /// just before it claims.
    #[test]
    fn a_store_that_comes_back_with_our_lease_does_not_become_a_second_one() {
        for previous in [Some("10.244.161.0/24"), None] {
            let scratch = std::env::temp_dir().join(format!("towpath-turn-{}", std::process::id()));
            let (here, aside) = (scratch.join("store"), scratch.join("aside"));
            let held = desk(&aside).turn(Look::All, &Wish::Hold(claim(Some("10.244.161.0/24"))));
            assert_eq!(mine(&held).as_deref(), Some("10.244.161.0/24"));
            let mut desk = desk(&here);
            assert!(!desk.turn(Look::All, &Wish::Watch).failed);
            fs::remove_dir_all(&here).unwrap();
            fs::rename(&aside, &here).unwrap();
            let claim = Wish::Hold(claim(previous));
            let turn = desk.turn(Look::none(), &claim);
            assert!(turn.failed && mine(&turn).is_none(), "{turn:?}");
            assert_eq!(mine(&desk.turn(Look::All, &claim)).as_deref(), Some("10.244.161.0/24"));
            let leases = fs::read_dir(here.join("leases")).unwrap().count();
            fs::remove_dir_all(&scratch).unwrap();
            assert_eq!(leases, 1);
        }
    }
}
