//! What kind of device a link is: which of the files beside reads its attributes.

use backends::LinkName;
use backends::state::LinkKind;

use super::link::Entry;
use super::{ipip, tun, vxlan};

/// What a link is; `name` gives the name of a link by its index.
pub fn read(entry: &Entry<'_>, name: impl Fn(u32) -> Option<LinkName>) -> LinkKind {
    match entry.kind {
        Some(vxlan::KIND) => vxlan::read(entry, name),
        Some(ipip::V4) => ipip::read(entry),
        Some(ipip::V6) => ipip::read_v6(entry),
        Some(tun::NAME) => LinkKind::Other(tun::kind(entry)),
        other => LinkKind::Other(other.unwrap_or("hardware").to_owned()),
    }
}
