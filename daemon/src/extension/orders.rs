//! [`Orders`]: which commands with which environment, as the facts have it now. Equal orders need nothing to be done.

use std::collections::BTreeMap;

use backends::extension::{CommandLine, ExtensionSettings};
use ipam::{BackendData, Endpoint, Family, Lease, LeaseKey, Stack};
use ipnet::IpNet;

/// A command with all that it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The command.
    pub line: CommandLine,
    /// Its environment, beside the daemon's own.
    pub environment: Vec<(&'static str, String)>,
    /// Its standard input.
    pub input: String,
}

/// What is to be run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// Before the lease.
    pub pre_startup: Option<Call>,
    /// With the lease.
    pub post_startup: Option<Call>,
    /// Of each peer: when it comes or changes, and when it goes.
    pub peers: BTreeMap<LeaseKey, [Option<Call>; 2]>,
    /// Of peers that an earlier life of this daemon knew and that are gone.
    pub gone: BTreeMap<LeaseKey, Call>,
}

impl Orders {
    /// Before this node has a lease.
    pub fn to_prepare(settings: &ExtensionSettings) -> Orders {
        let call = |line: &CommandLine| Call { line: line.clone(), environment: Vec::new(), input: String::new() };
        Orders { pre_startup: settings.pre_startup.as_ref().map(call), ..Orders::default() }
    }

    /// With a lease: peers that publish this backend are ways of its.
    pub fn with_lease<'a>(
        self,
        settings: &ExtensionSettings,
        (networks, own): (&Stack<IpNet>, &Lease),
        (peers, gone): (impl Iterator<Item = &'a Lease>, impl Iterator<Item = &'a Lease>),
    ) -> Orders {
        let post_startup = settings.post_startup.as_ref().map(|line| {
            let network = networks.get(Family::V4).map(IpNet::to_string).unwrap_or_default();
            let mut environment = vec![("NETWORK", network)];
            environment.extend(variables(&own.endpoints));
            Call { line: line.clone(), environment, input: String::new() }
        });
        let ours = |lease: &&Lease| lease.endpoints.values().any(speaks_extension);
        let peers = peers.filter(ours).map(|lease| {
            let call = |line: &Option<CommandLine>| line.as_ref().map(|line| call(line, lease));
            (lease.key.clone(), [&settings.subnet_add, &settings.subnet_remove].map(call))
        });
        let removed = settings.subnet_remove.as_ref();
        let gone = gone.filter(ours).filter_map(|lease| Some((lease.key.clone(), call(removed?, lease))));
        Orders { pre_startup: self.pre_startup, post_startup, peers: peers.collect(), gone: gone.collect() }
    }
}

fn speaks_extension(endpoint: &Endpoint) -> bool {
    matches!(endpoint.data, BackendData::Extension { .. })
}

/// A command about a peer. What the peer published is its input, as one line.
fn call(line: &CommandLine, lease: &Lease) -> Call {
    let outputs = lease.endpoints.values().filter_map(|endpoint| match &endpoint.data {
        BackendData::Extension { output } if !output.is_empty() => Some(output),
        _ => None,
    });
    let input = outputs.map(|output| format!("{output}\n")).next().unwrap_or_else(|| "\n".to_owned());
    Call { line: line.clone(), environment: variables(&lease.endpoints), input }
}

/// Flannel's names; it has the last two for PostStartupCommand alone.
fn variables(endpoints: &Stack<Endpoint>) -> Vec<(&'static str, String)> {
    let of = |family, names: [&'static str; 2]| {
        let endpoint: Option<&Endpoint> = endpoints.get(family);
        let subnet = endpoint.map(|endpoint| endpoint.subnet.to_string()).unwrap_or_default();
        let public = endpoint.map(|endpoint| endpoint.public.to_string()).unwrap_or_default();
        [(names[0], subnet), (names[1], public)]
    };
    let [v4, v6] = [of(Family::V4, ["SUBNET", "PUBLIC_IP"]), of(Family::V6, ["IPV6SUBNET", "PUBLIC_IPV6"])];
    v4.into_iter().chain(v6).collect()
}
