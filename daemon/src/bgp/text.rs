//! What is told of the speaker, for people: plain columns, without colours.

use std::fmt::{self, Write as _};

use super::views::{Happening, OwnView, PathView, PeerView, PeersView, RouteView};

/// Rows in columns as wide as what stands in them; the last column is not filled up. A row that is one cell is a note and stands as it is.
fn columns(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows.iter().filter(|row| row.len() > 1) {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let filled = |(cell, width): (&String, &usize)| match row.len() {
            1 => cell.clone(),
            _ => format!("{cell:width$}"),
        };
        let line: Vec<String> = row.iter().zip(&widths).map(filled).collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// A span as people say it: `5s`, `3m 20s`, `2h 5m`, `4d 2h`.
fn span(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m {}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h {}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d {}h", secs / 86_400, secs % 86_400 / 3600),
    }
}

fn place(peer: &PeerView) -> String {
    match (peer.address, &peer.link) {
        (Some(address), Some(link)) => format!("{address}%{link}"),
        (Some(address), None) => address.to_string(),
        (None, Some(link)) => format!("link {link}"),
        (None, None) => "not known yet".to_owned(),
    }
}

fn number(asn: Option<u32>) -> String {
    asn.map_or_else(|| "any".to_owned(), |asn| asn.to_string())
}

/// This node, and all peers, a row each, and below it what is the matter with it.
pub fn peers(PeersView { own, peers }: &PeersView) -> String {
    let OwnView { asn, router_id, cluster } = own;
    let reflects = cluster.map_or_else(String::new, |cluster| format!(", reflects for the cluster {cluster}"));
    let head = format!("AS {asn}, router id {router_id}{reflects}");
    if peers.is_empty() {
        return format!(
            "{head}\nno BGP peers: the network's configuration names none, and no other node is one (docs/bgp.md)\n"
        );
    }
    let up = peers.iter().filter(|peer| peer.is_up()).count();
    let mut rows = vec![row(["PEER", "AS", "STATE", "SINCE", "IN", "OUT", "ADDRESS"])];
    let roles = peers.iter().any(|peer| peer.role.is_some());
    rows.iter_mut().filter(|_| roles).for_each(|row| row.push("ROLE".to_owned()));
    for peer in peers {
        let state = if peer.stale { format!("{}, routes kept", peer.state) } else { peer.state.clone() };
        rows.push(vec![
            peer.name.clone(),
            number(peer.asn),
            state,
            span(peer.since_secs),
            peer.prefixes_in.to_string(),
            peer.prefixes_out.to_string(),
            place(peer),
        ]);
        let role = peer.role.clone().filter(|_| roles);
        rows.iter_mut().next_back().into_iter().for_each(|row| row.extend(role.clone()));
        rows.extend(matters(peer).into_iter().map(|matter| vec![format!("  {matter}")]));
    }
    format!("{head}, {up} of {} up\n{}", counted(peers.len(), "peer"), columns(&rows))
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// What somebody should look at: of a session that is up, what ended the one before is history.
fn matters(peer: &PeerView) -> Vec<String> {
    let trouble = peer.trouble.iter().filter(|_| !peer.is_up()).cloned();
    trouble.chain(peer.notes.iter().cloned()).collect()
}

/// Everything about one peer.
pub fn peer(peer: &PeerView) -> String {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut line = |heading: &str, text: String| rows.push(vec![heading.to_owned(), text]);
    line("peer", format!("{}, AS {}, {}", peer.name, number(peer.asn), place(peer)));
    line("from", format!("{}{}", peer.origin, if peer.required { ", required: not ready without it" } else { "" }));
    line("state", format!("{} for {}, flaps {}", peer.state, span(peer.since_secs), peer.flaps));
    for matter in matters(peer) {
        line("", matter);
    }
    if let Some(role) = &peer.role {
        line("role", format!("{role} (RFC 9234)"));
    }
    if peer.stale {
        line("", "it is away, and its routes are kept until it is back or its time is over (RFC 4724)".to_owned());
    }
    if let Some(trouble) = peer.trouble.as_ref().filter(|_| peer.is_up() && peer.flaps > 0) {
        line("before", trouble.clone());
    }
    line("last error", format!("of ours: {}", peer.last_said.as_deref().unwrap_or("none")));
    line("", format!("of the peer's: {}", peer.last_heard.as_deref().unwrap_or("none")));
    line("routes", format!("in {}, out {}, {} bytes wait", peer.prefixes_in, peer.prefixes_out, peer.queued_bytes));
    let messages = |counts: &std::collections::BTreeMap<String, u64>| {
        let some: Vec<String> =
            counts.iter().filter(|(_, count)| **count > 0).map(|(kind, count)| format!("{kind} {count}")).collect();
        if some.is_empty() { "none".to_owned() } else { some.join(", ") }
    };
    line("messages", format!("in: {}", messages(&peer.messages_in)));
    line("", format!("out: {}", messages(&peer.messages_out)));
    let traffic = peer.traffic;
    line(
        "traffic",
        format!("{} bytes in, {} out, {} connections", traffic.bytes_in, traffic.bytes_out, traffic.connections),
    );
    if let Some(identifier) = peer.identifier {
        line("identifier", identifier.to_string());
    }
    if !peer.families.is_empty() {
        line("agreed", peer.families.join(", "));
        peer.agreed.iter().for_each(|agreed| line("", agreed.clone()));
    }
    for (index, capability) in peer.capabilities.iter().enumerate() {
        line(if index == 0 { "it can" } else { "" }, capability.clone());
    }
    columns(&rows)
}

/// Routes that are best, a row each; `first` begins with headings.
pub fn routes(routes: &[RouteView], first: First) -> String {
    let mut text = match first {
        First::Yes => {
            let head = ["PREFIX", "NEXT HOP", "PEER", "PREF", "MED", "PATHS", "AS PATH"];
            let [prefix, hops, peer, pref, med, paths, path] = head;
            format!("{prefix:<24}  {hops:<26}  {peer:<16}  {pref:>5}  {med:>5}  {paths:>5}  {path}\n")
        }
        First::No => String::new(),
    };
    for route in routes {
        let evpn = route.evpn.as_ref().map(|evpn| evpn.text.clone());
        let prefix = evpn.or(route.prefix.map(|prefix| prefix.to_string())).unwrap_or_default();
        let hops = if route.next_hops.is_empty() { "-".to_owned() } else { route.next_hops.join(",") };
        let number = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let (pref, med) = (number(route.local_pref), number(route.metric));
        // As routers write it: the path, and how the route came into BGP.
        let (path, origin) = (route.as_path.as_str(), origin(&route.origin));
        let space = if path.is_empty() { "" } else { " " };
        let line = format!(
            "{prefix:<24}  {hops:<26}  {:<16}  {pref:>5}  {med:>5}  {:>5}  {path}{space}{origin}",
            route.neighbour, route.paths
        );
        // Writing to a string does not fail.
        writeln!(text, "{}", line.trim_end()).ok();
    }
    text
}

fn origin(word: &str) -> &'static str {
    match word {
        "igp" => "i",
        "egp" => "e",
        _ => "?",
    }
}

/// Whether this is the first piece of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// All paths to a prefix, the best first, and why.
pub fn paths(prefix: &str, paths: &[PathView]) -> String {
    if paths.is_empty() {
        return format!(
            "nobody announces {prefix}: `towpathctl bgp routes --within` shows what lies in it or around it\n"
        );
    }
    let mut text = match paths.len() {
        1 => format!("{prefix}: one path\n"),
        count => format!("{prefix}: {count} paths, the best first\n"),
    };
    let mut last = None;
    for path in paths {
        let mut details = match &path.next_hop {
            Some(hop) => vec![format!("via {hop} from {}", path.neighbour)],
            None => vec!["begins on this node".to_owned()],
        };
        if path.next_hop.is_some() {
            let within = path.as_path.is_empty();
            details.push(if within { "no AS path".to_owned() } else { format!("path {}", path.as_path) });
        }
        details.extend(path.path_id.map(|id| format!("path id {id}")));
        details.push(format!("origin {}", path.origin));
        details.extend(path.local_pref.map(|value| format!("local preference {value}")));
        details.extend(path.metric.map(|value| format!("MED {value}")));
        if !path.communities.is_empty() {
            details.push(format!("communities {}", path.communities.join(" ")));
        }
        if let Some(originator) = path.originator {
            let clusters: Vec<String> = path.clusters.iter().map(ToString::to_string).collect();
            details.push(format!("reflected: originator {originator}, clusters {}", clusters.join(" ")));
        }
        if path.stale {
            details.push("kept since its peer went away, and not said again yet".to_owned());
        }
        if let Some(route) = path.evpn.as_ref().filter(|route| last != Some(*route)) {
            writeln!(text, "  by EVPN, {route}:").ok();
            last = Some(route);
        }
        writeln!(text, "  {}\n    {}", details.join(", "), path.outcome).ok();
    }
    text
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Happening::Up { neighbour } => write!(f, "up     {neighbour}"),
            Happening::Down { neighbour, reason } => write!(f, "down   {neighbour}: {reason}"),
            Happening::Evpn { route, next_hops } if next_hops.is_empty() => write!(f, "gone   {route}"),
            Happening::Evpn { route, next_hops } => {
                write!(f, "route  {route} via {}", next_hops.join(", "))
            }
            Happening::Route { prefix, next_hops } if next_hops.is_empty() => write!(f, "gone   {prefix}"),
            Happening::Route { prefix, next_hops } => {
                write!(f, "route  {prefix} via {}", next_hops.join(", "))
            }
        }
    }
}
