//! [`HostLocal`]: addresses from the ledger on disk, in this very process: the reference `host-local` plugin, and what
//! `towpath` and `bridge` give addresses with.
//!
//! Owner of this file, of `ranges.rs` and of what comes beside them while the parts are filled in: IPAM. Other IPAM types are
//! executed (`addresses.rs`).

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ipam::ledger::{Claim, Ledger, NoCensus, RangeSet};

use crate::call::Call;
use crate::dns::Dns;
use crate::document::{Document, Mistakes, Object};
use crate::environment::Attachment;
use crate::error::Error;
use crate::outcome::{self, Address, Outcome};
use crate::part::{Part, Undo};
use crate::ranges;

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
        // Better no pod than one with another address than it was asked for.
        if let Some(value) = attachment.arguments.get("IP") {
            let instead = "leave it out, addresses are given from the ranges";
            return Err(Error::UnsupportedField { key: "CNI_ARGS IP".to_owned(), value: value.to_owned(), instead });
        }
        let sets = plan.sets(call)?;
        let dns = plan.resolv_conf.as_deref().map(Dns::of_file).transpose()?;
        let claim = Claim { owner: &attachment.owner, sets: &sets, wanted: &[], now: SystemTime::now() };
        let reserved = ledger.reserve(&claim, &NoCensus)?;
        for reservation in &reserved {
            let (net, gateway) = (reservation.address, Some(reservation.gateway));
            outcome.addresses.push(Address { net, gateway, interface: None });
        }
        outcome.routes.extend(plan.routes);
        outcome.dns = dns.unwrap_or_default();
        // An address that cannot be given back now, DEL will.
        Ok(Box::new(move || drop(ledger.withdraw(&attachment.owner, &reserved))))
    }

    fn delete(&self, call: &Call<'_>, attachment: &Attachment) -> Result<(), Error> {
        ledger(call.document)?.release(&attachment.owner, SystemTime::now())?;
        Ok(())
    }

    fn check(&self, call: &Call<'_>, attachment: &Attachment, previous: &Outcome) -> Result<(), Error> {
        let ledger = ledger(call.document)?;
        let held = ledger.holdings(&attachment.owner)?;
        match previous.own_addresses(attachment).find(|address| !held.contains(&address.net.addr())) {
            None => Ok(()),
            Some(address) => {
                let (net, owner, directory) = (address.net.addr(), &attachment.owner, ledger.directory().display());
                Err(Error::Missing { what: format!("the address {net} is not reserved for {owner} in {directory}") })
            }
        }
    }

    fn status(&self, call: &Call<'_>) -> Result<(), Error> {
        self.validate(call)?;
        Plan::of(call.document)?.sets(call).map(drop)
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
        let arguments = root.object("args", &mut mistakes).and_then(|arguments| arguments.object("cni", &mut mistakes));
        let runtime = root.object("runtimeConfig", &mut mistakes);
        let asked = arguments.and_then(|arguments| arguments.first_set(&["ips"]));
        if let Some((key, value)) =
            asked.or_else(|| runtime.and_then(|runtime| runtime.first_set(&["ips", "ipRanges"])))
        {
            let instead = "leave it out, addresses are given from the ranges";
            return Err(Error::UnsupportedField { key, value, instead });
        }
        let Some(ipam) = root.object("ipam", &mut mistakes) else {
            return mistakes.none_or(Plan { written: Vec::new(), routes: Vec::new(), resolv_conf: None });
        };
        let written = ranges::read(&ipam, &mut mistakes);
        let routes = outcome::routes(&ipam, &mut mistakes);
        let resolv_conf = path(&ipam, "resolvConf", &mut mistakes);
        mistakes.none_or(Plan { written, routes, resolv_conf })
    }

    /// One address is given from each.
    fn sets(&self, call: &Call<'_>) -> Result<Vec<RangeSet>, Error> {
        match call.daemon()? {
            Some(file) => Ok(file.sets.clone()),
            None if self.written.is_empty() => {
                let mistake = "`ipam.ranges` is missing: expected lists of objects with a `subnet`".to_owned();
                Err(Error::Configuration { mistakes: vec![mistake] })
            }
            None => Ok(self.written.clone()),
        }
    }
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
