//! Why there is no IPv6 to be found: it is switched off, on an interface or in the whole kernel. One sentence, with what switches it on.

use backends::LinkName;
use ipam::Family;
use kernel::inventory::Inventory;
use kernel::sysctl;

/// So many interfaces are named.
const NAMED_AT_MOST: usize = 3;

/// Why an uplink has no IPv6, where it is meant to and a setting says otherwise; `is`: what a setting below /proc/sys says.
pub fn switched_off(inventory: &Inventory, families: &[Family], is: impl Fn(&str) -> Option<String>) -> Option<String> {
    if !families.contains(&Family::V6) {
        return None;
    }
    let path = |link: &str| format!("net/ipv6/conf/{link}/disable_ipv6");
    if is(&path("all")).is_none() {
        return Some(
            "the kernel runs without IPv6: boot it without `ipv6.disable=1`, or leave EnableIPv6 out of net-conf.json"
                .to_owned(),
        );
    }
    let mut off: Vec<LinkName> = inventory.default_routes.iter().map(|route| route.link).collect();
    if off.is_empty() {
        let others = inventory.links.iter().filter(|link| !link.loopback && !link.addresses.is_empty());
        off.extend(others.map(|link| link.name));
    }
    off.dedup();
    off.retain(|link| is(&path(link.as_str())).as_deref() == Some("1"));
    let settings: Vec<String> =
        off.iter().take(NAMED_AT_MOST).map(|link| sysctl::assignment(&path(link.as_str()), "0")).collect();
    let names: Vec<&str> = off.iter().take(NAMED_AT_MOST).map(LinkName::as_str).collect();
    (!off.is_empty()).then(|| {
        format!(
            "IPv6 is switched off on {}: `sysctl -w {}`, and not again by a file of /etc/sysctl.d or by the network's own \
             configuration; or leave EnableIPv6 out of net-conf.json",
            names.join(", "),
            settings.join(" ")
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kernel::inventory::DefaultRoute;

    use super::*;

    #[test]
    fn a_setting_that_takes_ipv6_away_is_named_with_what_gives_it_back() {
        let link = LinkName::new("eth0.7").unwrap();
        let route = DefaultRoute { family: Family::V4, link, gateway: None, metric: 0, learnt: false };
        let inventory = Inventory { links: Vec::new(), default_routes: vec![route] };
        let off = |path: &str| Some(if path.contains("eth0") { "1" } else { "0" }.to_owned());
        let said = switched_off(&inventory, &Family::ALL, off).unwrap();
        assert!(
            said.starts_with("IPv6 is switched off on eth0.7: `sysctl -w net/ipv6/conf/eth0.7/disable_ipv6=0`"),
            "{said}"
        );
        assert_eq!(switched_off(&inventory, &[Family::V4], off), None);
        assert_eq!(switched_off(&inventory, &Family::ALL, |_| Some("0".to_owned())), None);
        let said = switched_off(&inventory, &Family::ALL, |_| None).unwrap();
        assert!(said.contains("ipv6.disable=1"), "{said}");
    }
}
