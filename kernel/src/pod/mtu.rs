//! The MTU of pods that run: their bridge and both ends of their wires follow what the daemon says in `subnet.env`.
//!
//! Only what took its MTU from that file follows, and the kernel is the memory of which that is: the plugin puts such links
//! into a link group that says the file and the MTU that the pod's end was given last ([`group`]). A pod's end that has another
//! than that, and than the host's end, was set by somebody else, and is left alone.
//!
//! A packet that is larger than the MTU of the end that it arrives at vanishes (`__dev_forward_skb`), so the host's end is never
//! the smaller: it grows before the pod's end and shrinks after it. Killed at any instant, the next call does the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use backends::fingerprint::Fingerprint;

use super::exchange::Exchange;
use super::host::{Found, Host};
use super::inside::Pod;
use super::namespaces::{self, NotFound};
use crate::codec::{link, namespace};
use crate::error::Result;
use crate::netlink::{Body, Request};
use crate::netns::{Netns, NetnsError};
use crate::tag::Tag;

/// What groups begin with; see [`super::burial::GROUP`], which has no MTU in its place.
const PREFIX: u32 = 0x5000_0000;
const PREFIX_AND_FILE: u32 = 0xffff_0000;
/// Messages that go to the kernel at a time.
const AT_A_TIME: usize = 64;

/// The link group of what takes its MTU from a `subnet.env`, with the MTU that it was given. `ip link set … group N`
pub fn group(subnet_file: &Path, mtu: u32) -> u32 {
    let mut digest = 0;
    for byte in Fingerprint::of([subnet_file.to_string_lossy().as_ref()]).to_string().bytes() {
        // Twelve bits of it: two daemons on one node are told apart by it.
        digest = (digest * 31 + u32::from(byte)) & 0xfff;
    }
    PREFIX | digest << 16 | mtu.min(0xffff)
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Links that have another MTU now.
    pub changed: usize,
    /// Pods of which the inside did not follow.
    pub left: Vec<Left>,
}

/// A pod that keeps another MTU inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Container and interface.
    pub owner: String,
    /// Its MTU, octets, if it could be looked at.
    pub mtu: Option<u32>,
    /// Why.
    pub reason: Reason,
}

/// Why a pod keeps another MTU inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Somebody set it there: a plugin behind ours, or the pod.
    SetInside,
    /// Its namespace was not found.
    NotFound(NotFound),
    /// It was not entered, or refused: a sentence.
    Refused(String),
}

/// A link without a pod behind it, as it was found: index and MTU.
type Plain = (u32, u32);

/// A wire, as it was found.
#[derive(Clone, Debug)]
struct Wire {
    index: u32,
    owner: String,
    host: u32,
    recorded: u32,
    /// The pod's end: the namespace's number and the index there.
    pod: Option<(u32, u32)>,
    /// The MTU there.
    inside: Option<u32>,
}

impl Wire {
    /// Whether the pod's end is ours to set: it has what it was given last, or is about to be.
    fn follows(&self) -> bool {
        self.inside.is_some_and(|inside| inside == self.recorded || inside == self.host)
    }

    /// What the host's end is to have, with the pod's end as it is.
    fn host_end(&self, wanted: u32) -> u32 {
        match self.inside {
            // What passes now does so afterwards; whoever set more than ever passed gains nothing by it.
            Some(inside) if inside > wanted && inside <= self.host => self.host,
            // It could not be looked at: nothing is known to fit.
            None if self.pod.is_some() => self.host.max(wanted),
            _ => wanted,
        }
    }
}

/// Brings all that follows this `subnet.env` to an MTU. It takes CAP_SYS_ADMIN where there is something to change in pods.
///
/// # Errors
/// When the node's own links cannot be listed or changed. What one pod refuses is said in the result.
pub fn follow(subnet_file: &Path, wanted: u32) -> Result<Followed> {
    // Entering a namespace is for good: for a thread that ends.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("pods' MTU".into());
        let joined = thread.spawn_scoped(scope, || on_this_thread(subnet_file, wanted)).map(|thread| thread.join());
        match joined {
            Ok(Ok(followed)) => followed,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(source) => Err(crate::Error::System { doing: "starting a thread for the pods' MTU".into(), source }),
        }
    })
}

