//! [`Leaving`]: how this node goes, when somebody wants it to, so that nobody's packets are lost: first its routes become everybody's last
//! choice (RFC 8326), then its sessions end with words (RFC 9003). A daemon that merely stops says nothing, and its neighbours keep its routes.

use std::time::Duration;

use bgp::rib::PeerId;
use bgp::wire::notification::cease;
use bgp::wire::{Attributes, Community, NextHop, Nlri, Notification, Origin};
use ipnet::IpNet;
use tokio::sync::oneshot;

use super::answers::answer;
use super::shell::Shell;
use super::wish::Announcement;

/// How long peers have to find other ways before we go (RFC 8326 section 4 leaves it open).
const GRACE: Duration = Duration::from_secs(5);

/// We go, or are gone.
#[derive(Debug)]
pub(super) struct Leaving {
    text: String,
    /// When; nothing once we are.
    at: Option<Duration>,
    /// Who waits for it.
    done: Vec<oneshot::Sender<()>>,
}

impl Shell {
    /// Says that all routes of ours go away soon, and goes when others had time to look for other ways.
    pub(super) fn leave(&mut self, text: String, done: oneshot::Sender<()>, now: Duration) {
        if let Some(leaving) = &mut self.leaving {
            match leaving.at {
                Some(_) => leaving.done.push(done),
                None => answer(done, ()),
            }
            return;
        }
        tracing::info!("BGP neighbours are told that this node goes: {text}");
        self.leaving = Some(Leaving { text, at: Some(now + GRACE), done: vec![done] });
        self.announce_all();
    }

    /// When we go.
    pub(super) fn leaves_at(&self) -> Option<Duration> {
        self.leaving.as_ref()?.at
    }

    /// Goes, if it is time.
    pub(super) fn go(&mut self, now: Duration) {
        let Some(leaving) = self.leaving.as_mut().filter(|leaving| leaving.at.is_some_and(|at| at <= now)) else {
            return;
        };
        leaving.at = None;
        let done = std::mem::take(&mut leaving.done);
        let ids: Vec<PeerId> = self.roster.seats().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.keep_away(id, now));
        done.into_iter().for_each(|done| answer(done, ()));
    }

    /// There is no session with a peer while we are gone.
    pub(super) fn keep_away(&mut self, id: PeerId, now: Duration) {
        if let Some(leaving) = self.leaving.as_ref().filter(|leaving| leaving.at.is_none()) {
            self.speaker.stop(id, Notification::cease(cease::SHUTDOWN, &leaving.text), now);
        }
    }

    /// Comes back.
    pub(super) fn come_back(&mut self, now: Duration) {
        if self.leaving.take().is_none() {
            return;
        }
        tracing::info!("BGP neighbours are told that this node is back");
        self.announce_all();
        let ids: Vec<PeerId> = self.roster.seats().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.speaker.resume(id, now));
    }

    fn announce_all(&mut self) {
        let wish = std::sync::Arc::clone(&self.wish);
        wish.announced.iter().for_each(|(net, announcement)| self.announce(*net, announcement));
        self.tell_of_overlays();
    }

    /// Announces a prefix, as one that is here or as one that goes.
    pub(super) fn announce(&mut self, net: IpNet, announcement: &Announcement) {
        let goes = self.leaving.is_some();
        let mut communities = announcement.communities.clone();
        communities.extend(goes.then_some(Community::GRACEFUL_SHUTDOWN));
        let attributes = Attributes {
            origin: Origin::Igp,
            // Within our AS the community alone says nothing (RFC 8326 section 4.2).
            local_pref: if goes { Some(0) } else { announcement.local_pref },
            med: announcement.metric,
            communities,
            large: announcement.large_communities.clone(),
            ..Attributes::default()
        };
        // Each peer is told the address that we have towards it.
        let hop = NextHop::V4(self.wish.router_id);
        self.speaker.rib().originate(&Nlri::Prefix(net), &attributes, hop);
    }
}
