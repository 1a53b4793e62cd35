//! [`Picture`]: all that a namespace's kernel holds that a pod network has to do with, in the words of `ip`, `bridge` and
//! `nft`: not through any code that is tested. Numbers that the kernel makes up are left out.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Result, ensure};
use netns_harness::Node;

/// One line a thing. `ip` forgets the protocol of neighbours without `-d`; the counters of links are not shown,
/// nor whether a program is behind a TUN device at the moment.
const LOOK: &str = r#"
ip -d -o link show type vxlan | sed 's/^/link /'
ip -d -o link show type tun | sed 's/^/link /; s/NO-CARRIER,//; s/,LOWER_UP//; s/ state [A-Z]*//'
ip -d -o link show type wireguard | sed 's/^/link /'
ip -d -o link show type bridge | cut -d' ' -f2-9 | sed 's/^/bridge /'
ip -o addr show | grep -v "scope link" | sed "s/^/address /"
ip -d nexthop show | sed 's/^/nexthop /'
ip -d -4 route show table main | grep -v "^[	 ]*nh_info\|^fe80" | sed "s/^/route /; s/ linkdown//"
ip -d -6 route show table main | grep -v "^[	 ]*nh_info\|^fe80\|^unicast fe80::/64 dev flannel0 " | sed "s/^/route /"
ip -d -4 neigh show nud permanent | sed 's/^/neigh /'
ip -d -6 neigh show nud permanent | sed 's/^/neigh /'
bridge fdb show | grep -v "^01:00:5e\|^33:33:\| vlan \| master " | sed "s/^/fdb /"
nft list ruleset | sed 's/^/nft /'
"#;

/// What a kernel holds. Equal pictures are equal states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture(Vec<String>);

impl Picture {
    /// Takes it.
    pub fn of(node: &Node) -> Result<Picture> {
        let seen = node.run(["sh", "-ec", LOOK])?;
        let (rules, things): (Vec<&str>, Vec<&str>) = seen.lines().partition(|line| line.starts_with("nft "));
        let mut lines: Vec<String> = things.into_iter().map(without_numbers).collect();
        lines.sort_unstable();
        // Tables are listed in the order in which they were made; what is in one has an order that matters.
        let mut tables: Vec<&[&str]> = rules.chunk_by(|_, next| !next.starts_with("nft table ")).collect();
        tables.sort_unstable();
        lines.extend(tables.concat().into_iter().map(str::to_owned));
        Ok(Picture(lines))
    }

    /// The lines that have all these words.
    pub fn lines(&self, words: &[&str]) -> Vec<&str> {
        let has = |line: &&str| words.iter().all(|word| line.contains(word));
        self.0.iter().map(String::as_str).filter(has).collect()
    }

    /// Whether another is the same.
    ///
    /// # Errors
    /// What is missing in the other, and what is too much.
    pub fn compare(&self, other: &Picture) -> Result<()> {
        ensure!(self == other, "\n{}{}", Lines('-', self.less(other)), Lines('+', other.less(self)));
        Ok(())
    }

    /// The lines that another one does not have.
    pub fn less<'a>(&'a self, other: &Picture) -> Vec<&'a str> {
        let there: BTreeSet<&String> = other.0.iter().collect();
        self.0.iter().filter(|line| !there.contains(line)).map(String::as_str).collect()
    }
}

struct Lines<'a>(char, Vec<&'a str>);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.iter().try_for_each(|line| writeln!(f, "{}{line}", self.0))
    }
}

/// Interface indices and next-hop ids are numbers that the kernel (or we) count up; states without them are compared.
fn without_numbers(line: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let index = words.len() == 1 && word.trim_end_matches(':').parse::<u32>().is_ok();
        let of_nexthop = |last: &&str| words[0] == "nexthop" && matches!(*last, "id" | "group");
        let id = words.last().is_some_and(|last| *last == "nhid" || of_nexthop(last));
        words.push(if index || id { "N" } else { word });
    }
    words.join(" ")
}
