//! [`Network`]: what the whole cluster's network is like, read from net-conf.json as flannel writes it.
//!
//! Keys match without regard to case and the last of several wins, because flannel's parser does so and users bring
//! its files. Keys that nobody knows are warned about, not refused. Where the text comes from is the store's business.

mod backend;
pub mod bgp;
mod extension;
mod family;
mod ipip;
mod json;
mod masquerade;
mod object;
mod offload;
pub mod policy;
mod udp;
mod vxlan;
mod wireguard;

use backends::Backend;
use backends::masquerade::{Exceptions, Segments};
use ipam::{Family, Pool, Stack};
use ipnet::IpNet;

use crate::config::{Mistake, Mistakes, StoreSettings};
use crate::path_probe::PathProbe;
use bgp::Bgp;
use json::Value;
use object::{Findings, Object};
use policy::Policies;

/// The cluster's network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The cluster's networks: `Network` and `IPv6Network`, host bits zero.
    pub networks: Stack<IpNet>,
    /// Where nodes' subnets are taken from, in the same families.
    pub pools: Stack<Pool>,
    /// How packets get from node to node.
    pub backend: Backend,
    /// Of which of pods' packets the source is not masqueraded.
    pub exceptions: Exceptions,
    /// Which routes BGP peers are told and which are taken from them, by name.
    pub policies: Policies,
    /// Whether connections' segment sizes are cut (`ClampMSS`).
    pub segments: Segments,
    /// Whether the paths to other nodes are measured.
    pub path_probe: PathProbe,
    /// Who speaks BGP with whom, if anybody does.
    pub bgp: Option<Bgp>,
    /// What was read and looks wrong but harms nothing: one sentence each.
    pub warnings: Vec<String>,
}

/// Who divides the network into nodes' subnets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Division {
    /// The nodes, each of which takes one from a pool.
    #[default]
    Claimed,
    /// Kubernetes, which gives each node its podCIDRs: the keys of the pool say nothing, and any network will do.
    Assigned,
}

impl Division {
    /// Who does it in this store.
    pub fn of(store: &StoreSettings) -> Division {
        if store.assigns() { Division::Assigned } else { Division::Claimed }
    }
}

/// Octets that a net-conf.json may have.
pub const LONGEST: usize = 1 << 20;

/// The least that a file needs, for those whose file is not one.
const EXAMPLE: &str = r#"write at least {"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}"#;

/// Reads net-conf.json.
///
/// # Errors
/// [`Mistakes`]: all of them, each with its key.
pub fn read(text: &str, division: Division) -> Result<Network, Mistakes> {
    let not_it = |why: String| Mistakes(vec![Mistake::of("net-conf.json", "", (why, EXAMPLE))]);
    if text.len() > LONGEST {
        return Err(not_it(format!("it is longer than {LONGEST} octets")));
    }
    if text.trim().is_empty() {
        return Err(not_it("it is empty".to_owned()));
    }
    let value = json::parse(text).map_err(|error| not_it(format!("it is not JSON: {error}")))?;
    let Value::Object(fields) = value else {
        return Err(not_it(format!("it is {}, not an object", value.kind())));
    };
    let mut findings = Findings::default();
    let network = network(&fields, division, &mut findings);
    match network {
        Some(network) if findings.mistakes.is_empty() => Ok(Network { warnings: findings.warnings, ..network }),
        _ => Err(Mistakes(findings.mistakes)),
    }
}

/// The parts, unless there are mistakes in them; those are all found in any case.
fn network(fields: &[(String, Value)], division: Division, findings: &mut Findings) -> Option<Network> {
    let mut top = Object::new("", fields, findings);
    let enabled = |top: &mut Object<'_, '_>, family| match family {
        Family::V4 => top.boolean("EnableIPv4").unwrap_or(true),
        Family::V6 => top.boolean("EnableIPv6").unwrap_or(false),
    };
    let wanted = Family::ALL.map(|family| enabled(&mut top, family).then_some(()));
    // flannel's choice between iptables and nftables; here it is always nftables.
    top.boolean("EnableNFTables");
    let [v4, v6] = Family::ALL;
    let mut pool = |family, wanted| family::pool(&mut top, (family, wanted), division);
    let pools = Stack::from_options(pool(v4, wanted[0]), pool(v6, wanted[1]));
    let families = Stack::from_options(wanted[0], wanted[1]);
    if families.is_none() {
        let why = "both families are switched off";
        top.mistake("EnableIPv4", "false", (why, "leave EnableIPv4 out, or set EnableIPv6 to true"));
    }
    let backend = top.take("Backend");
    let exceptions = masquerade::exceptions(&mut top);
    let segments = masquerade::segments(&mut top);
    let path_probe = if top.boolean("PathProbe").unwrap_or(false) { PathProbe::On } else { PathProbe::Off };
    let policies = policy::policies(&mut top);
    let beside = top.object("BGP").map(|mut object| bgp::beside(&mut object, &policies));
    let twice = top.holds("BGP");
    top.finish();
    let backend = backend::read(backend, (families.unwrap_or(Stack::V4(())), &policies), findings);
    if twice && backend.as_ref().is_some_and(|(_, bgp)| bgp.is_some()) {
        let fix = "write all of it in Backend; BGP is for what stands beside another backend";
        findings.mistakes.push(Mistake::of("BGP", "{…}", ("the backend is bgp already", fix)));
    }
    pools.zip(backend).map(|(pools, (backend, bgp))| {
        let bgp = bgp.or(beside);
        if bgp.as_ref().is_some_and(|bgp| bgp.evpn.is_some()) {
            bgp::suits(&backend, findings);
        }
        let networks = pools.map(|_, pool| pool.network);
        let warnings = Vec::new();
        Network { networks, pools, backend, exceptions, segments, path_probe, policies, bgp, warnings }
    })
}

#[cfg(test)]
mod tests;
