//! What host ports and masquerade share: the pod's tag, its entries in the plugin's nftables table, and why it has none.

use std::mem::ManuallyDrop;
use std::os::fd::AsFd;

use kernel::conntrack::{self, Which};
use kernel::listener::Listener;
use kernel::nft::leftovers;
use kernel::nft::nat::{Mapping, Nat, NatError, Wanted};
use kernel::pod::burial;
use kernel::tag::Tag;

use crate::call::{Attachments, Call};
use crate::environment::Attachment;
use crate::error::Error;

/// Why a pod does not have its host ports, or does not leave under the node's address.
#[derive(Debug, thiserror::Error)]
pub enum TranslationError {
    /// Another pod has a host port, or the kernel refused.
    #[error(transparent)]
    Nat(#[from] NatError),
    /// The kernel refused, or could not be asked.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A process of the node would lose its packets.
    #[error("host port {mapping} is taken: a process of this node has {listener}; stop it, or choose another hostPort")]
    Heard {
        /// What was asked for.
        mapping: Box<Mapping>,
        /// Who has it.
        listener: Box<Listener>,
    },
}

impl TranslationError {
    /// The error's number: 104 when somebody else has the port, 100 when the kernel refused.
    pub fn code(&self) -> u32 {
        match self {
            TranslationError::Nat(NatError::Taken { .. } | NatError::Twice { .. }) | TranslationError::Heard { .. } => {
                104
            }
            TranslationError::Nat(NatError::Netlink(_)) | TranslationError::Kernel(_) => 100,
        }
    }
}

/// Whose this pod's things are.
///
/// # Errors
/// When the network has no name.
pub fn tag(call: &Call<'_>, attachment: &Attachment) -> Result<Tag, Error> {
    Ok(Tag::new(call.document.network()?.as_str(), &attachment.owner))
}

/// DEL: takes all that a pod has, be it from us or from the reference plugins.
///
/// # Errors
/// When the network has no name, or the kernel refuses.
pub fn delete(call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
    let (network, tag) = (call.document.network()?, tag(call, attachment)?);
    take(|nat| {
        leftovers::remove(nat.socket(), network.as_str(), &attachment.owner)?;
        nat.remove(&tag)
    })
}

/// Takes all that a pod has in the table, and forgets the UDP flows through its host ports.
///
/// # Errors
/// When the kernel refuses.
pub fn remove(tag: &Tag) -> Result<(), Error> {
    take(|nat| nat.remove(tag))
}

/// CHECK: whether a pod has all that it is to have.
///
/// # Errors
/// The first thing that is missing, or when the kernel cannot be asked.
pub fn check(tag: &Tag, wanted: &Wanted) -> Result<(), Error> {
    let missing = Nat::open().and_then(|mut nat| nat.missing(tag, wanted)).map_err(TranslationError::from)?;
    missing.map_or(Ok(()), |missing| Err(Error::Missing { what: missing.to_string() }))
}

/// Takes what is this network's and of no attachment that is still valid.
///
/// # Errors
/// When the network has no name, or the kernel refuses.
pub fn collect(call: &Call<'_>, valid: &Attachments) -> Result<(), Error> {
    let network = call.document.network()?;
    let kept: Vec<Tag> = valid.owners().map(|owner| Tag::new(network.as_str(), &owner)).collect();
    take(|nat| nat.collect(network.as_str(), &kept))
}

fn take(work: impl FnOnce(&mut Nat) -> kernel::Result<Vec<Mapping>>) -> Result<(), Error> {
    let mut nat = match Nat::open() {
        // A kernel without nftables has nothing of ours.
        Err(kernel::Error::Unsupported { .. }) => return Ok(()),
        nat => ManuallyDrop::new(nat.map_err(TranslationError::from)?),
    };
    let taken = work(&mut nat).map_err(TranslationError::from)?;
    // A flow that is not forgotten ends by itself within minutes, and the next ADD for the port forgets it as well.
    conntrack::forget(nat.socket(), &taken, Which::ToPod).ok();
    leave(nat);
    Ok(())
}

/// Does not close the socket, which would wait until the kernel has freed what anybody deleted: the daemon does. Without
/// one the process's end closes it as well, and by then deleting a pod's wire has waited for the same.
pub fn leave(mut nat: ManuallyDrop<Nat>) {
    if nat.found_table() {
        burial::pass_on(nat.socket().as_fd());
    }
}
