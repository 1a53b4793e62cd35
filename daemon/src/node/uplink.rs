//! What this node knows of its uplink, and what it keeps of it where one family has lost its own.

use std::net::IpAddr;

use backends::Uplink;
use ipam::{Family, Stack};

use super::{Node, Trouble};
use crate::trigger::Moment;

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

    /// Takes what one family has of the uplink, where the other has nothing: that keeps the address that it had last, also over
    /// a restart, and what becomes of it takes nothing from the first.
    pub fn on_half_uplink(&mut self, half: Option<Uplink>, now: Moment) {
        let whole = half.as_ref().and_then(|half| self.complemented(half));
        self.uplink_lacks = half
            .filter(|_| whole.is_some())
            .and_then(|half| Family::ALL.into_iter().find(|family| !half.local.has(*family)));
        if let Some(uplink) = whole {
            let trouble = self.uplink_trouble.take();
            self.on_uplink(Ok(uplink), now);
            self.uplink_trouble = trouble;
        }
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
