//! [`Ports`]: a pod's host ports (`runtimeConfig.portMappings`), in `towpath` and under the name `portmap`.
//!
//! One element for each mapping in the plugin's nftables table (`kernel::nft::nat`), which needs no mark and no chain of
//! anybody's: `markMasqBit`, `externalSetMarkChain` and `backend` are accepted, and either backend means the same.
//! A port that somebody else has is refused, where the reference plugin takes it away: another pod, on this address or on
//! all, or a process of the node.

mod asked;

use std::mem::ManuallyDrop;
use std::net::{IpAddr, Ipv6Addr};

use kernel::conntrack::{self, Which};
use kernel::nft::nat::{Mapping, Nat, Sources, Wanted};
use kernel::pod::PodError;
use kernel::tag::Tag;
use kernel::{listener, loopback};

use crate::call::{Attachments, Call};
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::part::{Part, Undo};
use crate::plugin::Plugin;
use crate::translation::{self, TranslationError};
use asked::Asked;

/// Host ports.
pub struct Ports;

impl Part for Ports {
    fn validate(&self, call: &Call<'_>) -> Result<(), Error> {
        Asked::of(call).map(drop)
    }

    fn add<'a>(
        &'a self,
        call: &'a Call<'a>,
        attachment: &'a Attachment,
        outcome: &mut Outcome,
    ) -> Result<Undo<'a>, Error> {
        let asked = Asked::of(call)?;
        if call.plugin == Plugin::Portmap && !call.document.root().has("prevResult") {
            let mistake = "`prevResult` is missing: portmap comes after the plugin that connects the pod, in a list";
            return Err(Error::Configuration { mistakes: vec![mistake.to_owned()] });
        }
        let mut wanted = asked.wanted(attachment, outcome);
        if wanted.mappings.is_empty() {
            return Ok(Box::new(|| {}));
        }
        wanted.loopback = own_towards(&wanted)?;
        let tag = translation::tag(call, attachment)?;
        publish(&tag, &wanted)?;
        Ok(Box::new(move || take_back(&tag)))
    }

    fn delete(&self, call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
        translation::delete(call, attachment)
    }

    fn check(&self, call: &Call<'_>, attachment: &Attachment, previous: &Outcome) -> Result<(), Error> {
        let wanted = Asked::of(call)?.wanted(attachment, previous);
        if wanted.mappings.is_empty() {
            return Ok(());
        }
        translation::check(&translation::tag(call, attachment)?, &wanted)
    }

    fn collect(&self, call: &Call<'_>, valid: &Attachments) -> Result<(), Error> {
        translation::collect(call, valid)
    }
}

/// Opens all of a pod's ports, or none.
fn publish(tag: &Tag, wanted: &Wanted) -> Result<(), Error> {
    let mut nat = ManuallyDrop::new(Nat::open().map_err(TranslationError::from)?);
    for mapping in &wanted.mappings {
        if let Some(listener) = listener::in_the_way_of(mapping).map_err(TranslationError::from)? {
            let (mapping, listener) = (Box::new(*mapping), Box::new(listener));
            return Err(TranslationError::Heard { mapping, listener }.into());
        }
    }
    nat.add(tag, wanted).map_err(TranslationError::from)?;
    // A flow that is not forgotten goes on to where it went; it ends by itself when its client pauses.
    conntrack::forget(nat.socket(), &wanted.mappings, Which::Elsewhere).ok();
    translation::leave(nat);
    let led = lead_loopback(wanted);
    if led.is_err() {
        take_back(tag);
    }
    led.map_err(|error| Error::Pod(PodError::Netlink(error)))
}

/// The node reaches host ports on its own 127.0.0.1, too.
fn lead_loopback(wanted: &Wanted) -> kernel::Result<()> {
    let pod = wanted.mappings.iter().find_map(|mapping: &Mapping| match mapping.pod {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    match pod {
        Some(pod) if wanted.sources != Sources::None => loopback::lead_to(pod),
        _ => Ok(()),
    }
}

/// The address under which the node asks itself for the pod's ports by `::1`.
fn own_towards(wanted: &Wanted) -> Result<Option<Ipv6Addr>, Error> {
    let pod = wanted.mappings.iter().find_map(|mapping: &Mapping| match mapping.pod {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(v6),
    });
    match pod {
        Some(pod) if wanted.sources != Sources::None => {
            loopback::own_towards(pod).map_err(|error| Error::Pod(PodError::Netlink(error)))
        }
        _ => Ok(None),
    }
}

/// The error that led here is the one to report; what is left now, DEL will take.
fn take_back(tag: &Tag) {
    translation::remove(tag).ok();
}
