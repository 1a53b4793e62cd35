//! One family's part of net-conf.json: the network, and the pool of subnets in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipam::{Family, Pool};
use ipnet::IpNet;

use super::Division;
use super::json::Value;
use super::object::Object;

/// What each family's keys are called, and flannel's figures for them.
struct Words {
    enable: &'static str,
    network: &'static str,
    length: &'static str,
    least: &'static str,
    last: &'static str,
    /// A node's subnet when nothing is said and the network has room.
    usual_length: u8,
    /// The longest subnet: a tunnel, a bridge and a pod must fit.
    longest: u8,
    example: &'static str,
}

fn words(family: Family) -> Words {
    match family {
        Family::V4 => Words {
            enable: "EnableIPv4",
            network: "Network",
            length: "SubnetLen",
            least: "SubnetMin",
            last: "SubnetMax",
            usual_length: 24,
            longest: 30,
            example: "10.244.0.0/16",
        },
        Family::V6 => Words {
            enable: "EnableIPv6",
            network: "IPv6Network",
            length: "IPv6SubnetLen",
            least: "IPv6SubnetMin",
            last: "IPv6SubnetMax",
            usual_length: 64,
            longest: 126,
            example: "fd00:10:244::/48",
        },
    }
}

/// The pool of a family, if it is wanted and without mistake. All its keys are read in any case.
pub(super) fn pool(
    top: &mut Object<'_, '_>,
    (family, wanted): (Family, Option<()>),
    division: Division,
) -> Option<Pool> {
    let words = words(family);
    let network = network(top, &words, (family, wanted));
    if division == Division::Assigned {
        return assigned(top, &words, network.zip(wanted));
    }
    // flannel takes 0 for "not said".
    let length = top.integer(words.length, 0..=u32::from(words.longest)).filter(|length| *length != 0);
    let bounds = [words.least, words.last].map(|key| address(top, key, family));
    let (network, ()) = (network?, wanted?);
    let length = subnet_length(top, &words, (network, length))?;
    let [least, last] = bounds.map(|bound| bound.map(|address| IpNet::new(address, length).ok()));
    let [second, end] = second_and_last(network, length)?;
    let first = bound(top, words.least, (network, least.unwrap_or(Some(second))?));
    let last = bound(top, words.last, (network, last.unwrap_or(Some(end))?));
    let (first, last) = (first?, last?);
    if first > last {
        let why = format!("it is above {} ({})", words.last, last.addr());
        top.mistake(words.least, &first.addr().to_string(), (why, "write the lower one here"));
        return None;
    }
    Some(Pool { network, length, first, last })
}

/// The whole network, which is nobody's to take from.
fn assigned(top: &mut Object<'_, '_>, words: &Words, network: Option<(IpNet, ())>) -> Option<Pool> {
    for key in [words.length, words.least, words.last] {
        if !matches!(top.take(key), None | Some(Value::Null)) {
            top.warn(format!("{key} says nothing here: Kubernetes gives each node its podCIDR"));
        }
    }
    let (network, ()) = network?;
    Some(Pool { network, length: network.prefix_len(), first: network, last: network })
}

/// The network, host bits zeroed as flannel does.
fn network(top: &mut Object<'_, '_>, words: &Words, (family, wanted): (Family, Option<()>)) -> Option<IpNet> {
    let fix = format!("write an {family} network, as in \"{}\"", words.example);
    let held = top.holds(words.network);
    let Some(text) = top.text(words.network) else {
        if wanted.is_some() && !held {
            let why = format!("it is missing, and {} is true", words.enable);
            top.mistake(words.network, "", (why, fix));
        }
        return None;
    };
    let parsed = text.parse::<IpNet>().ok().filter(|net| Family::of_net(net) == family);
    let Some(net) = parsed else {
        top.mistake(words.network, text, (format!("it is not an {family} network"), fix));
        return None;
    };
    if wanted.is_none() {
        top.warn(format!("{} is not used, because {} is not true", words.network, words.enable));
        return None;
    }
    let network = net.trunc();
    if network != net {
        top.warn(format!("{} = {net} has host bits set; {network} is used", words.network));
    }
    if let Some((taken, use_of_it)) =
        reserved(family).find(|(taken, _)| taken.contains(&network) || network.contains(taken))
    {
        let why = format!("it overlaps {taken}, {use_of_it}");
        top.mistake(words.network, text, (why, fix));
        return None;
    }
    Some(network)
}

