//! [`Book`]: turns the kernel's messages into [`Notice`]s, and keeps what is needed for that: the names behind link
//! indices and next-hop ids.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use backends::state::{Fdb, FdbKey, Group, Link, Neighbour, NeighbourKey, Nexthop, Route, Tag, Via};
use backends::{LinkName, PROTOCOL};
use ipam::Mac;
use ipnet::IpNet;

use super::Notice;
use crate::codec::{address, kind, link, neighbour, nexthop, route, rule};
use crate::error::{Error, Result};
use crate::netlink::{Body, Header, Message, Request, Socket};
use crate::offload;

/// `AF_UNSPEC`: the bridge and IPv6 announce their own views of a link with the same kinds of message.
const WHOLE_LINK: u8 = 0;

/// What is known of the namespace, for one instance.
#[derive(Debug)]
pub(super) struct Book {
    alias: String,
    /// Whose changes are noted and not told.
    own_port: u32,
    links: HashMap<u32, Known>,
    /// Next-hop objects with our tag, by id. Ids follow each other, so a tree's nodes fill and a hash table's do not.
    nexthops: BTreeMap<u32, Nexthop>,
    /// Groups of them.
    groups: BTreeMap<u32, Group>,
}

/// A link.
#[derive(Debug, PartialEq, Eq)]
struct Known {
    name: LinkName,
    link: Link,
    carrier: bool,
    /// The prefixes of the addresses that it ever had and that others can reach: only with one it can be an uplink.
    nets: BTreeSet<IpNet>,
}

impl Known {
    fn may_be_uplink(&self) -> bool {
        !self.nets.is_empty() && self.link.tag != Tag::Ours
    }

    /// Whether an address of it makes this destination one on the link; a lone address makes none.
    fn surrounds(&self, destination: &IpNet) -> bool {
        self.nets.iter().any(|net| net.prefix_len() != net.max_prefix_len() && net.contains(destination))
    }
}

