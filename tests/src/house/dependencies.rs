//! [`Dependencies`]: what Cargo resolved for this machine, and which of it a crate of ours is really built from.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// The resolved graph of the workspace.
pub struct Dependencies {
    metadata: Metadata,
}

impl Dependencies {
    /// Asks Cargo, for the platform it runs on, with the lock file as it is.
    ///
    /// # Errors
    /// When Cargo cannot resolve the workspace.
    pub fn of_the_workspace() -> Result<Dependencies> {
        let options = ["--locked", "--filter-platform", &host()?].map(str::to_owned);
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
        let metadata = MetadataCommand::new().manifest_path(manifest).other_options(options).exec()?;
        Ok(Dependencies { metadata })
    }

    /// All packages that the platform needs, our own included, build-time and test-time ones too.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        let resolved: BTreeSet<&PackageId> =
            self.metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| &node.id).collect();
        self.metadata.packages.iter().filter(move |package| resolved.contains(&package.id))
    }

    /// The names of the packages that a member is linked from, through any number of steps. What only builds or tests
    /// need is left out, and so are procedural macros' own dependencies: they run in the compiler.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn linked_into(&self, member: &str) -> Result<BTreeSet<String>> {
        let by_id: BTreeMap<&PackageId, &Package> = self.packages().map(|package| (&package.id, package)).collect();
        let mut open = vec![self.member(member)?];
        let mut names = BTreeSet::new();
        while let Some(package) = open.pop() {
            let below = self.normal_dependencies(&package.id).filter_map(|id| by_id.get(id).copied());
            let linked = below.filter(|package| !is_procedural_macro(package));
            open.extend(linked.filter(|package| names.insert(package.name.to_string())));
        }
        Ok(names)
    }

    /// The names of the workspace's own packages.
    pub fn members(&self) -> BTreeSet<String> {
        self.metadata.workspace_packages().iter().map(|package| package.name.to_string()).collect()
    }

    fn member(&self, name: &str) -> Result<&Package> {
        let members = self.metadata.workspace_packages();
        members.into_iter().find(|package| package.name == name).with_context(|| format!("no member is called {name}"))
    }

    fn normal_dependencies(&self, id: &PackageId) -> impl Iterator<Item = &PackageId> {
        let node = self.metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).find(|node| node.id == *id);
        let below = node.into_iter().flat_map(|node| &node.deps);
        let normal = below.filter(|below| below.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal));
        normal.map(|below| &below.pkg)
    }
}

fn is_procedural_macro(package: &Package) -> bool {
    package.targets.iter().any(|target| target.is_proc_macro())
}

/// The triple of the platform that the compiler runs on.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc).arg("-vV").output().with_context(|| format!("{} -vV", rustc.display()))?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
