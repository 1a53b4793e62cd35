//! What a pod's wire is called: names, MAC addresses and alias, all derived, so that whoever comes later (DEL above all)
//! finds it without a note of its own.

use backends::LinkName;
use ipam::Mac;
use ipam::ledger::{Identifier, Owner};
use ipnet::IpNet;
use kernel::tag::Tag;

/// The name of the host's end: `veth` and 11 hexadecimal digits, as many as fit.
#[allow(clippy::expect_used, reason = "15 octets of letters and digits are an interface's name (`dev_valid_name`)")]
pub fn host_end(owner: &Owner) -> LinkName {
    let digits = host_mac(owner).to_string().replace(':', "");
    LinkName::new(&format!("veth{}", &digits[1..])).expect("letters and digits")
}

/// The MAC address of the host's end.
pub fn host_mac(owner: &Owner) -> Mac {
    Mac::derived_from(&owner.to_string())
}

/// The MAC address of the pod's end comes from its address: when that is given to another pod, what neighbours remember
/// of it is still true.
pub fn pod_mac(address: IpNet) -> Mac {
    Mac::derived_from(&address.addr().to_string())
}

/// The MAC address of the pod's end when it has no address that it could come from.
pub fn lone_mac(owner: &Owner) -> Mac {
    Mac::derived_from(&format!("{owner} in the pod"))
}

/// The MAC address to make a bridge with: the same again if it must be made again, so that pods' neighbour entries of their
/// gateway stay true.
pub fn bridge_mac(bridge: LinkName, gateway: IpNet) -> Mac {
    Mac::derived_from(&format!("{bridge} {}", gateway.addr()))
}

/// The alias of the host's end, which says whose it is: `towpath-pod NETWORK CONTAINER/IFNAME`. Not the daemon's tag.
pub fn alias(network: &Identifier, owner: &Owner) -> Tag {
    Tag::new(network.as_str(), owner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn owner(container: &str) -> Owner {
        Owner { container: Identifier::new(container).unwrap(), ifname: "eth0".to_owned() }
    }

    #[test]
    fn names_differ_between_pods_and_never_between_calls() {
        let names: std::collections::BTreeSet<_> = (0..10_000).map(|n| host_end(&owner(&format!("pod{n}")))).collect();
        assert_eq!(names.len(), 10_000);
        assert_eq!(host_end(&owner("a")), host_end(&owner("a")));
        assert_eq!(host_end(&owner("a")).as_str().len(), 15);
    }
}
