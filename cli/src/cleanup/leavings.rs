//! [`Leavings`]: all that daemons have left on this node.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use backends::instance::ALIAS_PREFIX;
use backends::{Instance, LinkName};
use kernel::Hand;
use kernel::nft::nat::{Nat, TABLE};
use kernel::traces::{self, Traces};

use super::CleanupError;
use super::files::{Files, dead_socket};
use super::kernel_side::KernelSide;
use crate::arguments::Cleanup;

/// All that daemons have left.
#[derive(Debug, Default)]
pub struct Leavings {
    /// In the kernel, per instance.
    kernel: Vec<KernelSide>,
    /// On disk.
    files: BTreeSet<PathBuf>,
    /// The plugin's table, with nothing of any pod in it.
    idle: bool,
}

impl Leavings {
    /// Looks everywhere, changes nothing.
    pub fn find(wish: &Cleanup, socket: &Path) -> Result<Leavings, CleanupError> {
        let traces = traces::read()?;
        let mut hand = Hand::open()?;
        let mut leavings = Leavings::default();
        let chosen = wish.subnet_file.clone();
        let tables = |of: &dyn Fn(&str, &str) -> bool| {
            let tables = traces.tables.iter().filter(|(name, owner)| of(name, owner));
            tables.map(|(name, owner)| KernelSide::table(name, owner)).collect::<Vec<_>>()
        };
        let all = chosen.is_none();
        for subnet_file in chosen.map_or_else(|| subnet_files(&traces), |file| BTreeSet::from([file])) {
            let instance = Instance::of_subnet_file(&subnet_file);
            let files = Files::find(&subnet_file, &wish.state_directory)?;
            // A blackhole does not say whose it is: without another instance it is ours, else its network must tell.
            let alone = aliases(&traces).all(|alias| alias == instance.alias);
            let networks = if all || alone { KernelSide::everywhere() } else { files.networks() };
            let mut sides = tables(&|name, owner| owner == instance.alias || name == instance.table);
            sides.push(KernelSide::find(&mut hand, instance, networks)?);
            leavings.files.extend(files.of_daemon(&sides));
            sides.into_iter().for_each(|side| leavings.take(side));
        }
        if all {
            tables(&|_, _| true).into_iter().for_each(|side| leavings.take(side));
            leavings.files.extend(dead_socket(socket));
            leavings.idle = match Nat::open() {
                Err(kernel::Error::Unsupported { .. }) => false,
                nat => nat?.is_idle()?,
            };
        }
        Ok(leavings)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.kernel.is_empty() && self.files.is_empty() && !self.idle
    }

    /// The links among them.
    pub fn links(&self) -> impl Iterator<Item = LinkName> {
        self.kernel.iter().flat_map(KernelSide::links)
    }

    /// The instances among them, by their links' alias.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.kernel.iter().map(KernelSide::alias)
    }

    /// Removes them; gives what could not be removed, one sentence each.
    pub fn remove(self) -> Result<Vec<String>, CleanupError> {
        let mut hand = Hand::open()?;
        let mut failures = Vec::new();
        for side in &self.kernel {
            failures.extend(side.remove(&mut hand));
        }
        if self.idle && !Nat::open()?.dismantle()? {
            failures.push(format!("a pod has something in the nftables table inet {TABLE} by now: it stays"));
        }
        for file in &self.files {
            if let Err(error) = std::fs::remove_file(file) {
                failures.push(format!("{} cannot be removed: {error}", file.display()));
            }
        }
        Ok(failures)
    }

    /// Two instances may name the same thing, as a blackhole of which nobody can tell whose it is: once is enough.
    fn take(&mut self, mut side: KernelSide) {
        self.kernel.iter().for_each(|other| side.leave_to(other));
        if !side.is_empty() {
            self.kernel.push(side);
        }
    }
}

/// The subnet file of a daemon that is not told another.
const DEFAULT_SUBNET_FILE: &str = "/run/flannel/subnet.env";

/// Whose links and tables there are; and the default instance, which may have left files alone.
fn subnet_files(traces: &Traces) -> BTreeSet<PathBuf> {
    let of_aliases = aliases(traces).filter_map(|alias| alias.strip_prefix(ALIAS_PREFIX));
    of_aliases.chain([DEFAULT_SUBNET_FILE]).map(PathBuf::from).collect()
}

fn aliases(traces: &Traces) -> impl Iterator<Item = &str> {
    let of_links = traces.links.iter().map(|(_, alias)| alias.as_str());
    let of_tables = traces.tables.iter().map(|(_, alias)| alias.as_str());
    of_links.chain(of_tables).chain(traces.passages.iter().map(String::as_str))
}

impl fmt::Display for Leavings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kernel.iter().try_for_each(|side| side.fmt(f))?;
        if self.idle {
            writeln!(f, "nft delete table inet {TABLE}    # no pod has anything in it")?;
        }
        self.files.iter().try_for_each(|file| writeln!(f, "rm {}", file.display()))
    }
}
