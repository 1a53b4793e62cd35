//! DEL: the wire that ADD made or began to make is gone afterwards, and it is no error when it was gone before.
//!
//! The link goes first and the address after it, so that no other pod can get an address that still answers. Pods that the
//! reference plugins made are deleted as well: their link by its name in the pod, their address by the ledger's files.

use kernel::netns::{Netns, NetnsError};
use kernel::pod::{Host, Pod, PodError};

use super::names;
use crate::addresses;
use crate::call::Call;
use crate::environment::Attachment;
use crate::error::Error;

/// Takes the wire down and gives its addresses back.
///
/// # Errors
/// When something is left; asking again does the rest.
pub fn delete(call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
    call.document.network()?;
    let unplugged = unplug(call, attachment)?;
    call.go_home()?;
    if let Some(giver) = addresses::giver(call)? {
        giver.delete(call, attachment)?;
    }
    match unplugged {
        Unplugged::NotTouched => Err(attachment.own_netns()),
        Unplugged::Gone => Ok(()),
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplugged {
    /// There is no wire any more.
    Gone,
    /// `CNI_NETNS` is the host's own network namespace, of which nothing is touched.
    NotTouched,
}

/// Takes the wire down.
///
/// # Errors
/// When the kernel refuses.
pub fn unplug(call: &Call<'_>, attachment: &Attachment) -> Result<Unplugged, Error> {
    let netns = Sandbox::of(call, attachment)?;
    let mut host = Host::open().map_err(PodError::from)?;
    let name = names::host_end(&attachment.owner);
    let found = host.find(name).map_err(PodError::from)?;
    // Without an alias it is what an ADD that was killed left: nobody else makes a veth of that name.
    let ours = |alias: &str| alias.is_empty() || alias == names::alias(&attachment.owner);
    match (found.filter(|found| found.kind == "veth" && ours(&found.alias)), &netns) {
        (Some(found), _) => host.delete(found.index, name).map_err(PodError::from)?,
        (None, Sandbox::There(netns)) => Pod::enter(netns)?.unplug(attachment.ifname)?,
        (None, Sandbox::Gone | Sandbox::Own) => {}
    }
    Ok(if matches!(netns, Sandbox::Own) { Unplugged::NotTouched } else { Unplugged::Gone })
}

/// The pod's namespace, as far as DEL cares.
enum Sandbox {
    There(Netns),
    /// Not given, gone, or only the file is left that it was mounted on, as after a reboot.
    Gone,
    /// The host's own, of which nothing is touched.
    Own,
}

impl Sandbox {
    fn of(call: &Call<'_>, attachment: &Attachment) -> Result<Sandbox, Error> {
        let Some(path) = &attachment.netns else { return Ok(Sandbox::Gone) };
        match Netns::open(path) {
            Ok(netns) if netns.is_same_as(call.home) => Ok(Sandbox::Own),
            Ok(netns) => Ok(Sandbox::There(netns)),
            Err(NetnsError::NotANamespace { .. }) => Ok(Sandbox::Gone),
            Err(NetnsError::Open { source, .. })
                if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
            {
                Ok(Sandbox::Gone)
            }
            Err(error) => Err(Error::of_netns(error)),
        }
    }
}