impl Book {
    pub(super) fn new(alias: &str, own_port: u32) -> Book {
        Book {
            alias: alias.to_owned(),
            own_port,
            links: HashMap::new(),
            nexthops: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Learns everything anew.
    pub(super) fn load(&mut self, asking: &mut Socket) -> Result<()> {
        self.links.clear();
        self.nexthops.clear();
        self.groups.clear();
        let doing = "learning the names of links and next hops";
        let mut unheard = Vec::new();
        // Links twice: one may lie on another that is listed behind it.
        for _ in 0..2 {
            for message in asking.dump(&Request { kind: link::GET, flags: 0, doing }, link::all)? {
                self.link(&message, &mut unheard);
            }
        }
        let all = |body: &mut Body<'_>| address::of_link(body, 0);
        for message in asking.dump(&Request { kind: address::GET, flags: 0, doing }, all)? {
            self.address(&message, &mut unheard);
        }
        // Twice as well: a group may be listed before its members.
        for _ in 0..2 {
            match asking.dump(&Request { kind: nexthop::GET, flags: 0, doing }, nexthop::all) {
                Ok(messages) => messages.for_each(|message| self.nexthop(&message, &mut unheard)),
                // Linux before 5.3.
                Err(Error::Refused { refusal, .. }) if refusal.is_unsupported() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Notes what a message says and tells what it means.
    pub(super) fn hear(&mut self, message: &Message<'_>, seen: &mut Vec<Notice>) {
        let told = seen.len();
        match message.header.kind {
            link::NEW | link::DELETE => self.link(message, seen),
            address::NEW | address::DELETE => self.address(message, seen),
            nexthop::NEW | nexthop::DELETE => self.nexthop(message, seen),
            route::NEW | route::DELETE => self.route(message, seen),
            neighbour::NEW | neighbour::DELETE => self.neighbour(message, seen),
            rule::NEW | rule::DELETE => seen.push(Notice::Uplink),
            _ => {}
        }
        if message.port == self.own_port {
            seen.truncate(told);
        }
    }

    fn ours(&self, index: u32) -> Option<LinkName> {
        self.links.get(&index).filter(|known| known.link.tag == Tag::Ours).map(|known| known.name)
    }

    fn link(&mut self, message: &Message<'_>, seen: &mut Vec<Notice>) {
        let Some(entry) = link::Entry::read(&as_listed(message)) else { return };
        if message.body.first() != Some(&WHOLE_LINK) {
            return;
        }
        let before = self.links.remove(&entry.index);
        let after = if message.header.kind == link::NEW { self.known(&entry) } else { None };
        let nets = || before.as_ref().map(|before| before.nets.clone()).unwrap_or_default();
        let after = after.map(|known| Known { nets: nets(), ..known });
        let features = after.as_ref().filter(|known| entry.features && known.link.tag == Tag::Ours);
        // Its message says that they changed, and not what they are.
        seen.extend(features.map(|known| Notice::Offload { link: known.name, now: offload::of_link(known.name) }));
        if before == after {
            self.links.extend(after.map(|known| (entry.index, known)));
            return;
        }
        let foreign = |known: &Known| known.may_be_uplink();
        if before.as_ref().is_some_and(foreign) || after.as_ref().is_some_and(foreign) {
            seen.push(Notice::Uplink);
        }
        let gone = before.filter(|before| after.as_ref().is_none_or(|after| after.name != before.name));
        seen.extend(gone.map(|known| Notice::Link { name: known.name, now: None }));
        if let Some(known) = after {
            seen.push(Notice::Link { name: known.name, now: Some(Box::new(known.link.clone())) });
            self.links.insert(entry.index, known);
        }
    }

    fn known(&self, entry: &link::Entry<'_>) -> Option<Known> {
        let link = Link {
            kind: kind::read(entry, |index| self.links.get(&index).map(|known| known.name)),
            mac: entry.mac.unwrap_or(Mac([0; 6])),
            mtu: entry.mtu,
            up: entry.up,
            link_local: entry.link_local,
            tag: if entry.alias == Some(self.alias.as_str()) { Tag::Ours } else { Tag::Adopted },
        };
        Some(Known { name: entry.name?, link, carrier: entry.carrier, nets: BTreeSet::new() })
    }

    fn address(&mut self, message: &Message<'_>, seen: &mut Vec<Notice>) {
        let Some(entry) = address::Entry::read(&as_listed(message)) else { return };
        let Some(known) = self.links.get_mut(&entry.link) else { return };
        let there = message.header.kind == address::NEW;
        if known.link.tag != Tag::Ours {
            if entry.scope == libc::RT_SCOPE_UNIVERSE {
                if there {
                    known.nets.insert(entry.net.trunc());
                }
                seen.push(Notice::Uplink);
            }
            return;
        }
        // One without our tag may still be ours to remove (`observe` asks where it lies), so it is told like the others.
        let now = there.then_some(Tag::Ours);
        seen.push(Notice::Address { link: known.name, net: entry.net, now });
    }

    fn nexthop(&mut self, message: &Message<'_>, seen: &mut Vec<Notice>) {
        let Some(entry) = nexthop::Entry::read(&as_listed(message)) else { return };
        let there = message.header.kind == nexthop::NEW && entry.protocol == PROTOCOL;
        self.group(&entry, there, seen);
        let link = entry.link.and_then(|index| self.links.get(&index));
        let after = link.zip(entry.gateway).map(|(link, gateway)| Nexthop { link: link.name, gateway });
        let after = after.filter(|_| there);
        let before = self.nexthops.remove(&entry.id);
        self.nexthops.extend(after.map(|nexthop| (entry.id, nexthop)));
        let gone = before.filter(|before| after != Some(*before));
        seen.extend(gone.map(|nexthop| Notice::Nexthop { nexthop, now: None }));
        seen.extend(after.map(|nexthop| Notice::Nexthop { nexthop, now: Some(Tag::Ours) }));
    }

    /// Of a group whose member goes the kernel says what is left of it.
    fn group(&mut self, entry: &nexthop::Entry, there: bool, seen: &mut Vec<Notice>) {
        let members = entry.members.iter().filter_map(|member| self.nexthops.get(member).copied()).collect();
        let after = Group::new(members).filter(|_| there);
        let before = self.groups.remove(&entry.id);
        self.groups.extend(after.clone().map(|group| (entry.id, group)));
        let gone = before.filter(|before| after.as_ref() != Some(before));
        seen.extend(gone.map(|group| Notice::Group { group, now: None }));
        seen.extend(after.map(|group| Notice::Group { group, now: Some(Tag::Ours) }));
    }

    fn route(&mut self, message: &Message<'_>, seen: &mut Vec<Notice>) {
        let Some(entry) = route::Entry::read(&as_listed(message)) else { return };
        let there = message.header.kind == route::NEW;
        if entry.protocol == PROTOCOL {
            let now = there.then(|| Route { via: self.via(&entry), tag: Tag::Ours });
            seen.push(Notice::Route { key: entry.key, now });
            return;
        }
        // Somebody's route in the place of another one: that is not told as a deletion.
        if there && message.header.flags & libc::NLM_F_REPLACE as u16 != 0 {
            seen.push(Notice::Route { key: entry.key, now: None });
        }
        if self.decides_what_is_on_link(&entry) {
            seen.push(Notice::Uplink);
        }
    }

    /// Whether somebody's route may say by which link a peer is reached, and whether without a gateway. Not each does: pods'
    /// routes come and go, and a routing daemon has thousands of its own.
    fn decides_what_is_on_link(&self, entry: &route::Entry) -> bool {
        let uplink = || entry.link.and_then(|index| self.links.get(&index)).is_some_and(Known::may_be_uplink);
        let destination = &entry.key.destination;
        let host = destination.prefix_len() == destination.max_prefix_len();
        destination.prefix_len() == 0
            || ((entry.direct || host) && uplink())
            || self.links.values().any(|known| known.may_be_uplink() && known.surrounds(destination))
    }

    fn via(&self, entry: &route::Entry) -> Via {
        if let Some(via) = entry.nowhere.clone() {
            return via;
        }
        let link = entry.link.and_then(|index| self.links.get(&index));
        let via = match entry.object {
            Some(id) => {
                let group = || self.groups.get(&id).cloned().map(Via::Group);
                self.nexthops.get(&id).map(|nexthop| Via::Object(*nexthop)).or_else(group)
            }
            None => link.map(|known| entry.without_object(known.name)),
        };
        via.filter(|_| entry.plain).unwrap_or(Via::Unknown)
    }

    fn neighbour(&mut self, message: &Message<'_>, seen: &mut Vec<Notice>) {
        let entry = neighbour::Entry::read(&as_listed(message));
        let there = entry.filter(|entry| message.header.kind == neighbour::NEW && entry.permanent && entry.tagged);
        if message.body.first() == Some(&(libc::AF_BRIDGE as u8)) {
            if neighbour::is_second_telling(message) {
                return;
            }
            let Some((entry, link)) = entry.and_then(|entry| Some((entry, self.ours(entry.link)?))) else { return };
            // What says more than a destination is none of ours, whatever the destination.
            let remote = entry.address.filter(|_| !entry.detour).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let now = there.map(|_| Fdb { remote, tag: Tag::Ours });
            seen.push(Notice::Fdb { key: FdbKey { link, mac: entry.mac }, now });
        } else {
            // An entry on its way out has no link-layer address any more, so it is no entry.
            let Some((index, address)) = neighbour::subject(message) else { return };
            let Some(link) = self.ours(index) else { return };
            let now = there.map(|entry| Neighbour { mac: entry.mac, tag: Tag::Ours });
            seen.push(Notice::Neighbour { key: NeighbourKey { link, address }, now });
        }
    }
}

/// A notice of a deletion has the same layout as an entry of a list; the reader of entries takes only those. The three
/// kinds of message of an object follow each other from a multiple of four: new, delete, get.
fn as_listed<'a>(message: &Message<'a>) -> Message<'a> {
    Message { header: Header { kind: message.header.kind & !3, ..message.header }, ..*message }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;
    use crate::netlink::{Datagram, Messages};

    const KINDS: [u16; 10] = [
        link::NEW,
        link::DELETE,
        address::NEW,
        address::DELETE,
        nexthop::NEW,
        nexthop::DELETE,
        route::NEW,
        route::DELETE,
        neighbour::NEW,
        neighbour::DELETE,
    ];

    /// A link of index 7, ours.
    fn link_message(body: &mut Body<'_>) {
        body.fixed(&[0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        body.text(libc::IFLA_IFNAME, "flannel.1");
        body.u32(libc::IFLA_MTU, 1450);
        body.text(libc::IFLA_IFALIAS, "ours");
    }

    fn hear(book: &mut Book, kind: u16, body: impl FnOnce(&mut Body<'_>)) -> Vec<Notice> {
        let (mut datagram, mut seen) = (Datagram::default(), Vec::new());
        datagram.push(Header { kind, flags: 0, sequence: 0 }, body);
        Messages::new(datagram.bytes()).for_each(|message| book.hear(&message, &mut seen));
        seen
    }

    #[test]
    fn a_link_is_told_when_it_changes_and_not_when_it_is_announced_again() {
        // Port 0 is the kernel's: nothing comes from ours, 1.
        let mut book = Book::new("ours", 1);
        let first = hear(&mut book, link::NEW, link_message);
        assert!(matches!(&first[..], [Notice::Link { now: Some(link), .. }] if link.tag == Tag::Ours), "{first:?}");
        assert_eq!(hear(&mut book, link::NEW, link_message), []);
        let bridge_port =
            |body: &mut Body<'_>| body.fixed(&[libc::AF_BRIDGE as u8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(hear(&mut book, link::DELETE, bridge_port), [], "it left a bridge and is there still");
        let gone = hear(&mut book, link::DELETE, link_message);
        assert!(matches!(&gone[..], [Notice::Link { now: None, .. }]), "{gone:?}");
    }

    #[test]
    fn what_our_own_socket_caused_is_noted_and_not_told() {
        let mut book = Book::new("ours", 0);
        assert_eq!(hear(&mut book, link::NEW, link_message), []);
        assert_eq!(book.ours(7).unwrap().as_str(), "flannel.1");
    }

    proptest! {
        #[test]
        fn any_octets_can_be_heard(
            messages in proptest::collection::vec((0..KINDS.len(), proptest::collection::vec(any::<u8>(), 0..80)), 0..8),
        ) {
            let mut book = Book::new("ours", 1);
            hear(&mut book, link::NEW, link_message);
            for (kind, octets) in messages {
                hear(&mut book, KINDS[kind], |body| body.fixed(&octets));
            }
        }

        #[test]
        fn a_true_message_with_any_octet_altered_can_be_heard(at: prop::sample::Index, octet: u8, kind in 0..KINDS.len()) {
            let mut datagram = Datagram::default();
            datagram.push(Header { kind: KINDS[kind], flags: 0, sequence: 0 }, link_message);
            let mut octets = datagram.bytes().to_vec();
            let at = at.index(octets.len());
            octets[at] = octet;
            let (mut book, mut seen) = (Book::new("ours", 1), Vec::new());
            Messages::new(&octets).for_each(|message| book.hear(&message, &mut seen));
        }
    }
}
