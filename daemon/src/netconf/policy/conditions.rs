//! `If` and `Unless` of a rule: what it asks of a route.

use std::net::IpAddr;
use std::str::FromStr;

use bgp::policy::{CommunityPattern, Condition, LargePattern, Peers, PrefixRange, Prefixes};
use bgp::wire::{Community, ExtendedCommunity, Family, LargeCommunity, Origin};
use ipnet::IpNet;

use super::lists::PrefixLists;
use crate::netconf::json::Value;
use crate::netconf::object::{Object, Wrong};

/// Reads both: all of `If` must hold, and nothing of `Unless` may.
pub(super) fn read(rule: &mut Object<'_, '_>, lists: &PrefixLists) -> Vec<Condition> {
    let mut conditions = rule.object("If").map_or_else(Vec::new, |mut object| all(&mut object, lists));
    let unless = rule.object("Unless").map_or_else(Vec::new, |mut object| all(&mut object, lists));
    conditions.extend(unless.into_iter().map(|condition| Condition::Not(Box::new(condition))));
    conditions
}

fn all(object: &mut Object<'_, '_>, lists: &PrefixLists) -> Vec<Condition> {
    let length = path_length(object);
    let named = object.items("PrefixLists", |value| lists.named(value));
    let ranges = object.items("Prefixes", prefix_range);
    let prefixes = (named.is_some() || ranges.is_some())
        .then(|| named.into_iter().flatten().flatten().chain(ranges.into_iter().flatten()).collect());
    let conditions = [
        prefixes.map(|ranges| Condition::Prefix(Prefixes(ranges))),
        object.items("Communities", communities).map(Condition::Community),
        object.items("LargeCommunities", larges).map(Condition::Large),
        object.items("ExtendedCommunities", extended).map(Condition::Extended),
        length,
        object.items("PathContains", asn).map(Condition::PathContains),
        object.items("PathFirst", asn).map(Condition::PathFirst),
        object.items("PathOrigin", asn).map(Condition::PathOrigin),
        object.items("Origins", origin).map(Condition::Origin),
        object.items("NextHops", addresses).map(Condition::NextHop),
        object.items("Families", family).map(Condition::Family),
        object.items("Peers", peers).map(Condition::Peer),
    ];
    object.finish_strictly();
    conditions.into_iter().flatten().collect()
}

fn path_length(object: &mut Object<'_, '_>) -> Option<Condition> {
    let [least, most] = ["PathLengthMin", "PathLengthMax"].map(|key| {
        let number = match key {
            "PathLengthMin" => object.integer("PathLengthMin", 0..=65_535),
            _ => object.integer("PathLengthMax", 0..=65_535),
        };
        number.and_then(|number| usize::try_from(number).ok())
    });
    if let (Some(least), Some(most)) = (least, most)
        && least > most
    {
        let why = format!("it is above PathLengthMax ({most})");
        object.mistake("PathLengthMin", &least.to_string(), (why, "write the lower one here"));
    }
    let said = least.is_some() || most.is_some();
    said.then(|| Condition::PathLength(least.unwrap_or(0), most.unwrap_or(usize::MAX)))
}

/// The text of a value, or that it is none.
fn text<'v>(value: &'v Value, fix: &str) -> Result<&'v str, Wrong> {
    match value {
        Value::Text(text) => Ok(text.trim()),
        other => Err((format!("it is {}, not a text", other.kind()), fix.to_owned())),
    }
}

const RANGE: &str = "write a prefix, as in \"10.0.0.0/8\", with the lengths that it stands for if not its own, as in \
                     \"10.0.0.0/8 ge 16 le 24\"";

/// `10.0.0.0/8`, `10.0.0.0/8 ge 16`, `10.0.0.0/8 le 24`, `10.0.0.0/8 ge 16 le 24`.
pub(super) fn prefix_range(value: &Value) -> Result<PrefixRange, Wrong> {
    let wrong = |why: &str| (why.to_owned(), RANGE.to_owned());
    let mut words = text(value, RANGE)?.split_ascii_whitespace();
    let net: IpNet = words.next().and_then(|word| word.parse().ok()).ok_or_else(|| wrong("it is no prefix"))?;
    if net.trunc() != net {
        return Err(("it has host bits set".to_owned(), format!("write {}", net.trunc())));
    }
    let (mut least, mut most) = (None, None);
    while let Some(word) = words.next() {
        let length: Option<u8> = words.next().and_then(|number| number.parse().ok());
        let place = match word.to_lowercase().as_str() {
            "ge" => &mut least,
            "le" => &mut most,
            _ => return Err(wrong("what stands behind the prefix is not understood")),
        };
        if place.is_some() || length.is_none() {
            return Err(wrong("ge and le each stand there once at most, with a length"));
        }
        *place = length;
    }
    let range = match (least, most) {
        (None, None) => return Ok(PrefixRange::exactly(net)),
        (least, most) => (least.unwrap_or(net.prefix_len()), most.unwrap_or(net.max_prefix_len())),
    };
    PrefixRange::between(net, range.0, range.1).ok_or_else(|| {
        let why = format!("no prefix in {net} has a length from {} to {}", range.0, range.1);
        (why, format!("write lengths from {} to {}, the lower one after ge", net.prefix_len(), net.max_prefix_len()))
    })
}

