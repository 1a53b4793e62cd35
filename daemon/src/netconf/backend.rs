//! The `Backend` object: which backend, and its options by that backend's own reader.

use backends::Backend;
use ipam::Stack;

use super::json::Value;
use super::object::{Findings, Object};
use super::vxlan;
use crate::config::Mistake;
use crate::spelling;

/// Flannel's other backends, each of which a later release may bring.
const LATER: [&str; 8] = ["alloc", "extension", "host-gw", "ipip", "ipsec", "tencent-vpc", "udp", "wireguard"];

/// Reads it; `None` after a mistake.
pub(super) fn read(value: Option<&Value>, families: Stack<()>, findings: &mut Findings) -> Option<Backend> {
    // Absent means vxlan, as flannel documents (its code takes udp, which nobody wants).
    let empty = [];
    let fields: &[(String, Value)] = match value {
        None | Some(Value::Null) => return vxlan::settings(&mut Object::new("Backend.", &empty, findings), families),
        Some(Value::Object(fields)) => fields,
        Some(other) => {
            let why = format!("it is {}, not an object", other.kind());
            findings.mistakes.push(Mistake::of("Backend", &other.to_string(), (why, r#"write {"Type": "vxlan"}"#)));
            return None;
        }
    };
    let mut backend = Object::new("Backend.", fields, findings);
    let fix = "write \"vxlan\", the one that exists now";
    let known = backend.holds("Type");
    let Some(name) = backend.text("Type") else {
        if !known {
            backend.mistake("Type", "", ("it is missing", fix));
        }
        return None;
    };
    match name.to_lowercase().as_str() {
        "vxlan" => vxlan::settings(&mut backend, families),
        later if LATER.contains(&later) => {
            backend.mistake("Type", name, ("this backend is not in this release", fix));
            None
        }
        other => {
            let near = spelling::nearest(other, ["vxlan"]).map(|near| format!("; did you mean {near}?"));
            let why = format!("there is no such backend{}", near.unwrap_or_default());
            backend.mistake("Type", name, (why, fix));
            None
        }
    }
}