fn on_this_thread(subnet_file: &Path, wanted: u32) -> Result<Followed> {
    let mut host = Host::open()?;
    let marked = group(subnet_file, wanted);
    let (mut plain, mut wires) = host.followers(marked)?;
    host.look_inside(&mut wires)?;
    plain.retain(|(_, mtu)| *mtu != wanted);
    let mut followed = Followed { changed: plain.len(), left: Vec::new() };
    let whole = |(index, _): &Plain| (*index, Some(wanted), Some(marked));
    // What grows, from the outside inwards; and the note of what the pods' ends are about to have, where they shrink.
    let mut first: Vec<_> = plain.iter().filter(|(_, now)| *now < wanted).map(whole).collect();
    for wire in &mut wires {
        if wire.host < wanted {
            first.push((wire.index, Some(wanted), None));
            followed.changed += 1;
        } else if wire.follows() && wire.recorded != wanted {
            first.push((wire.index, None, Some(marked)));
        }
    }
    host.set_links(&first)?;
    followed.left = host.set_inside(&mut wires, wanted, &mut followed.changed);
    let mut last = Vec::new();
    for wire in &wires {
        let now = wire.host.max(wanted);
        let to = wire.host_end(wanted);
        let note = (wire.inside == Some(wanted) && (wire.recorded != wanted)).then_some(marked);
        if to < now || note.is_some() {
            last.push((wire.index, (to < now).then_some(to), note));
            followed.changed += usize::from(to < now);
        }
    }
    last.extend(plain.iter().filter(|(_, now)| *now > wanted).map(whole));
    host.set_links(&last)?;
    Ok(followed)
}

impl Host {
    /// The links of this group's file: those with nothing behind them, with their MTUs, and the wires of pods.
    fn followers(&mut self, marked: u32) -> Result<(Vec<Plain>, Vec<Wire>)> {
        let request = Request { kind: link::GET, flags: 0, doing: "listing the node's links" };
        let (mut plain, mut wires) = (Vec::new(), Vec::new());
        for message in self.socket.dump(&request, link::all)? {
            let Some(found) = Found::read(&message) else { continue };
            if found.group & PREFIX_AND_FILE != marked & PREFIX_AND_FILE || given(found.group).is_none() {
                continue;
            }
            if !found.alias.starts_with(Tag::PREFIX) {
                plain.push((found.index, found.mtu));
                continue;
            }
            let pod = namespace::of_peer(&message).zip(found.peer);
            let owner = Tag::owner_in(&found.alias).to_owned();
            let recorded = found.group & 0xffff;
            wires.push(Wire { index: found.index, owner, host: found.mtu, recorded, pod, inside: None });
        }
        Ok((plain, wires))
    }

    /// Looks at the pods' ends, without entering.
    fn look_inside(&mut self, wires: &mut [Wire]) -> Result<()> {
        let mut seen = BTreeMap::new();
        for some in wires.chunks(AT_A_TIME) {
            let mut exchange = Exchange::new(&mut self.socket);
            for (number, index) in some.iter().filter_map(|wire| wire.pod) {
                exchange.question(link::GET, |body| namespace::link_in(body, number, index));
            }
            // One that is refused is not known: its pod is gone, mostly.
            exchange.finish(|message| {
                if let (Some(number), Some(found)) = (namespace::looked_in(message), Found::read(message)) {
                    seen.insert((number, found.index), found.mtu);
                }
            })?;
        }
        for wire in wires {
            wire.inside = wire.pod.and_then(|pod| seen.get(&pod).copied());
        }
        Ok(())
    }

    /// Sets the pods' ends that follow and have another MTU. Returns those that it could not, and those that do not follow.
    fn set_inside(&mut self, wires: &mut [Wire], wanted: u32, changed: &mut usize) -> Vec<Left> {
        let due = |wire: &Wire| wire.inside.is_some_and(|inside| inside != wanted);
        let needed: BTreeSet<u32> =
            wires.iter().filter(|wire| due(wire) && wire.follows()).filter_map(|wire| Some(wire.pod?.0)).collect();
        let (spaces, missing) = namespaces::find(self, needed);
        let mut left = Vec::new();
        for wire in wires.iter_mut().filter(|wire| due(wire)) {
            let Some((number, index)) = wire.pod else { continue };
            let reason = match spaces.get(&number) {
                _ if !wire.follows() => Reason::SetInside,
                None => Reason::NotFound(missing),
                Some(netns) => match set(netns, index, wanted) {
                    Ok(()) => {
                        wire.inside = Some(wanted);
                        *changed += 1;
                        continue;
                    }
                    Err(refused) => Reason::Refused(refused),
                },
            };
            left.push(Left { owner: wire.owner.clone(), mtu: wire.inside, reason });
        }
        left
    }

