//! Links, one by one: they are few, and each step needs the one before.

use backends::LinkName;
use backends::offload::Offload;
use backends::state::{Ipip, Link, LinkKind, Scope, Tag};

use crate::codec::link::{Attributed, Entry};
use crate::codec::{MAKE, ipip, kind, link as codec, vxlan, wireguard};
use crate::error::{Error, Refusal, Result};
use crate::hand::Hand;
use crate::netlink::{Body, Request};
use crate::observe::owner_of_link;
use crate::relay::NO_TUN;
use crate::tun;
use crate::wireguard::NO_WIREGUARD;

/// What a kernel lacks that does not know the kind.
const NO_VXLAN: &str = "VXLAN: it needs the module vxlan, or CONFIG_VXLAN built in";
const NO_IPIP: &str = "IP in IP: it needs the module ipip, or CONFIG_NET_IPIP built in";
const NO_IP6TNL: &str = "IPv6 in IPv6: it needs the module ip6_tunnel, or CONFIG_IPV6_TUNNEL built in";

/// Makes a device with all its attributes and sets it up. Between the making and the alias a crash leaves a device that
/// is ours by its name, and is adopted next time.
pub(super) fn make(hand: &mut Hand, scope: &Scope, name: LinkName, link: &Link) -> Result<()> {
    let doing = format!("making the link {name}");
    let (made, feature) = match &link.kind {
        LinkKind::Vxlan(wanted) => {
            let underlay =
                wanted.underlay.map(|underlay| find(hand, underlay, &doing, |entry| entry.index)).transpose()?;
            let make = |body: &mut Body<'_>| vxlan::make(body, name, (link, wanted), underlay);
            (write(hand, (codec::NEW, MAKE), &doing, make), NO_VXLAN)
        }
        LinkKind::WireGuard(_) => {
            (write(hand, (codec::NEW, MAKE), &doing, |body| wireguard::make(body, name, link)), NO_WIREGUARD)
        }
        LinkKind::Ipip(wanted) => {
            (write(hand, (codec::NEW, MAKE), &doing, |body| ipip::make(body, name, (link, wanted))), NO_IPIP)
        }
        LinkKind::Ip6Tunnel => {
            (write(hand, (codec::NEW, MAKE), &doing, |body| ipip::make_v6(body, name, link)), NO_IP6TNL)
        }
        LinkKind::Tun(_) => {
            hand.writes += 1;
            (tun::make(name), NO_TUN)
        }
        LinkKind::Other(_) => return Err(Error::Malformed { doing, what: "devices of this kind are not made" }),
    };
    let known = match made {
        // An ioctl makes it, and sets nothing.
        Ok(()) if matches!(link.kind, LinkKind::Tun(_)) => Attributed { mtu: Some(link.mtu), ..Attributed::default() },
        Ok(()) => Attributed::default(),
        Err(Error::Refused { refusal, .. }) if refusal.errno == libc::EEXIST => {
            stands(hand, scope, (name, link), refusal)?;
            let mac = link.kind.has_mac().then_some(link.mac);
            Attributed { mac, mtu: Some(link.mtu), alias: None }
        }
        Err(Error::Refused { doing, refusal }) if refusal.is_unsupported() => {
            return Err(Error::Unsupported { doing, feature, refusal });
        }
        Err(error) => return Err(error),
    };
    let index = find(hand, name, &doing, |entry| entry.index)?;
    let alias = Attributed { alias: Some(&scope.alias), ..known };
    write(hand, (codec::NEW, 0), &doing, |body| codec::set(body, index, alias))?;
    generate(hand, index, link, &doing)?;
    match &link.kind {
        LinkKind::WireGuard(wanted) => hand.set_tunnel((index, &doing), None, wanted)?,
        LinkKind::Tun(Some(wanted)) => hand.relay(name, wanted)?,
        _ => {}
    }
    set_flags(hand, index, link, &doing)?;
    hand.index.note_link(name, index);
    Ok(())
}

