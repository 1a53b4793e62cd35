//! [`Instance`]: what tells one daemon's things from another's on the same node: alias, table, state file. All follow from
//! the subnet file, because two daemons that share it are one daemon started twice.

use std::path::{Path, PathBuf};

use crate::fingerprint::Fingerprint;

/// What tells one daemon's kernel objects from another's on the same node. It follows from the subnet file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The alias of our links: `ip link set … alias`.
    pub alias: String,
    /// The nftables table, family `inet`.
    pub table: String,
}

/// What our aliases begin with; the rest is the subnet file.
pub const ALIAS_PREFIX: &str = "towpath ";

/// Whose table is simply called `towpath`; all others' begin with `towpath_`.
pub const DEFAULT_SUBNET_FILE: &str = "/run/flannel/subnet.env";

/// Octets of an interface's alias (the kernel's IFALIASZ, less the final zero).
const LONGEST_ALIAS: usize = 255;

/// Octets of our table's name: `nft list ruleset` stays readable.
const LONGEST_TABLE: usize = 63;

impl Instance {
    /// Alias and table of the daemon that writes this subnet file.
    pub fn of_subnet_file(path: &Path) -> Instance {
        let path = path.to_string_lossy();
        let alias = shortened(&format!("{ALIAS_PREFIX}{path}"), LONGEST_ALIAS);
        if path == DEFAULT_SUBNET_FILE {
            return Instance { alias, table: "towpath".to_owned() };
        }
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
    fn the_default_file_gives_the_plain_names() {
        let instance = Instance::of_subnet_file(Path::new("/run/flannel/subnet.env"));
        assert_eq!((instance.alias.as_str(), instance.table.as_str()), ("towpath /run/flannel/subnet.env", "towpath"));
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
