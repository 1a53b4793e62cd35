//! [`DeviceLocks`]: one tunnel device, one daemon. Two on a node may not fight over one.
//!
//! The lock is an abstract unix socket named after the device: the kernel keeps abstract names per network namespace, as
//! it keeps devices, and frees them when the process ends, however it ends (unix(7)).

use std::collections::{BTreeMap, BTreeSet};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use backends::LinkName;
use backends::instance::device_lock;

/// The devices that this process holds.
#[derive(Debug, Default)]
pub struct DeviceLocks(BTreeMap<LinkName, UnixListener>);

/// A device that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceLockError {
    /// Somebody else has it.
    #[error(
        "the device {device} belongs to another towpathd that runs on this node (`ss -xlp` shows which, as @towpath/{device}); \
         stop that one, or give this one's network another VNI"
    )]
    Held {
        /// The device.
        device: LinkName,
    },
    /// The lock itself failed.
    #[error("the lock @towpath/{device} cannot be taken: {source}")]
    Failed {
        /// The device.
        device: LinkName,
        /// Why.
        source: std::io::Error,
    },
}

impl DeviceLocks {
    /// Takes these devices, of which one may be named twice, and lets go of all others.
    ///
    /// # Errors
    /// [`DeviceLockError`] when one of them is another's.
    pub fn hold<'a>(&mut self, devices: impl IntoIterator<Item = &'a LinkName>) -> Result<(), DeviceLockError> {
        let mut held = BTreeMap::new();
        for device in devices.into_iter().collect::<BTreeSet<_>>() {
            let lock = match self.0.remove(device) {
                Some(lock) => lock,
                None => take(*device)?,
            };
            held.insert(*device, lock);
        }
        self.0 = held;
        Ok(())
    }
}

fn take(device: LinkName) -> Result<UnixListener, DeviceLockError> {
    let bound = SocketAddr::from_abstract_name(device_lock(device)).and_then(|name| UnixListener::bind_addr(&name));
    bound.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => DeviceLockError::Held { device },
        _ => DeviceLockError::Failed { device, source },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_device_has_one_holder_until_it_lets_go() {
        let device = LinkName::new(&format!("t{}", std::process::id())).expect("a name");
        let (mut one, mut two) = (DeviceLocks::default(), DeviceLocks::default());
        one.hold([&device, &device]).expect("free");
        one.hold([&device]).expect("still ours");
        assert!(matches!(two.hold([&device]), Err(DeviceLockError::Held { .. })));
        one.hold([]).expect("nothing");
        two.hold([&device]).expect("free again");
    }
}
