//! Finding pods' network namespaces: a link knows the other end's by a number, and to enter it takes a file. All files are
//! asked for their numbers until those that are needed are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use super::exchange::Exchange;
use super::host::Host;
use crate::codec::namespace;
use crate::netns::Netns;

/// Where runtimes keep them: ip-netns(8), containerd, CRI-O and podman; docker.
const DIRECTORIES: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// How a namespace was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// Some were there.
    AmongOthers,
    /// There was none at all: in a container without the node's, mostly.
    NothingToSee,
}

/// Those of these numbers that have a file; and how the others were missed.
pub fn find(host: &mut Host, mut needed: BTreeSet<u32>) -> (BTreeMap<u32, Netns>, NotFound) {
    let mut found = BTreeMap::new();
    let mut seen = NotFound::NothingToSee;
    let mounted = DIRECTORIES.into_iter().flat_map(entries).map(|entry| (entry, true));
    // Runtimes that keep none leave those of the processes.
    let processes = entries("/proc").filter(|entry| {
        entry.file_name().is_some_and(|name| name.to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
    });
    let mut known = BTreeSet::new();
    for (path, is_mounted) in mounted.chain(processes.map(|process| (process.join("ns/net"), false))) {
        if needed.is_empty() {
            break;
        }
        // Of many processes in one namespace one is enough.
        if !is_mounted && fs::read_link(&path).is_ok_and(|name| !known.insert(name)) {
            continue;
        }
        let Ok(netns) = Netns::open(&path) else { continue };
        if is_mounted {
            seen = NotFound::AmongOthers;
        }
        if let Some(number) = host.number_of(&netns).filter(|number| needed.remove(number)) {
            found.insert(number, netns);
        }
    }
    (found, seen)
}

fn entries(directory: &str) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

impl Host {
    fn number_of(&mut self, netns: &Netns) -> Option<u32> {
        let mut number = None;
        let mut exchange = Exchange::new(&mut self.socket);
        exchange.question(namespace::GET, |body| namespace::number_of(body, netns.as_fd()));
        exchange.finish(|message| number = namespace::number(message)).ok()?;
        number
    }
}
