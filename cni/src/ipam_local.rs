//! [`HostLocal`]: addresses from the ledger on disk, in this very process: the reference `host-local` plugin, and what
//! `towpath` and `bridge` give addresses with.
//!
//! Files are the ledger's business (`ipam::ledger`), keys `ranges.rs`', what one pod asks for `request.rs`'. Other IPAM types
//! are executed (`addresses.rs`).

mod census;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ipam::ledger::{Claim, Identifier, Ledger, Owner, RangeSet};

use crate::call::{Attachments, Call};
use crate::dns::Dns;
use crate::document::{Document, Mistakes, Object};
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::{self, Address, Outcome};
use crate::part::{Part, Undo};
use crate::plugin::Plugin;
use crate::ranges;
use crate::request::Request;
use census::NodeCensus;

const LEDGER: &str = "/var/lib/cni/networks";

/// Addresses.
pub struct HostLocal;

impl Part for HostLocal {
    fn validate(&self, call: &Call<'_>) -> Result<(), Error> {
        ledger(call.document)?;
        Plan::of(call.document).map(drop)
    }

    fn add<'a>(
        &'a self,
        call: &'a Call<'a>,
        attachment: &'a Attachment,
        outcome: &mut Outcome,
    ) -> Result<Undo<'a>, Error> {
        let ledger = ledger(call.document)?;
        let plan = Plan::of(call.document)?;
        let request = Request::of(call, attachment)?;
        let sets = plan.sets(call)?;
        let dns = plan.resolv_conf.as_deref().map(Dns::of_file).transpose()?;
        let owner = &attachment.owner;
        let claim = Claim { owner, sets: &sets, wanted: &request.addresses, now: SystemTime::now() };
        let witnesses = census(call)?;
        // In this process a wire follows, and it is there already if this pod was connected before.
        let reserved = match call.plugin {
            Plugin::HostLocal => ledger.reserve_once(&claim, &witnesses),
            _ => {
                // The runtime knows this very attachment, and never deleted it: so may the ledger.
                if census::kept_answer(&call.document.network()?, owner.container.as_str(), &owner.ifname).exists() {
                    ledger.suspect(owner)?;
                }
                ledger.reserve(&claim, &witnesses)
            }
        }?;
        for reservation in &reserved {
            let (net, gateway) = (reservation.address, Some(reservation.gateway));
            outcome.addresses.push(Address { net, gateway, interface: None });
        }
        outcome.routes.extend(plan.routes);
        outcome.dns = dns.unwrap_or_default();
        // An address that cannot be given back now, DEL will.
        Ok(Box::new(move || drop(ledger.withdraw(owner, &reserved))))
    }

    fn stands(&self, call: &Call<'_>, attachment: &Attachment, made: &Outcome) -> Result<(), Error> {
        let (ledger, owner) = (ledger(call.document)?, &attachment.owner);
        match made.addresses.iter().map(|address| address.net.addr()).find(|address| !ledger.confirms(owner, *address))
        {
            Some(address) => {
                let directory = ledger.directory().display();
                let what =
                    format!("{address} was given back while {owner} got it, see {directory}: was it deleted at once?");
                Err(Error::Missing { what })
            }
            None => {
                // One that cannot be settled costs its DEL a look into every file.
                ledger.settle(owner).ok();
                Ok(())
            }
        }
    }

    fn delete(&self, call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
        // The runtime may say what it pleases of what ADD answered: without it, it takes longer.
        let previous = Outcome::previous(call.document).ok().flatten().unwrap_or_default();
        let told: Vec<_> = previous.own_addresses(attachment).map(|address| address.net.addr()).collect();
        ledger(call.document)?.release(&attachment.owner, &told, SystemTime::now())?;
        Ok(())
    }

    fn check(&self, call: &Call<'_>, attachment: &Attachment, previous: &Outcome) -> Result<(), Error> {
        let ledger = ledger(call.document)?;
        let held = ledger.holdings(&attachment.owner)?;
        match previous.own_addresses(attachment).find(|address| !held.contains(&address.net.addr())) {
            // As host-local, which looks for no more than one.
            None if held.is_empty() => {
                let (owner, directory) = (&attachment.owner, ledger.directory().display());
                Err(Error::Missing { what: format!("no address is reserved for {owner} in {directory}") })
            }
            None => Ok(()),
            Some(address) => {
                let (net, owner, directory) = (address.net.addr(), &attachment.owner, ledger.directory().display());
                Err(Error::Missing { what: format!("the address {net} is not reserved for {owner} in {directory}") })
            }
        }
    }

    fn collect(&self, call: &Call<'_>, valid: &Attachments) -> Result<(), Error> {
        // What is no container's id has nothing in the ledger.
        let owner = |(container, ifname): (&str, &str)| {
            Some(Owner { container: Identifier::new(container).ok()?, ifname: ifname.to_owned() })
        };
        let valid: Vec<Owner> = valid.iter().filter_map(owner).collect();
        ledger(call.document)?.retain(&valid, SystemTime::now())?;
        Ok(())
    }

    fn status(&self, call: &Call<'_>) -> Result<(), Error> {
        let (ledger, sets) = (ledger(call.document)?, Plan::of(call.document)?.sets(call)?);
        Ok(ledger.ready(&sets, &census(call)?)?)
    }
}

/// What ADD gives addresses from.
struct Plan {
    written: Vec<RangeSet>,
    routes: Vec<kernel::pod::Route>,
    resolv_conf: Option<PathBuf>,
}

impl Plan {
    fn of(document: &Document) -> Result<Plan, Error> {
        let (root, mut mistakes) = (document.root(), Mistakes::default());
        let written = ranges::read(&root, &mut mistakes);
        let Some(ipam) = root.object("ipam", &mut mistakes) else {
            return mistakes.none_or(Plan { written, routes: Vec::new(), resolv_conf: None });
        };
        let routes = outcome::routes(&ipam, &mut mistakes);
        let resolv_conf = path(&ipam, "resolvConf", &mut mistakes);
        mistakes.none_or(Plan { written, routes, resolv_conf })
    }

    /// One address is given from each.
    fn sets(&self, call: &Call<'_>) -> Result<Vec<RangeSet>, Error> {
        match call.daemon()? {
            Some(file) => Ok(file.sets.clone()),
            None if self.written.is_empty() => {
                let mistake = "`ipam.ranges` is missing, and the daemon does not say which subnet is this node's: \
                               expected lists of objects with a `subnet`";
                Err(Error::Configuration { mistakes: vec![mistake.to_owned()] })
            }
            None => Ok(self.written.clone()),
        }
    }
}

fn census(call: &Call<'_>) -> Result<NodeCensus, Error> {
    Ok(NodeCensus::new(call.document.network()?, call.plugin))
}

/// Reads as little as possible: a pod must be deleted even when the rest of the configuration is broken by now.
fn ledger(document: &Document) -> Result<Ledger, Error> {
    let name = document.network()?;
    let (root, mut mistakes) = (document.root(), Mistakes::default());
    let ipam = root.object("ipam", &mut mistakes);
    let data_dir = ipam.and_then(|ipam| path(&ipam, "dataDir", &mut mistakes));
    let data_dir = data_dir.or_else(|| path(&root, "dataDir", &mut mistakes)).unwrap_or_else(|| LEDGER.into());
    mistakes.none_or(Ledger::new(&data_dir, &name))
}

fn path(object: &Object<'_>, key: &str, mistakes: &mut Mistakes) -> Option<PathBuf> {
    object.absolute_path(key, mistakes).map(Path::to_owned)
}