/// Whether what stands in a new link's place is that link already; otherwise what it is.
fn stands(hand: &mut Hand, scope: &Scope, (name, link): (LinkName, &Link), refusal: Refusal) -> Result<()> {
    let doing = format!("making the link {name}");
    let same = |entry: &Entry<'_>| {
        let kind = kind::read(entry, |_| None);
        let alike = match (&kind, &link.kind) {
            (LinkKind::Vxlan(there), LinkKind::Vxlan(wanted)) => {
                there.can_become(wanted) && there.local == wanted.local
            }
            // Port and key are only settings to it.
            (LinkKind::Other(kind), LinkKind::WireGuard(_)) => kind == wireguard::NAME,
            (there, wanted) => there == wanted,
        };
        alike && owner_of_link(entry, name, scope).is_some()
    };
    match find(hand, name, &doing, same) {
        Ok(true) => Ok(()),
        Ok(false) => {
            let words =
                format!("another link has the name {name}; see `ip -d link show {name}`, and delete or rename it");
            Err(Error::Refused { doing, refusal: Refusal { words: Some(words), ..refusal } })
        }
        // None of that name: then another device has its place.
        Err(_) => Err(Error::Refused { doing, refusal: rival(&link.kind, refusal) }),
    }
}

/// What another device has that this one would have. Of VXLAN the kernel says it itself.
fn rival(kind: &LinkKind, refusal: Refusal) -> Refusal {
    let words = match kind {
        LinkKind::Ipip(Ipip { local, .. }) => format!(
            "another ipip device has the local address {local} and no remote one, and takes what is for ours; \
             see `ip -d link show type ipip`, and delete it"
        ),
        LinkKind::Ip6Tunnel => "another ip6tnl device is `external`, and the kernel has room for one; \
                                see `ip -d link show type ip6tnl`, and delete it"
            .to_owned(),
        _ => return refusal,
    };
    Refusal { words: Some(words), ..refusal }
}

/// Turns a link in place into what it should be, but for the alias ([`sign`]).
pub(super) fn change(hand: &mut Hand, scope: &Scope, name: LinkName, (from, to): (&Link, &Link)) -> Result<()> {
    let doing = format!("changing the link {name}");
    let index = owned(hand, scope, name, &doing)?;
    if let (LinkKind::Vxlan(before), LinkKind::Vxlan(after)) = (&from.kind, &to.kind)
        && before != after
    {
        let underlay = after.underlay.map(|underlay| find(hand, underlay, &doing, |entry| entry.index)).transpose()?;
        write(hand, (codec::NEW, 0), &doing, |body| vxlan::change(body, index, (before, after), underlay))?;
    }
    if let (LinkKind::WireGuard(before), LinkKind::WireGuard(after)) = (&from.kind, &to.kind)
        && before != after
    {
        hand.set_tunnel((index, &doing), Some(before), after)?;
    }
    if let LinkKind::Ipip(wanted) = &to.kind
        && from.kind != to.kind
    {
        write(hand, (codec::NEW, 0), &doing, |body| ipip::change(body, index, (to, wanted)))?;
    }
    if let (LinkKind::Tun(before), LinkKind::Tun(Some(after))) = (&from.kind, &to.kind)
        && before.as_ref() != Some(after)
    {
        hand.relay(name, after)?;
    }
    let changed = Attributed {
        mac: (from.mac != to.mac).then_some(to.mac),
        mtu: (from.mtu != to.mtu).then_some(to.mtu),
        alias: None,
    };
    if changed != Attributed::default() {
        write(hand, (codec::NEW, 0), &doing, |body| codec::set(body, index, changed))?;
    }
    if from.link_local != to.link_local {
        generate(hand, index, to, &doing)?;
    }
    if from.up != to.up {
        set_flags(hand, index, to, &doing)?;
    }
    Ok(())
}

