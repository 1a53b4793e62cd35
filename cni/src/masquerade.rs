//! [`Masquerade`]: `ipMasq` of `towpath` and `bridge`: pods leave the cluster under the node's address.
//!
//! One element for each address of a pod in the plugin's nftables table (`kernel::nft::nat`). The daemon masquerades for the
//! whole node in a table of its own; who asks for both gets it once, since only the first that matches counts.

use std::mem::ManuallyDrop;
use std::path::Path;

use ipnet::IpNet;
use kernel::nft::nat::{Nat, Wanted};

use crate::call::{Attachments, Call};
use crate::document::Mistakes;
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::part::{Part, Undo};
use crate::plugin::Plugin;
use crate::subnet_file::{SUBNET_FILE, SubnetFile};
use crate::translation::{self, TranslationError};

/// Masquerading of what pods send out of the cluster.
pub struct Masquerade;

impl Part for Masquerade {
    fn validate(&self, call: &Call<'_>) -> Result<(), Error> {
        Asked::of(call).map(drop)
    }

    fn add<'a>(
        &'a self,
        call: &'a Call<'a>,
        attachment: &'a Attachment,
        outcome: &mut Outcome,
    ) -> Result<Undo<'a>, Error> {
        let Some(wanted) = wanted(call, attachment, outcome)? else { return Ok(Box::new(|| {})) };
        let tag = translation::tag(call, attachment)?;
        let mut nat = ManuallyDrop::new(Nat::open().map_err(TranslationError::from)?);
        nat.add(&tag, &wanted).map_err(TranslationError::from)?;
        translation::leave(nat);
        Ok(Box::new(move || {
            // The error that led here is the one to report; what is left now, DEL will take.
            translation::remove(&tag).ok();
        }))
    }

    fn delete(&self, call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
        match call.plugin {
            // The host ports' part takes all that the pod has in the table.
            Plugin::Towpath => Ok(()),
            _ => translation::delete(call, attachment),
        }
    }

    fn check(&self, call: &Call<'_>, attachment: &Attachment, previous: &Outcome) -> Result<(), Error> {
        let Some(wanted) = wanted(call, attachment, previous)? else { return Ok(()) };
        translation::check(&translation::tag(call, attachment)?, &wanted)
    }

    fn collect(&self, call: &Call<'_>, valid: &Attachments) -> Result<(), Error> {
        match call.plugin {
            Plugin::Towpath => Ok(()),
            _ => translation::collect(call, valid),
        }
    }

    fn status(&self, call: &Call<'_>) -> Result<(), Error> {
        if Asked::of(call)?.masquerade {
            Nat::open().map_err(TranslationError::from)?;
        }
        Ok(())
    }
}

/// What the configuration says.
struct Asked {
    masquerade: bool,
    /// The networks towards which pods keep their addresses, if they are written.
    excluded: Option<Vec<IpNet>>,
}

impl Asked {
    fn of(call: &Call<'_>) -> Result<Asked, Error> {
        let (root, mut mistakes) = (call.document.root(), Mistakes::default());
        let masquerade = root.flag("ipMasq", &mut mistakes) == Some(true);
        let excluded = root.get("ipMasqExclude").map(|_| networks(call, &mut mistakes));
        // Whichever is asked for, nftables by netlink does it: the meaning is the same.
        if let Some(backend) = root.text("ipMasqBackend", &mut mistakes)
            && !["", "iptables", "nftables"].contains(&backend)
        {
            mistakes.push(format!("`ipMasqBackend` is {backend:?}: expected \"nftables\" or \"iptables\""));
        }
        mistakes.none_or(Asked { masquerade, excluded })
    }
}

fn networks(call: &Call<'_>, mistakes: &mut Mistakes) -> Vec<IpNet> {
    let texts = call.document.root().texts("ipMasqExclude", mistakes);
    let mut networks = Vec::new();
    for text in texts {
        match text
            .parse::<IpNet>()
            .or_else(|error| text.parse::<std::net::IpAddr>().map(IpNet::from).map_err(|_| error))
        {
            Ok(net) => networks.push(net),
            Err(_) => mistakes.push(format!("`ipMasqExclude` has {text:?}: expected networks as in 10.0.0.0/8")),
        }
    }
    networks
}

/// What the pod is to have; nothing when nobody asked.
fn wanted(call: &Call<'_>, attachment: &Attachment, outcome: &Outcome) -> Result<Option<Wanted>, Error> {
    let asked = Asked::of(call)?;
    let own: Vec<IpNet> = outcome.own_addresses(attachment).map(|address| address.net).collect();
    if !asked.masquerade || own.is_empty() {
        return Ok(None);
    }
    let excluded = match asked.excluded {
        Some(excluded) => excluded,
        None => cluster(call, &own)?,
    };
    // As with the reference plugin, neighbours on the link always see each other as they are. A pod without neighbours
    // needs no chain of its own.
    let links = own.iter().filter(|net| net.prefix_len() < net.max_prefix_len());
    let spared = excluded.iter().chain(links).map(IpNet::trunc).collect();
    let leaving = own.iter().map(IpNet::addr).collect();
    Ok(Some(Wanted { leaving, spared, ..Wanted::default() }))
}

/// The cluster's networks, when the pod's addresses are of them: other pods answer it without the node's help only then.
fn cluster(call: &Call<'_>, own: &[IpNet]) -> Result<Vec<IpNet>, Error> {
    let networks = match call.daemon()? {
        Some(daemon) => daemon.networks.clone(),
        None => {
            let path = call.document.root().absolute_path("subnetFile", &mut Mistakes::default());
            match SubnetFile::read(path.unwrap_or(Path::new(SUBNET_FILE))) {
                Err(Error::NoSubnetFile { .. }) => Vec::new(),
                read => read?.networks,
            }
        }
    };
    let of_own = |network: &IpNet| own.iter().any(|address| network.contains(&address.addr()));
    if networks.iter().any(of_own) { Ok(networks) } else { Ok(Vec::new()) }
}
