//! [`NodeCensus`]: which of the owners in a ledger still live on this node. Asked when a range is used up, so nothing of it
//! costs an ADD anything before that.
//!
//! Three witnesses. The wire: the host's end has an alias that names the owner. The runtime: libcni keeps the answer of every
//! ADD until its DEL, and it says where the sandbox is; a reservation that is newer than that answer is another one. The boot:
//! whose file is older than the running kernel is no process any more. An address is given away on the word of the second or
//! the third, and never against one of the others.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipam::ledger::{Census, Entry, Fate, Identifier, Owner};
use kernel::netns::{Netns, NetnsError};
use kernel::pod::Host;
use kernel::tag::Tag;
use serde_json::Value;

use crate::plugin::Plugin;

/// Where libcni keeps answers, unless a runtime says otherwise.
const RESULTS: &str = "/var/lib/cni/results";
/// Clocks are set in the first minutes of a boot.
const MARGIN: Duration = Duration::from_secs(600);

/// The witnesses of this node.
pub struct NodeCensus {
    network: Identifier,
    /// Whether those who have addresses have them on wires of ours, as far as that is known.
    wires: Option<OnceCell<Option<HashSet<String>>>>,
    booted: OnceCell<Option<SystemTime>>,
}

impl NodeCensus {
    /// For a network, asked by a plugin. What others execute `host-local` for is not ours to look for.
    pub fn new(network: Identifier, plugin: Plugin) -> NodeCensus {
        let wires = (plugin != Plugin::HostLocal).then(OnceCell::new);
        NodeCensus { network, wires, booted: OnceCell::new() }
    }

    /// Whether the owner has a wire; `None` when that cannot be known, as of one whose interface nobody wrote down.
    fn has_wire(&self, entry: &Entry<'_>) -> Option<bool> {
        let aliases = self.wires.as_ref()?.get_or_init(aliases).as_ref()?;
        let container = Identifier::new(entry.container).ok()?;
        let owner = Owner { container, ifname: entry.ifname?.to_owned() };
        Some(aliases.contains(Tag::new(self.network.as_str(), &owner).as_str()))
    }

    /// Where the runtime left the owner's sandbox, and when it said so.
    fn sandbox(&self, entry: &Entry<'_>) -> Option<(PathBuf, SystemTime)> {
        let ifname = entry.ifname.filter(|ifname| !ifname.contains(['/', '\0']))?;
        let path = kept_answer(&self.network, entry.container, ifname);
        let said = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
        let kept: Value = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        let interfaces = kept.get("result")?.get("interfaces")?.as_array()?;
        let named = |interface: &&Value| interface.get("name").and_then(Value::as_str) == Some(ifname);
        let sandbox = interfaces.iter().filter(named).find_map(|interface| interface.get("sandbox")?.as_str());
        Some((PathBuf::from(sandbox.filter(|sandbox| !sandbox.is_empty())?), said))
    }

    fn is_before_boot(&self, written: SystemTime) -> bool {
        let booted = self.booted.get_or_init(booted);
        booted.is_some_and(|booted| written + MARGIN < booted)
    }
}

impl Census for NodeCensus {
    fn fate(&self, entry: &Entry<'_>) -> Fate {
        let wire = self.has_wire(entry);
        if wire == Some(true) {
            return Fate::Alive;
        }
        match self.sandbox(entry) {
            Some((sandbox, said)) if said >= entry.written => match Netns::open(&sandbox) {
                Ok(_) => Fate::Alive,
                // The path is away, or no namespace is mounted on it any more.
                Err(NetnsError::NotANamespace { .. }) => Fate::Gone,
                Err(NetnsError::Open { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Fate::Gone,
                Err(_) => Fate::Alive,
            },
            _ if self.is_before_boot(entry.written) => Fate::Gone,
            _ if wire == Some(false) => Fate::Lost,
            _ => Fate::Alive,
        }
    }
}

/// Where libcni keeps the answer to an ADD until its DEL.
pub fn kept_answer(network: &Identifier, container: &str, ifname: &str) -> PathBuf {
    Path::new(RESULTS).join(format!("{network}-{container}-{ifname}"))
}

/// The aliases of all wires of ours. `None` when the kernel does not say.
fn aliases() -> Option<HashSet<String>> {
    let found = Host::open().ok()?.aliased(Tag::PREFIX).ok()?;
    Some(found.into_iter().map(|link| link.alias).collect())
}

/// When the kernel was started, by today's wall clock: `btime` in `/proc/stat`, proc(5).
fn booted() -> Option<SystemTime> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}