/// Puts our alias on a link. `ip link set dev … alias …`
pub(super) fn sign(hand: &mut Hand, scope: &Scope, name: LinkName) -> Result<()> {
    let doing = format!("putting our alias on the link {name}");
    let index = owned(hand, scope, name, &doing)?;
    let alias = Attributed { alias: Some(&scope.alias), ..Attributed::default() };
    write(hand, (codec::NEW, 0), &doing, |body| codec::set(body, index, alias))
}

/// Says who computes the checksums of what a link sends. `ethtool -K … tx …`
pub(super) fn set_offload(hand: &mut Hand, scope: &Scope, name: LinkName, wanted: Offload) -> Result<()> {
    owned(hand, scope, name, &format!("setting checksum offload of the link {name}"))?;
    hand.set_offload(name, wanted)
}

/// Removes a link and all that lives on it.
pub(super) fn delete(hand: &mut Hand, scope: &Scope, name: LinkName) -> Result<()> {
    let doing = format!("deleting the link {name}");
    let deleted = owned(hand, scope, name, &doing)
        .and_then(|index| write(hand, (codec::DELETE, 0), &doing, |body| codec::by_index(body, index)));
    match deleted {
        Err(Error::Refused { refusal, .. }) if refusal.errno == libc::ENODEV => {}
        other => other?,
    }
    hand.index.forget_link(name);
    hand.no_relay(name);
    Ok(())
}

/// The index of a link that is the scope's, asked of the kernel now.
fn owned(hand: &mut Hand, scope: &Scope, name: LinkName, doing: &str) -> Result<u32> {
    let (index, owner): (u32, Option<Tag>) =
        find(hand, name, doing, |entry| (entry.index, owner_of_link(entry, name, scope)))?;
    hand.index.note_link(name, index);
    let words =
        || format!("it does not carry the alias `{}` and is none of the names in use, so it is not ours", scope.alias);
    owner.map(|_| index).ok_or_else(|| {
        let refusal = Refusal { errno: libc::EEXIST, words: Some(words()) };
        Error::Refused { doing: doing.to_owned(), refusal }
    })
}

/// Asks for a link by its name.
fn find<T>(hand: &mut Hand, name: LinkName, doing: &str, pick: impl FnOnce(&Entry<'_>) -> T) -> Result<T> {
    let request = Request { kind: codec::GET, flags: 0, doing };
    let gone = |refusal: Refusal| Refusal { words: Some(format!("there is no link {name}")), ..refusal };
    match hand.socket.query(&request, |body| codec::by_name(body, name)) {
        Ok(mut answers) => answers
            .find_map(|answer| Entry::read(&answer))
            .map(|entry| pick(&entry))
            .ok_or_else(|| Error::Malformed { doing: doing.to_owned(), what: "no link in it" }),
        Err(Error::Refused { doing, refusal }) if refusal.errno == libc::ENODEV => {
            Err(Error::Refused { doing, refusal: gone(refusal) })
        }
        Err(error) => Err(error),
    }
}

fn generate(hand: &mut Hand, index: u32, link: &Link, doing: &str) -> Result<()> {
    match write(hand, (codec::NEW, 0), doing, |body| codec::set_address_generation(body, index, link)) {
        // Without IPv6 nobody makes up addresses.
        Err(Error::Refused { refusal, .. }) if refusal.errno == libc::EAFNOSUPPORT => Ok(()),
        other => other,
    }
}

fn set_flags(hand: &mut Hand, index: u32, link: &Link, doing: &str) -> Result<()> {
    let flags = if link.up { libc::IFF_UP as u32 } else { 0 };
    write(hand, (codec::NEW, 0), doing, |body| codec::set_flags(body, index, flags))
}

fn write(hand: &mut Hand, (kind, flags): (u16, u16), doing: &str, body: impl FnOnce(&mut Body<'_>)) -> Result<()> {
    hand.writes += 1;
    hand.socket.request(&Request { kind, flags, doing }, body)
}