/// Addresses that no pod can have (RFC 6890).
fn reserved(family: Family) -> impl Iterator<Item = (IpNet, &'static str)> {
    let v4 = |a, length| IpNet::new(IpAddr::V4(Ipv4Addr::new(a, 0, 0, 0)), length);
    let v6 = |a, length| IpNet::new(IpAddr::V6(Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, 0)), length);
    let list = match family {
        Family::V4 => [
            (v4(0, 8), "which means \"this network\""),
            (v4(127, 8), "the loopback addresses"),
            (v4(224, 4), "the multicast addresses"),
        ],
        Family::V6 => [
            (v6(0, 8), "which holds the loopback and the IPv4-mapped addresses"),
            (v6(0xfe80, 10), "the link-local addresses"),
            (v6(0xff00, 8), "the multicast addresses"),
        ],
    };
    list.into_iter().filter_map(|(net, use_of_it)| Some((net.ok()?, use_of_it)))
}

/// The length of nodes' subnets: at least four must fit, because the first is not used.
fn subnet_length(top: &mut Object<'_, '_>, words: &Words, (network, asked): (IpNet, Option<u32>)) -> Option<u8> {
    let least = network.prefix_len().saturating_add(2);
    if least > words.longest {
        let fix = format!("write one of at most /{}", words.longest - 2);
        top.mistake(words.network, &network.to_string(), ("it is too small for four subnets", fix));
        return None;
    }
    match asked.and_then(|asked| u8::try_from(asked).ok()) {
        None => Some(words.usual_length.max(least)),
        Some(length) if length >= least => Some(length),
        Some(length) => {
            let why = format!("{} has no room for four subnets of it", words.network);
            let fix = format!("write {least} to {}", words.longest);
            top.mistake(words.length, &length.to_string(), (why, fix));
            None
        }
    }
}

/// An address of the family; that of all zeros is flannel's "not said".
fn address(top: &mut Object<'_, '_>, key: &'static str, family: Family) -> Option<IpAddr> {
    let text = top.text(key)?;
    match text.parse::<IpAddr>().ok().filter(|address| Family::of(*address) == family) {
        Some(address) => Some(address).filter(|address| !address.is_unspecified()),
        None => {
            top.mistake(key, text, (format!("it is not an {family} address"), "write one, without a prefix length"));
            None
        }
    }
}

/// A bound of the pool: the first address of a subnet in the network.
fn bound(top: &mut Object<'_, '_>, key: &'static str, (network, subnet): (IpNet, IpNet)) -> Option<IpNet> {
    let wrong = if !network.contains(&subnet.addr()) {
        let why = format!("it is not in the network {network}");
        (why, "write an address in it".to_owned())
    } else if subnet.trunc() != subnet {
        let why = format!("no subnet of length {} begins there", subnet.prefix_len());
        (why, format!("write {}, where one does", subnet.network()))
    } else {
        return Some(subnet);
    };
    top.mistake(key, &subnet.addr().to_string(), wrong);
    None
}

/// The second subnet (an address `….0.0` on an interface of the first would be the network's own) and the last.
fn second_and_last(network: IpNet, length: u8) -> Option<[IpNet; 2]> {
    let step = 1_u128 << (Family::of_net(&network).bits().checked_sub(length)?);
    let shifted = |address: IpAddr, by: u128| match address {
        IpAddr::V4(v4) => {
            u32::try_from(by).ok().and_then(|by| v4.to_bits().checked_add(by)).map(|n| Ipv4Addr::from(n).into())
        }
        IpAddr::V6(v6) => v6.to_bits().checked_add(by).map(|n| IpAddr::from(Ipv6Addr::from(n))),
    };
    let second = IpNet::new(shifted(network.network(), step)?, length).ok()?;
    let last = IpNet::new(network.broadcast(), length).ok()?.trunc();
    Some([second, last])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::second_and_last;

    #[test]
    fn the_pool_runs_from_the_second_subnet_to_the_last() {
        for (network, length, first, last) in [
            ("10.0.0.0/8", 24, "10.0.1.0/24", "10.255.255.0/24"),
            ("10.1.2.0/28", 30, "10.1.2.4/30", "10.1.2.12/30"),
            ("fd00::/48", 64, "fd00:0:0:1::/64", "fd00:0:0:ffff::/64"),
            ("fd00::/124", 126, "fd00::4/126", "fd00::c/126"),
            ("2000::/3", 64, "2000:0:0:1::/64", "3fff:ffff:ffff:ffff::/64"),
        ] {
            let ends = second_and_last(network.parse().unwrap(), length).unwrap();
            assert_eq!(ends, [first.parse().unwrap(), last.parse().unwrap()], "{network}");
        }
    }
}