/// What a community says of itself when it is none.
fn parsed<T: FromStr>(value: &Value, fix: &str) -> Result<T, Wrong> {
    text(value, fix)?.parse().map_err(|_| ("it is none".to_owned(), fix.to_owned()))
}

/// A community.
pub(in crate::netconf) fn community(value: &Value) -> Result<Community, Wrong> {
    parsed(value, "write AS:number, both below 65536, as in \"64512:100\", or a name like \"no-export\"")
}

/// A community, or all with a part in common.
pub(super) fn communities(value: &Value) -> Result<CommunityPattern, Wrong> {
    parsed(
        value,
        "write AS:number, both below 65536 or *, as in \"64512:100\" or \"64512:*\", or a name like \"no-export\"",
    )
}

/// A large community, or all with a part in common.
pub(super) fn larges(value: &Value) -> Result<LargePattern, Wrong> {
    parsed(value, "write three numbers or *, as in \"64512:1:2\" or \"64512:1:*\"")
}

/// A large community.
pub(in crate::netconf) fn large(value: &Value) -> Result<LargeCommunity, Wrong> {
    parsed(value, "write three numbers, as in \"64512:1:2\"")
}

/// An extended community.
pub(super) fn extended(value: &Value) -> Result<ExtendedCommunity, Wrong> {
    parsed(value, "write \"rt:AS:number\", \"rt:address:number\" or sixteen hexadecimal digits")
}

/// The number of an AS.
pub(in crate::netconf) fn asn(value: &Value) -> Result<u32, Wrong> {
    let number = match value {
        Value::Integer(number) => u32::try_from(*number).ok(),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    };
    // AS 0 stands for nobody (RFC 7607).
    number.filter(|number| *number != 0).ok_or_else(|| {
        ("it is no number of an AS".to_owned(), "write a whole number from 1 to 4294967295, as in 64512".to_owned())
    })
}

/// ORIGIN.
pub(super) fn origin(value: &Value) -> Result<Origin, Wrong> {
    let fix = "write \"igp\", \"egp\" or \"incomplete\"";
    match text(value, fix)?.to_lowercase().as_str() {
        "igp" => Ok(Origin::Igp),
        "egp" => Ok(Origin::Egp),
        "incomplete" => Ok(Origin::Incomplete),
        _ => Err(("it is no origin".to_owned(), fix.to_owned())),
    }
}

fn addresses(value: &Value) -> Result<IpNet, Wrong> {
    let fix = "write an address or a network, as in \"10.0.0.1\" or \"10.0.0.0/8\"";
    net(text(value, fix)?).ok_or_else(|| ("it is no address and no network".to_owned(), fix.to_owned()))
}

fn net(text: &str) -> Option<IpNet> {
    let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>().ok().map(|net| net.trunc()).or_else(one)
}

fn family(value: &Value) -> Result<Family, Wrong> {
    let fix = "write \"ipv4\", \"ipv6\" or \"evpn\"";
    let text = text(value, fix)?.to_lowercase();
    let known = Family::ALL.into_iter().find(|family| family.to_string() == text);
    known.ok_or_else(|| ("it is no family".to_owned(), fix.to_owned()))
}

fn peers(value: &Value) -> Result<Peers, Wrong> {
    let fix =
        "write an address, a network, the number of an AS, \"external\", \"internal\" or \"local\" (what begins here)";
    if matches!(value, Value::Integer(_)) {
        return asn(value).map(Peers::Of);
    }
    let text = text(value, fix)?;
    match text.to_lowercase().as_str() {
        "external" => return Ok(Peers::External),
        "internal" => return Ok(Peers::Internal),
        "local" => return Ok(Peers::Local),
        _ => {}
    }
    let of_as = || text.parse().ok().filter(|asn| *asn != 0).map(Peers::Of);
    net(text).map(Peers::At).or_else(of_as).ok_or_else(|| ("it is no set of peers".to_owned(), fix.to_owned()))
}