    /// MTU and group of links, each where it is said.
    fn set_links(&mut self, links: &[(u32, Option<u32>, Option<u32>)]) -> Result<()> {
        for some in links.chunks(AT_A_TIME) {
            let mut exchange = Exchange::new(&mut self.socket);
            for (index, mtu, group) in some {
                exchange.order((link::NEW, 0), |body| set_link(body, *index, (*mtu, *group)));
            }
            // ENODEV: it went meanwhile.
            let refusals = exchange.finish(|_| {})?.tolerate(|_, errno| errno == libc::ENODEV);
            refusals.into_result(|_| "setting the MTU of pods' wires".to_owned())?;
        }
        Ok(())
    }
}

fn set_link(body: &mut Body<'_>, index: u32, (mtu, group): (Option<u32>, Option<u32>)) {
    link::by_index(body, index);
    mtu.iter().for_each(|mtu| body.u32(libc::IFLA_MTU, *mtu));
    group.iter().for_each(|group| body.u32(libc::IFLA_GROUP, *group));
}

/// One pod's end. The calling thread is in its namespace afterwards.
fn set(netns: &Netns, index: u32, mtu: u32) -> std::result::Result<(), String> {
    let mut pod = Pod::enter(netns).map_err(|error| match error {
        super::PodError::Netns(NetnsError::Enter { source, .. }) => format!("it cannot be entered: {source}"),
        error => error.to_string(),
    })?;
    let set = pod.set_mtu(index, mtu);
    set.map_err(|error| error.to_string())
}

impl Pod {
    /// `ip link set dev … mtu N`
    fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<()> {
        let mut exchange = Exchange::new(&mut self.socket);
        exchange.order((link::NEW, 0), |body| set_link(body, index, (Some(mtu), None)));
        // ENODEV: the pod went meanwhile.
        let refusals = exchange.finish(|_| {})?.tolerate(|_, errno| errno == libc::ENODEV);
        refusals.into_result(|_| "setting the MTU of a pod's interface".to_owned())
    }
}

/// The MTU that a pod's end was given last, by the group of the host's end; `None` when it does not follow.
pub fn given(group: u32) -> Option<u32> {
    (group & 0xf000_0000 == PREFIX && group & 0xffff != 0).then_some(group & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(host: u32, recorded: u32, inside: Option<u32>) -> Wire {
        Wire { index: 7, owner: "c/eth0".to_owned(), host, recorded, pod: Some((1, 2)), inside }
    }

    #[test]
    fn a_group_tells_the_file_and_the_mtu_and_is_not_the_burials() {
        let [one, two] = ["/run/flannel/subnet.env", "/run/b/subnet.env"].map(Path::new);
        assert_eq!(given(group(one, 1450)), Some(1450));
        assert_ne!(group(one, 1450), group(two, 1450));
        assert_eq!([super::super::burial::GROUP, 0, 1450].map(given), [None; 3]);
    }

    #[test]
    fn what_somebody_set_inside_is_left_alone_and_nothing_that_passed_vanishes() {
        for ((host, recorded, inside), wanted, (follows, end)) in [
            ((1450, 1450, Some(1450)), 1350, (true, 1450)),
            ((1450, 1450, Some(1350)), 1350, (false, 1350)),
            // By a plugin behind ours, smaller and larger than what is wanted now.
            ((1450, 1450, Some(1400)), 1350, (false, 1450)),
            ((1450, 1350, Some(1400)), 1350, (false, 1450)),
            ((1450, 1450, Some(1300)), 1350, (false, 1350)),
            // By the pod: what never passed does not now.
            ((1450, 1450, Some(9000)), 1350, (false, 1350)),
            // Killed in the middle, and another MTU is wanted since: of a shrinking one, and of a growing one.
            ((1450, 1350, Some(1350)), 1400, (true, 1400)),
            ((1450, 1350, Some(1450)), 1400, (true, 1450)),
            ((1450, 1350, Some(1350)), 1450, (true, 1450)),
            // It could not be looked at.
            ((1450, 1450, None), 1350, (false, 1450)),
        ] {
            let wire = wire(host, recorded, inside);
            assert_eq!((wire.follows(), wire.host_end(wanted)), (follows, end), "{wire:?} {wanted}");
        }
    }
}
