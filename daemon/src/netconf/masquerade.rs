//! What users ask of our rules beside flannel's: `NonMasqueradeCIDRs`, `NonMasqueradeNodes`, `ClampMSS`. flannel does not know these keys and
//! passes over them.

use backends::masquerade::{Exceptions, Segments, TowardsNodes};
use ipnet::IpNet;

use super::json::Value;
use super::object::Object;

const CIDRS: &str = "NonMasqueradeCIDRs";
const NODES: &str = "NonMasqueradeNodes";
const CLAMP: &str = "ClampMSS";

/// What to write in place of a mistake.
const EXAMPLE: &str = r#"write a list of IPv4 or IPv6 networks, as in ["10.0.0.0/8", "fd00::/8"]"#;

/// Rules that one list makes; a list this long is no list of networks.
const MOST: usize = 1000;

/// Reads them. After a mistake, which is noted, what is right of them.
pub(super) fn exceptions(top: &mut Object<'_, '_>) -> Exceptions {
    let kept_towards = networks(top);
    let nodes = if top.boolean(NODES).unwrap_or(false) { TowardsNodes::Kept } else { TowardsNodes::Masqueraded };
    Exceptions { kept_towards, nodes, fixed: None }
}

/// Whether connections' segment sizes are cut.
pub(super) fn segments(top: &mut Object<'_, '_>) -> Segments {
    if top.boolean(CLAMP).unwrap_or(false) { Segments::Clamped } else { Segments::Untouched }
}

fn networks(top: &mut Object<'_, '_>) -> Vec<IpNet> {
    let list = match top.take(CIDRS) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::List(list)) => list,
        Some(other) => {
            top.mistake(CIDRS, &other.to_string(), (format!("it is {}", other.kind()), EXAMPLE));
            return Vec::new();
        }
    };
    if list.len() > MOST {
        top.mistake(CIDRS, "[…]", (format!("it has more than {MOST} networks"), "write fewer, wider ones"));
        return Vec::new();
    }
    let mut networks = Vec::new();
    for value in list {
        let text = if let Value::Text(text) = value { text.as_str() } else { "" };
        match text.parse::<IpNet>() {
            Ok(net) if net.trunc() == net => networks.push(net),
            Ok(net) => {
                top.warn(format!("{CIDRS} = {net} has host bits set; {} is used", net.trunc()));
                networks.push(net.trunc());
            }
            Err(_) => top.mistake(CIDRS, &value.to_string(), ("it is not a network", EXAMPLE)),
        }
    }
    networks.sort_unstable();
    networks.dedup();
    networks
}
