//! Queueing disciplines and filters: `RTM_*QDISC`, `RTM_*TFILTER`, `struct tcmsg` (linux/pkt_sched.h, linux/pkt_cls.h).

use crate::netlink::{Attributes, Body, Message};

/// `RTM_NEWQDISC`: makes one, and what a dump consists of.
pub const NEW: u16 = libc::RTM_NEWQDISC;
/// `RTM_GETQDISC`.
pub const GET: u16 = libc::RTM_GETQDISC;
/// `RTM_NEWTFILTER`: makes a filter, and what a dump consists of.
pub const NEW_FILTER: u16 = libc::RTM_NEWTFILTER;
/// `RTM_GETTFILTER`.
pub const GET_FILTER: u16 = libc::RTM_GETTFILTER;

/// Octets of `struct tcmsg`.
const HEAD: usize = 20;
/// `TC_H_ROOT`, `TC_H_INGRESS`
const ROOT: u32 = 0xffff_ffff;
const INGRESS_PARENT: u32 = 0xffff_fff1;
/// The handles of our disciplines: `1:` and `ffff:`.
const FIRST: u32 = 1 << 16;
const INGRESS: u32 = 0xffff << 16;
/// `TCA_KIND`, `TCA_OPTIONS`
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
/// `TCA_TBF_…`
const TBF_PARAMETERS: u16 = 1;
const TBF_RATE64: u16 = 4;
const TBF_BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET`: without it the kernel asks for a table of times.
const ETHERNET: u8 = 1;
/// `ETH_P_ALL`, and the priority that our filter has.
const ALL_PROTOCOLS: u16 = 3;
const PRIORITY: u32 = 1;
/// `TCA_U32_…`, `TC_U32_TERMINAL`
const U32_CLASS: u16 = 1;
const U32_SELECTOR: u16 = 5;
const U32_ACTIONS: u16 = 7;
const TERMINAL: u8 = 1;
/// `TCA_ACT_…`, `TCA_MIRRED_PARMS`, `TC_ACT_STOLEN`, `TCA_EGRESS_REDIR`
const ACTION_KIND: u16 = 1;
const ACTION_OPTIONS: u16 = 2;
const MIRRED_PARAMETERS: u16 = 2;
const STOLEN: u32 = 4;
const REDIRECT: u32 = 1;

/// A token bucket: so much at a time, so much a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Octets a second.
    pub rate: u64,
    /// Octets at a time.
    pub burst: u32,
    /// Octets that may wait.
    pub limit: u32,
}

impl Bucket {
    /// How long it takes to fill, in the units that the kernel tells it in: 64 ns each, cut to 32 bits (`PSCHED_NS2TICKS`).
    fn ticks(&self) -> u64 {
        let nanoseconds = u128::from(self.burst) * 1_000_000_000 / u128::from(self.rate.max(1));
        u64::try_from(nanoseconds >> 6).unwrap_or(u64::MAX)
    }

    /// Whether that is the bucket that the kernel tells of, which calculates in fixed point.
    pub fn is(&self, seen: &Seen) -> bool {
        let wanted = self.ticks();
        let off = (wanted as u32).wrapping_sub(seen.ticks).cast_signed().unsigned_abs();
        self.rate == seen.rate && u64::from(off) <= wanted / 1000 + 2
    }
}

/// A token bucket as the kernel tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Index of its link.
    pub link: u32,
    /// Octets a second.
    pub rate: u64,
    ticks: u32,
}

impl Seen {
    /// Reads a dump's message; `None` when it is something else than a token bucket at a link's root.
    pub fn read(message: &Message<'_>) -> Option<Seen> {
        let (link, parent) = head_of(message, NEW)?;
        let attributes = message.attributes(HEAD);
        if parent != ROOT || attributes.get(KIND)?.text()? != "tbf" {
            return None;
        }
        let options = attributes.get(OPTIONS)?.nested();
        // struct tc_tbf_qopt: two tc_ratespec of 12 octets, the rate in the last four; limit; buffer; mtu.
        let number = |at: usize| {
            let octets: [u8; 4] = options.get(TBF_PARAMETERS)?.bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_ne_bytes(octets))
        };
        let large = options.get(TBF_RATE64).and_then(|rate| rate.bytes.try_into().ok()).map(u64::from_ne_bytes);
        Some(Seen { link, rate: large.unwrap_or(u64::from(number(8)?)), ticks: number(28)? })
    }
}

fn head_of(message: &Message<'_>, kind: u16) -> Option<(u32, u32)> {
    if message.header.kind != kind {
        return None;
    }
    let head: [u8; HEAD] = message.fixed()?;
    let word = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
    Some((word(4)?, word(12)?))
}

fn head(body: &mut Body<'_>, link: u32, (handle, parent, info): (u32, u32, u32)) {
    let mut head = [0; HEAD];
    for (at, word) in [(4, link), (8, handle), (12, parent), (16, info)] {
        head[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    body.fixed(&head);
}

/// `tc qdisc replace dev … root handle 1: tbf rate RATE burst BURST limit LIMIT`
pub fn token_bucket(body: &mut Body<'_>, link: u32, bucket: &Bucket) {
    head(body, link, (FIRST, ROOT, 0));
    body.text(KIND, "tbf");
    body.nest(OPTIONS, |options| {
        let mut parameters = [0; 36];
        parameters[1] = ETHERNET;
        parameters[8..12].copy_from_slice(&u32::try_from(bucket.rate).unwrap_or(u32::MAX).to_ne_bytes());
        parameters[24..28].copy_from_slice(&bucket.limit.to_ne_bytes());
        options.bytes(TBF_PARAMETERS, &parameters);
        options.u32(TBF_BURST, bucket.burst);
        if u32::try_from(bucket.rate).is_err() {
            options.bytes(TBF_RATE64, &bucket.rate.to_ne_bytes());
        }
    });
}

/// `tc qdisc add dev … handle ffff: ingress`
pub fn ingress(body: &mut Body<'_>, link: u32) {
    head(body, link, (INGRESS, INGRESS_PARENT, 0));
    body.text(KIND, "ingress");
}

/// `tc filter add dev … parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev OTHER`
pub fn redirect(body: &mut Body<'_>, link: u32, other: u32) {
    head(body, link, (0, INGRESS, PRIORITY << 16 | u32::from(ALL_PROTOCOLS.to_be())));
    body.text(KIND, "u32");
    body.nest(OPTIONS, |options| {
        options.u32(U32_CLASS, FIRST | 1);
        // struct tc_u32_sel with one key, which everything matches.
        let mut selector = [0; 32];
        (selector[0], selector[2]) = (TERMINAL, 1);
        options.bytes(U32_SELECTOR, &selector);
        options.nest(U32_ACTIONS, |actions| {
            actions.nest(1, |action| {
                action.text(ACTION_KIND, "mirred");
                action.nest(ACTION_OPTIONS, |options| {
                    // struct tc_mirred: index, capabilities, action, two counters; what to do; with which link.
                    let words = [0, 0, STOLEN, 0, 0, REDIRECT, other];
                    options.bytes(MIRRED_PARAMETERS, &words.map(u32::to_ne_bytes).concat());
                });
            });
        });
    });
}

/// The disciplines of a link. `tc qdisc show dev …`
pub fn of_link(body: &mut Body<'_>, link: u32) {
    head(body, link, (0, 0, 0));
}

/// The filters of a link for what comes in. `tc filter show dev … ingress`
pub fn filters_of(body: &mut Body<'_>, link: u32) {
    head(body, link, (0, INGRESS, 0));
}

/// The link that a filter sends everything to; `None` when it does something else.
pub fn redirected_to(message: &Message<'_>) -> Option<u32> {
    head_of(message, NEW_FILTER)?;
    let options: Attributes<'_> = message.attributes(HEAD).get(OPTIONS)?.nested();
    let action = options.get(U32_ACTIONS)?.nested().next()?.nested();
    if action.get(ACTION_KIND)?.text()? != "mirred" {
        return None;
    }
    let parameters = action.get(ACTION_OPTIONS)?.nested().get(MIRRED_PARAMETERS)?.bytes;
    Some(u32::from_ne_bytes(parameters.get(24..28)?.try_into().ok()?))
}

/// `ip link add NAME mtu N txqueuelen N type ifb`, down: what is up is finished.
pub fn intermediate(body: &mut Body<'_>, name: backends::LinkName, mtu: u32) {
    super::link::head(body, 0, (0, 0));
    body.text(libc::IFLA_IFNAME, name.as_str());
    body.u32(libc::IFLA_MTU, mtu);
    // As many packets as a wire lets wait; an `ifb` has 32 by itself.
    body.u32(libc::IFLA_TXQLEN, 1000);
    body.nest(super::link::INFO, |info| info.text(super::link::INFO_KIND, "ifb"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::Header;

    fn message(kind: u16, body: &[u8]) -> Message<'_> {
        Message { header: Header { kind, flags: 0, sequence: 0 }, port: 0, body }
    }

    #[test]
    fn a_bucket_is_known_again_by_what_the_kernel_says_in_its_own_units() {
        let bucket = Bucket { rate: 1_000_000, burst: 125_000, limit: 0 };
        // 125 ms, in 64 ns each.
        let seen = |rate, ticks| Seen { link: 1, rate, ticks };
        assert!(bucket.is(&seen(1_000_000, 1_953_125)) && bucket.is(&seen(1_000_000, 1_953_100)));
        assert!(!bucket.is(&seen(1_000_001, 1_953_125)) && !bucket.is(&seen(1_000_000, 1_900_000)));
        // Four minutes and more do not fit into the kernel's answer, which is cut.
        let slow = Bucket { rate: 1, burst: 2000, limit: 0 };
        assert!(slow.is(&seen(1, (2_000_000_000_000_u64 >> 6) as u32)));
    }

    proptest! {
        #[test]
        fn any_octets_can_be_read(octets in proptest::collection::vec(any::<u8>(), 0..160)) {
            Seen::read(&message(NEW, &octets));
            redirected_to(&message(NEW_FILTER, &octets));
        }
    }
}
