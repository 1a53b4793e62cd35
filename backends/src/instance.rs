//! [`Instance`]: what tells one daemon's things from another's on the same node: alias, table, state file. All follow from
//! the subnet file, because two daemons that share it are one daemon started twice.

use std::path::{Path, PathBuf};

use crate::fingerprint::Fingerprint;
use crate::state::LinkName;

/// What tells one daemon's kernel objects from another's on the same node. It follows from the subnet file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The alias of our links: `ip link set … alias`.
    pub alias: String,
    /// The nftables table, family `inet`: [`COMMON_TABLE`] where no other instance has it, else one named after the
    /// subnet file.
    pub table: String,
}

/// What our aliases begin with; the rest is the subnet file.
pub const ALIAS_PREFIX: &str = "towpath ";

/// The table of a node's only instance; a second one's begins with `towpath_`.
pub const COMMON_TABLE: &str = "towpath";

/// Octets of an interface's alias (the kernel's IFALIASZ, less the final zero), and of an nftables comment.
const LONGEST_ALIAS: usize = 254;

/// Octets of our table's name: `nft list ruleset` stays readable.
const LONGEST_TABLE: usize = 63;

impl Instance {
    /// Alias of the daemon that writes this subnet file, and the table that is its own whatever else runs on the node.
    pub fn of_subnet_file(path: &Path) -> Instance {
        let path = path.to_string_lossy();
        let alias = shortened(&format!("{ALIAS_PREFIX}{path}"), LONGEST_ALIAS);
        // What nft takes as an identifier without quotes (its scanner.l): a path mostly is one.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
        let plain: String = path.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
        let name = format!("towpath_{}", plain.trim_start_matches('/'));
        if plain == path {
            return Instance { alias, table: shortened(&name, LONGEST_TABLE) };
        }
        // Two paths may have become one name: the digest tells them apart.
        let digest = Fingerprint::of([path.as_ref()]).short();
        Instance { alias, table: format!("{}_{digest}", prefix_of(&name, LONGEST_TABLE - digest.len() - 1)) }
    }
}

/// The abstract unix socket (unix(7)) that a daemon holds for each of its devices as long as it lives, so that no other
/// takes it. `ss -xlp` shows it as `@towpath/flannel.1`.
pub fn device_lock(device: LinkName) -> String {
    format!("towpath/{device}")
}

/// The file of this daemon's last known state: another node, store or subnet file has another.
pub fn state_file(directory: &Path, [node, store]: [&str; 2], subnet_file: &Path) -> PathBuf {
    let digest = Fingerprint::of([node, store, &subnet_file.to_string_lossy()]).short();
    // A file name has at most 255 octets, a node's name 253.
    directory.join(format!("{}-{digest}.json", prefix_of(node, 200)))
}

/// The text itself, or its beginning and a digest of the whole where it is too long.
fn shortened(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let digest = Fingerprint::of([text]).short();
    format!("{}_{digest}", prefix_of(text, longest - digest.len() - 1))
}

fn prefix_of(text: &str, longest: usize) -> &str {
    let end = (0..=longest.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::{Instance, state_file};
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn alias_and_private_table_follow_from_the_file() {
        let instance = Instance::of_subnet_file(Path::new("/run/flannel/subnet.env"));
        assert_eq!(
            (instance.alias.as_str(), instance.table.as_str()),
            ("towpath /run/flannel/subnet.env", "towpath_run/flannel/subnet.env")
        );
    }

    #[test]
    fn another_file_gives_other_names_that_nft_takes_and_that_fit() {
        let long = format!("/{}/a", "x".repeat(300));
        let longer = format!("/{}/b", "x".repeat(300));
        let paths = ["/run/b/subnet.env", "/run/b c/subnet.env", "/run/b_c/subnet.env", "/ü", "/ö", &long, &longer];
        let instances = paths.map(|path| Instance::of_subnet_file(Path::new(path)));
        for instance in &instances {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
            assert!(instance.table.chars().all(allowed) && instance.table.len() <= 63, "{}", instance.table);
            assert!(instance.alias.len() <= 255);
        }
        assert_eq!(instances[0].table, "towpath_run/b/subnet.env");
        assert_eq!(instances.iter().map(|i| &i.table).collect::<BTreeSet<_>>().len(), paths.len());
        assert_eq!(instances.iter().map(|i| &i.alias).collect::<BTreeSet<_>>().len(), paths.len());
    }

    #[test]
    fn each_daemon_has_its_own_state_file() {
        let file = |node, store, subnet: &str| state_file(Path::new("/s"), [node, store], Path::new(subnet));
        let long = "n".repeat(253);
        let files = [
            file("a", "etcd x", "/1"),
            file("b", "etcd x", "/1"),
            file("a", "etcd y", "/1"),
            file("a", "etcd x", "/2"),
            file(&long, "etcd x", "/1"),
        ];
        assert_eq!(files.iter().collect::<BTreeSet<_>>().len(), files.len());
        assert!(files.iter().all(|f| f.file_name().is_some_and(|name| name.len() < 255)));
        assert!(files[0].to_string_lossy().starts_with("/s/a-"));
    }
}
