//! The options of `"Type": "ipip"`. `MTU` and `TxChecksum` are ours; flannel has only `DirectRouting`.

use backends::Backend;
use backends::ipip::IpipSettings;
use ipam::{Family, Stack};

use super::object::Object;
use super::offload;

/// Reads them; `None` after a mistake.
pub(super) fn settings(backend: &mut Object<'_, '_>, families: Stack<()>) -> Option<Backend> {
    backend.take("Type");
    // Headers as in `IpipSettings::device_mtu`; the kernel takes no device under 68 octets (RFC 791) and speaks no IPv6 on
    // one under 1280 (RFC 8200 section 5).
    let least = if families.has(Family::V6) { 1280 + 40 } else { 68 + 20 };
    let mtu = backend.integer("MTU", 0..=u16::MAX.into()).filter(|mtu| *mtu != 0);
    let too_small = mtu.filter(|mtu| *mtu < least);
    if let Some(mtu) = too_small {
        let why = "the tunnel's header leaves too little for pods";
        backend.mistake("MTU", &mtu.to_string(), (why, format!("write at least {least}, or leave it out")));
    }
    let mut settings = IpipSettings::new(&families);
    settings.mtu = mtu;
    settings.direct_routing = backend.boolean("DirectRouting").unwrap_or(false);
    settings.tx_checksum = offload::tx_checksum(backend);
    backend.finish();
    too_small.is_none().then_some(Backend::Ipip(settings))
}
