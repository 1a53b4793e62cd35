//! TUN devices: what of them netlink says (`IFLA_TUN_*`, include/uapi/linux/if_link.h). Making them is [`crate::tun`]'s.

use super::link::Entry;

/// What `IFLA_INFO_KIND` says, and what [`kind`] calls a device that we could be behind.
pub const NAME: &str = "tun";
const TYPE: u16 = 3;
const PERSIST: u16 = 6;
const MULTI_QUEUE: u16 = 7;
/// `IFF_TUN`
const TUN: u8 = 1;

/// What to call it: [`NAME`] for one that lasts and that one program can be behind. Kernels before 4.18 do not say.
pub fn kind(entry: &Entry<'_>) -> String {
    let number = |kind| entry.data.get(kind).and_then(|attribute| attribute.u8());
    match (number(TYPE), number(PERSIST), number(MULTI_QUEUE)) {
        (Some(kind), ..) if kind != TUN => "tap".to_owned(),
        (_, Some(0), _) => format!("{NAME} that goes with its program"),
        (_, _, Some(queues)) if queues != 0 => format!("{NAME} of many queues"),
        _ => NAME.to_owned(),
    }
}
