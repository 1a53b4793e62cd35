//! What this node knows of its uplink, what it keeps of it where one family has lost its own, and when it begins without one.

use std::net::IpAddr;
use std::time::Duration;

use backends::Uplink;
use ipam::{Family, Stack};

use super::{Node, Trouble};
use crate::trigger::Moment;

/// How long a node that never had an uplink in one of its families waits for it before it begins without: longer than an address takes
/// that routers or DHCP give, once the other family has its own.
const PATIENCE: Duration = Duration::from_secs(15);

impl Node {
    /// Takes the uplink as it is now, or why there is none. Without one the last is kept: what runs keeps running.
    pub fn on_uplink(&mut self, found: Result<Uplink, String>, now: Moment) {
        match found {
            Ok(uplink) => {
                self.uplink_trouble = None;
                if self.uplink.as_ref() != Some(&uplink) {
                    self.uplink = Some(uplink);
                    self.touch_bgp();
                    self.changed = true;
                    self.take_offered(now);
                }
            }
            Err(reason) => {
                let since = self.uplink_trouble.as_ref().map_or(now, |trouble| trouble.since);
                if self.uplink_trouble.as_ref().map(|trouble| &trouble.reason) != Some(&reason) {
                    tracing::warn!("uplink: {reason}");
                }
                self.uplink_trouble = Some(Trouble { since, reason });
            }
        }
    }

    /// Takes what one family has of the uplink, where the other has nothing. That keeps the address that it had last, also over
    /// a restart; if it never had one, the node begins with the first alone, and takes the other when it comes.
    pub fn on_half_uplink(&mut self, half: Option<Uplink>, now: Moment) {
        self.half_due = None;
        let Some(half) = half else {
            self.uplink_lacks = None;
            return;
        };
        let kept = self.complemented(&half);
        self.kept_half = kept.is_some();
        let whole = kept.or_else(|| self.is_enough(&half, now).then(|| half.clone()));
        self.uplink_lacks = Family::ALL.into_iter().find(|family| whole.is_some() && !half.local.has(*family));
        if let Some(uplink) = whole {
            let trouble = self.uplink_trouble.take();
            self.on_uplink(Ok(uplink), now);
            self.uplink_trouble = trouble;
        }
    }

    /// What is wrong where one family has no uplink: one sentence.
    pub fn lame_uplink(&self) -> Option<String> {
        let (family, trouble) = (self.uplink_lacks?, self.uplink_trouble.as_ref()?);
        let meanwhile = if self.kept_half {
            format!("what {family} had last is kept")
        } else {
            format!("pods that start now get no {family} address")
        };
        Some(format!("uplink: {}; {meanwhile}", trouble.reason))
    }

    /// Whether a node that knows nothing of the other family goes on with what there is: pods that start then have one address for ever,
    /// so at its very beginning it waits a while for what may be only a router's advertisement away.
    fn is_enough(&mut self, half: &Uplink, now: Moment) -> bool {
        let same = |families: Vec<Family>| families == half.local.families().collect::<Vec<_>>();
        let so_before = self.uplink.as_ref().is_some_and(|uplink| same(uplink.local.families().collect()))
            || self.own_or_last().is_some_and(|lease| same(lease.endpoints.families().collect()));
        let due = self.uplink_trouble.as_ref().map_or(now, |trouble| trouble.since) + PATIENCE;
        self.half_due = (!so_before && now < due).then_some(due);
        self.half_due.is_none()
    }

    /// With the addresses that the other family had last.
    fn complemented(&self, half: &Uplink) -> Option<Uplink> {
        let known = self.uplink.as_ref().filter(|uplink| uplink.link == half.link);
        let published = || self.own_or_last().map(|lease| lease.endpoints.map(|_, endpoint| endpoint.public));
        let public = known.map(|uplink| uplink.public).or_else(published)?;
        let local = known.map_or(public, |uplink| uplink.local);
        let both = |half: &Stack<IpAddr>, last: &Stack<IpAddr>| {
            let [v4, v6] = Family::ALL.map(|family| half.get(family).or(last.get(family)).copied());
            v4.zip(v6).map(|(v4, v6)| Stack::Dual { v4, v6 })
        };
        let mut settings = known.map(|uplink| uplink.settings.clone()).unwrap_or_default();
        settings.extend(half.settings.clone());
        Some(Uplink {
            local: both(&half.local, &local)?,
            public: both(&half.public, &public)?,
            settings,
            ..half.clone()
        })
    }
}
