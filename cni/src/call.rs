//! [`Call`]: what every part of a plugin needs to know of the request; and [`Attachments`], those that GC must leave alone.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ipam::ledger::{Identifier, Owner};
use kernel::netns::Netns;

use crate::document::{Document, Mistakes};
use crate::environment::{Command, Environment};
use crate::error::Error;
use crate::plugin::Plugin;
use crate::subnet_file::SubnetFile;
use crate::version::Version;

/// A request, whichever verb it is.
#[derive(Debug)]
pub struct Call<'a> {
    /// What is asked.
    pub command: Command,
    /// The name that we were called by, or that a meta plugin delegates to: defaults differ by it.
    pub plugin: Plugin,
    /// The version to answer in.
    pub version: Version,
    /// The configuration.
    pub document: &'a Document,
    /// The variables, for plugins that are executed.
    pub environment: &'a Environment,
    /// The host's network namespace.
    pub home: &'a Netns,
    delegated: bool,
    mtu_from: Option<PathBuf>,
    daemon: OnceCell<Option<SubnetFile>>,
}

impl<'a> Call<'a> {
    /// A request to a plugin.
    pub fn new(plugin: Plugin, (command, version): (Command, Version), said: Said<'a>) -> Call<'a> {
        let Said { document, environment, home } = said;
        Call {
            command,
            plugin,
            version,
            document,
            environment,
            home,
            delegated: false,
            mtu_from: None,
            daemon: OnceCell::new(),
        }
    }

    /// The same request with another configuration, for the plugin that a meta plugin delegates to.
    pub fn delegated<'b>(&'b self, plugin: Plugin, document: &'b Document) -> Call<'b> {
        let said = Said { document, environment: self.environment, home: self.home };
        Call { delegated: true, ..Call::new(plugin, (self.command, self.version), said) }
    }

    /// The same, told that a meta plugin took the MTU in it from this `subnet.env`.
    pub fn with_mtu_from(self, subnet_file: Option<PathBuf>) -> Call<'a> {
        Call { mtu_from: subnet_file, ..self }
    }

    /// The `subnet.env` that a meta plugin took the MTU from.
    pub fn mtu_from(&self) -> Option<&Path> {
        self.mtu_from.as_deref()
    }

    /// Whether the configuration was made by a meta plugin.
    pub fn is_delegated(&self) -> bool {
        self.delegated
    }

    /// What the daemon says of this node, if that is asked for: called as `towpath`, with no ranges written.
    ///
    /// # Errors
    /// When it is needed and not there.
    pub fn daemon(&self) -> Result<Option<&SubnetFile>, Error> {
        if self.daemon.get().is_none() {
            let read = SubnetFile::asked_for(self)?;
            return Ok(self.daemon.get_or_init(|| read).as_ref());
        }
        Ok(self.daemon.get().and_then(Option::as_ref))
    }

    /// Brings the calling thread back to the host's network namespace.
    ///
    /// # Errors
    /// When that is refused.
    pub fn go_home(&self) -> Result<(), Error> {
        self.home.enter().or_else(|refused| match Netns::current() {
            // Who may not leave has not left.
            Ok(here) if here.is_same_as(self.home) => Ok(()),
            _ => Err(Error::of_netns(refused)),
        })
    }
}

/// What a request consists of.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// The configuration.
    pub document: &'a Document,
    /// The variables.
    pub environment: &'a Environment,
    /// The host's network namespace.
    pub home: &'a Netns,
}

/// The attachments that are still valid (specification 1.1, section 2, GC).
#[derive(Debug, Default)]
pub struct Attachments(BTreeSet<(String, String)>);

impl Attachments {
    /// Reads `cni.dev/valid-attachments`, or what libcni called it before it was published. `None` when neither is there, as
    /// from `cnitool gc`, which has deleted what it knows by itself: taking down everything because nobody said anything
    /// would be a disaster.
    ///
    /// # Errors
    /// When it is no list of attachments.
    pub fn of(document: &Document) -> Result<Option<Attachments>, Error> {
        let (root, mut mistakes) = (document.root(), Mistakes::default());
        let keys = ["cni.dev/valid-attachments", "cni.dev/attachments"];
        let Some(key) = keys.into_iter().find(|key| root.has(key)) else { return Ok(None) };
        let mut valid = BTreeSet::new();
        for attachment in root.objects(key, &mut mistakes) {
            let mut text = |key| match attachment.text(key, &mut mistakes).unwrap_or_default() {
                "" => {
                    mistakes.push(format!("`{}` is missing", attachment.path(key)));
                    String::new()
                }
                text => text.to_owned(),
            };
            valid.insert((text("containerID"), text("ifname")));
        }
        mistakes.none_or(Some(Attachments(valid)))
    }

    /// Whether any attachment of a container is to be kept.
    pub fn contains_container(&self, container: &str) -> bool {
        self.0.iter().any(|(valid, _)| valid == container)
    }

    /// Each one, those that cannot be an owner left out: nothing of ours is theirs.
    pub fn owners(&self) -> impl Iterator<Item = Owner> {
        self.0.iter().filter_map(|(container, ifname)| {
            Some(Owner { container: Identifier::new(container).ok()?, ifname: ifname.clone() })
        })
    }

    /// Each one: container, interface.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(container, ifname)| (container.as_str(), ifname.as_str()))
    }
}
