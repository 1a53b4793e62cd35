//! [`Ours`]: the daemon's BFD in a node of the lab, told what to watch as the speaker tells it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU8;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use backends::state::LinkName;
use netns_harness::Node;
use towpathd::bgp::liveness::{BfdEnd, BfdHops, BfdKey, BfdNews, BfdPaths, BfdSettings, BfdState, talk};

/// How long anything may take that a router does.
pub const LIMIT: Duration = Duration::from_secs(30);

/// BFD of ours.
pub struct Ours {
    pub node: Node,
    /// What was told, in order.
    pub told: Vec<BfdNews>,
    end: BfdEnd,
    paths: BfdPaths,
    thread: JoinHandle<()>,
}

impl Ours {
    /// That watches nothing yet.
    pub fn start(node: Node) -> Result<Ours> {
        let (end, watch) = talk();
        let thread = node.namespace().within(|| Ok(towpathd::bfd::start(watch)?))?;
        Ok(Ours { node, told: Vec::new(), end, paths: BfdPaths::new(), thread })
    }

    /// Watches a path, or watches it otherwise.
    pub fn watch(&mut self, key: BfdKey, settings: BfdSettings) {
        self.paths.insert(key, settings);
        self.end.paths.send_replace(self.paths.clone());
    }

    /// Watches a path no longer.
    pub fn leave(&mut self, key: &BfdKey) {
        self.paths.remove(key);
        self.told.retain(|news| news.key != *key);
        self.end.paths.send_replace(self.paths.clone());
    }

    /// Waits until the next change of a path is told, which is this.
    pub fn next(&mut self, key: &BfdKey, state: BfdState) -> Result<BfdNews> {
        let news = self.wait(LIMIT, key)?;
        match news {
            Some(news) if news.state == state => Ok(news),
            other => bail!("{state:?} of {key:?} was awaited, and {other:?} came; before that {:?}", self.told),
        }
    }

    /// The next change of a path that is told in this time.
    pub fn wait(&mut self, limit: Duration, key: &BfdKey) -> Result<Option<BfdNews>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let end = Instant::now() + limit;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let news = runtime.block_on(async { tokio::time::timeout(left, self.end.news.recv()).await });
            match news {
                Ok(Some(news)) => {
                    // That a path is still up is said again whenever other paths are wanted.
                    let before = self.told.iter().rfind(|before| before.key == news.key);
                    if before.is_some_and(|before| before.state == news.state) {
                        continue;
                    }
                    self.told.push(news.clone());
                    if news.key == *key {
                        return Ok(Some(news));
                    }
                }
                Ok(None) => bail!("BFD has ended"),
                Err(_) => break,
            }
        }
        Ok(None)
    }

    /// Waits until it says this of a path that is up, when it is asked again.
    pub fn until(&mut self, key: &BfdKey, text: &str) -> Result<()> {
        netns_harness::wait_for(text, LIMIT, || {
            self.end.paths.send_replace(self.paths.clone());
            let news = self.end.news.blocking_recv().context("BFD has ended")?;
            ensure!(news.key == *key && news.state == BfdState::Up, "{news:?}");
            ensure!(news.reason.contains(text), "{news:?}");
            Ok(())
        })
    }

    /// Ends it, as the daemon does.
    pub fn end(self) -> Result<()> {
        drop(self.end);
        self.thread.join().map_err(|_| anyhow::anyhow!("the thread of BFD panicked"))
    }
}

/// So many packets of such an interval.
pub fn every(milliseconds: u64, multiplier: u8) -> BfdSettings {
    let interval = Duration::from_millis(milliseconds);
    BfdSettings { transmit: interval, receive: interval, multiplier: NonZeroU8::new(multiplier).unwrap() }
}

/// Over one hop, by `eth0`.
pub fn direct(remote: IpAddr) -> BfdKey {
    let local = if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    BfdKey { local, remote, link: Some(LinkName::new("eth0").unwrap()), hops: BfdHops::Single }
}

/// Over as many hops as a least TTL allows.
pub fn far(local: IpAddr, remote: IpAddr, least_ttl: u8) -> BfdKey {
    BfdKey { local, remote, link: None, hops: BfdHops::Multi { least_ttl } }
}
