//! The `Backend` object: which backend, and its options by that backend's own reader.

use backends::Backend;
use ipam::Stack;

use super::bgp::{self, Bgp};
use super::json::Value;
use super::object::{Findings, Object};
use super::policy::Policies;
use super::{extension, ipip, udp, vxlan, wireguard};
use crate::config::Mistake;
use crate::spelling;

/// Those that can be chosen, the usual one first.
const AVAILABLE: [&str; 8] = ["vxlan", "host-gw", "bgp", "ipip", "wireguard", "udp", "extension", "alloc"];

/// Those that this project has decided not to have (docs/backends.md), each with what does the same.
const DECLINED: [(&str, &str); 5] = [
    ("ipsec", "wireguard encrypts without a second daemon: write {\"Type\": \"wireguard\"}"),
    ("tencent-vpc", CLOUD),
    ("ali-vpc", CLOUD),
    ("aws-vpc", CLOUD),
    ("gce", CLOUD),
];

const CLOUD: &str = "let the cloud's own controller write the routes and write {\"Type\": \"alloc\"}, or call the cloud's \
                     command-line tool by {\"Type\": \"extension\", \"PostStartupCommand\": \"…\"}";

/// Reads it; `None` after a mistake.
pub(super) fn read(
    value: Option<&Value>,
    (families, policies): (Stack<()>, &Policies),
    findings: &mut Findings,
) -> Option<(Backend, Option<Bgp>)> {
    // Absent means vxlan, as flannel documents (its code takes udp, which nobody wants).
    let empty = [];
    let fields: &[(String, Value)] = match value {
        None | Some(Value::Null) => {
            let usual = vxlan::settings(&mut Object::new("Backend.", &empty, findings), families);
            return usual.map(|backend| (backend, None));
        }
        Some(Value::Object(fields)) => fields,
        Some(other) => {
            let why = format!("it is {}, not an object", other.kind());
            findings.mistakes.push(Mistake::of("Backend", &other.to_string(), (why, r#"write {"Type": "vxlan"}"#)));
            return None;
        }
    };
    let mut backend = Object::new("Backend.", fields, findings);
    let fix = format!("write \"{}\"", AVAILABLE.join("\" or \""));
    let known = backend.holds("Type");
    let Some(name) = backend.text("Type") else {
        if !known {
            backend.mistake("Type", "", ("it is missing", fix));
        }
        return None;
    };
    let backend = match name.to_lowercase().as_str() {
        "bgp" => {
            let read = bgp::backend(&mut backend, families, policies);
            return read.map(|(backend, bgp)| (backend, Some(bgp)));
        }
        "vxlan" => vxlan::settings(&mut backend, families),
        "udp" => udp::settings(&mut backend, families),
        "wireguard" => wireguard::settings(&mut backend, families),
        "ipip" => ipip::settings(&mut backend, families),
        "extension" => extension::settings(&mut backend),
        "host-gw" => without_options(&mut backend, Backend::HostGw),
        "alloc" => without_options(&mut backend, Backend::Alloc),
        declined if DECLINED.iter().any(|(name, _)| *name == declined) => {
            let instead = DECLINED.iter().find(|(name, _)| *name == declined).map_or("", |(_, instead)| instead);
            backend.mistake("Type", name, ("towpath has no such backend, on purpose", instead));
            None
        }
        other => {
            let near = spelling::nearest(other, AVAILABLE).map(|near| format!("; did you mean {near}?"));
            let why = format!("there is no such backend{}", near.unwrap_or_default());
            backend.mistake("Type", name, (why, fix));
            None
        }
    };
    backend.map(|backend| (backend, None))
}

/// A backend of which there is nothing more to say.
fn without_options(object: &mut Object<'_, '_>, backend: Backend) -> Option<Backend> {
    object.finish();
    Some(backend)
}
