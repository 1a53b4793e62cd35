//! DEL: the wire that ADD made or began to make is gone afterwards, and it is no error when it was gone before.
//!
//! The link goes first and the address after it, so that no other pod can get an address that still answers. Pods that the
//! reference plugins made are deleted as well: their link by its name in the pod, their address by the ledger's files.
//!
//! The kernel takes 20 ms to delete a link; `kernel::pod::burial` has the daemon wait for it. Here also is GC's part.

use std::collections::BTreeSet;

use kernel::netns::{Netns, NetnsError};
use kernel::pod::burial::GROUP;
use kernel::pod::{Found, Guard, Host, Pod, PodError};
use kernel::tag::Tag;

use super::names;
use crate::addresses;
use crate::call::{Attachments, Call};
use crate::document::Mistakes;
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
        // An ADD of the same interface that runs meanwhile looks for its addresses when its wire is there (`Part::stands`):
        // either it misses them, or its wire is seen now.
        if latecomer(call, attachment)? {
            unplug(call, attachment)?;
        }
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
    let tag = names::alias(&call.document.network()?, &attachment.owner);
    match (found.filter(|found| found.kind == "veth" && found.alias == tag.as_str()), &netns) {
        (Some(found), _) => host.retire(&[(found, name)]).map_err(PodError::from)?,
        (None, Sandbox::There(netns)) => {
            let mut pod = Pod::enter(netns)?;
            if !is_anothers(&mut host, &mut pod, (attachment, &tag))? {
                pod.unplug(attachment.ifname)?;
            }
        }
        // It may have gone with the pod's namespace.
        (None, Sandbox::Gone | Sandbox::Own) => host.forget_unrouted().map_err(PodError::from)?,
    }
    if is_guarded(call) {
        call.go_home()?;
        Guard::open().and_then(|mut guard| guard.remove(name)).map_err(PodError::from)?;
    }
    Ok(if matches!(netns, Sandbox::Own) { Unplugged::NotTouched } else { Unplugged::Gone })
}

/// Whether the interface of that name is the wire of another attachment of ours: paths of namespaces are used again, and a
/// DEL may come late.
fn is_anothers(host: &mut Host, pod: &mut Pod, (attachment, own): (&Attachment, &Tag)) -> Result<bool, Error> {
    let Some(peer) = pod.find(attachment.ifname).map_err(PodError::from)?.and_then(|found| found.peer) else {
        return Ok(false);
    };
    let ours = host.aliased(Tag::PREFIX).map_err(PodError::from)?;
    Ok(ours.iter().any(|found| found.index == peer && found.kind == "veth" && found.alias != own.as_str()))
}

/// Whether there is a wire again, in service.
fn latecomer(call: &Call<'_>, attachment: &Attachment) -> Result<bool, Error> {
    let tag = names::alias(&call.document.network()?, &attachment.owner);
    let found =
        Host::open().and_then(|mut host| host.find(names::host_end(&attachment.owner))).map_err(PodError::from)?;
    Ok(found.is_some_and(|found| found.group != GROUP && found.alias == tag.as_str()))
}

/// Whether the configuration wants pods to send with their own MAC address only. It may be broken by now.
fn is_guarded(call: &Call<'_>) -> bool {
    call.document.root().flag("macspoofchk", &mut Mistakes::default()).unwrap_or(false)
}

/// GC: takes down the wires of this network that belong to nobody any more, and the rules about ports that are gone.
///
/// # Errors
/// When the kernel refuses.
pub fn collect(call: &Call<'_>, valid: &Attachments) -> Result<(), Error> {
    let network = call.document.network()?;
    let tags: BTreeSet<Tag> = valid.owners().map(|owner| names::alias(&network, &owner)).collect();
    let mut host = Host::open().map_err(PodError::from)?;
    let wires = host.aliased(Tag::PREFIX).map_err(PodError::from)?;
    let stale = |found: &Found| {
        let kept = tags.iter().any(|tag| tag.as_str() == found.alias);
        found.kind == "veth" && Tag::is_of_network(&found.alias, network.as_str()) && !kept
    };
    let stale: Vec<_> =
        wires.iter().filter(|found| stale(found)).filter_map(|found| Some((found.clone(), found.name?))).collect();
    host.retire(&stale).map_err(PodError::from)?;
    host.forget_unrouted().map_err(PodError::from)?;
    if is_guarded(call) {
        let mut guard = Guard::open().map_err(PodError::from)?;
        let gone = |port| stale.iter().any(|(_, name)| *name == port) || !wires.iter().any(|f| f.name == Some(port));
        for port in guard.ports().map_err(PodError::from)?.into_iter().filter(|port| gone(*port)) {
            guard.remove(port).map_err(PodError::from)?;
        }
    }
    Ok(())
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
