//! `towpathctl bgp …`: who this node's BGP peers are, which routes there are and why, and what a policy does.
//!
//! Everything is the daemon's to answer, but for a policy in a file, which is read with the daemon's own reader.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{ArgGroup, Args, Subcommand};
use ipnet::IpNet;
use towpathd::bgp::asked::{Asked, PolicyAsked, RouteFamily};
use towpathd::bgp::trial::{RouteText, TrialView, Way};
use towpathd::netconf::{self, Division};

use crate::arguments::{Form, Output};

/// What of BGP.
#[derive(Clone, Debug, Subcommand)]
pub enum Bgp {
    /// Show the peers: state, routes in and out, and what is the matter with those that are not up
    #[command(after_help = PEERS)]
    Peers {
        /// Everything about this one: last errors both ways, messages, what was agreed
        peer: Option<String>,
        #[command(flatten)]
        form: Form,
    },
    /// Show the routes that are best, or all paths to one prefix and why one of them won
    #[command(after_help = ROUTES)]
    Routes(Routes),
    /// Show what happens from now on, a line each: sessions up and down, routes that change
    #[command(after_help = MONITOR)]
    Monitor(Form),
    /// Leave the peers in peace, before maintenance: graceful shutdown, some seconds, then the end
    #[command(after_help = DRAIN)]
    Drain {
        /// What the peers' operators read in their logs
        #[arg(short, long, value_name = "TEXT", default_value = "maintenance")]
        message: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Meet the peers again after a drain
    Undrain,
    /// Try policies without any route
    Policy {
        /// What of them.
        #[command(subcommand)]
        question: PolicyQuestion,
    },
}

const PEERS: &str = "\
A session is up when its STATE is Established. Below any other stands why not, in one sentence.
Examples:
  towpathctl bgp peers              all of them
  towpathctl bgp peers tor1         everything about one
  towpathctl bgp peers -o json      for programs";

const ROUTES: &str = "\
Examples:
  towpathctl bgp routes                              what is best, to everywhere
  towpathctl bgp routes --within 10.0.0.0/8          of that, what lies in a prefix
  towpathctl bgp routes --neighbour tor1             of that, what leads through a peer
  towpathctl bgp routes --family evpn                what a fabric says of what is behind VTEPs
  towpathctl bgp routes --explain 198.51.100.0/24    all paths to a prefix, and by which
                                                     step of RFC 4271 section 9.1.2.2 one won";

const MONITOR: &str = "\
It ends with ^C, and when 1024 changes wait because nobody reads them.";

const DRAIN: &str = "\
Peers first hear our routes once more with the community graceful-shutdown (RFC 8326), look for other ways, and
then a Cease with the message (RFC 9003). Pods keep their addresses; `towpathctl bgp undrain` brings the node back.";

/// Which routes.
#[derive(Clone, Debug, Args)]
pub struct Routes {
    /// All paths to this prefix, the best first, and why
    #[arg(long, value_name = "PREFIX", conflicts_with_all = ["within", "neighbour"])]
    pub explain: Option<IpNet>,
    /// Only those that lie in this prefix
    #[arg(long, value_name = "PREFIX")]
    pub within: Option<IpNet>,
    /// Only those with a path of this peer
    #[arg(long, value_name = "PEER")]
    pub neighbour: Option<String>,
    /// Only those of this family: ipv4, ipv6 or evpn
    #[arg(long, value_name = "FAMILY", conflicts_with = "explain")]
    pub family: Option<RouteFamily>,
    /// How it shall look.
    #[command(flatten)]
    pub form: Form,
}

/// What of policies.
#[derive(Clone, Debug, Subcommand)]
pub enum PolicyQuestion {
    /// Say what a route would meet, rule by rule, and what would become of it
    Test(Box<Test>),
}

const TEST: &str = "\
The policy is one of net-conf.json's by its name, of the running daemon's or of a file's; or the one that a peer
of the running daemon has.

Examples:
  towpathctl bgp policy test from-fabric --prefix 198.51.100.0/24 --as-path \"64601 65010\"
  towpathctl bgp policy test from-fabric --file net-conf.json --prefix 10.0.0.0/8 --community 64601:7,no-export
  towpathctl bgp policy test --neighbour tor1 --export --prefix 10.244.3.0/24

Exit status: 0 it is accepted; 1 it is rejected; 2 an error.";

/// What is tried.
#[derive(Clone, Debug, Args)]
#[command(after_help = TEST, group = ArgGroup::new("which").args(["policy", "neighbour"]).required(true))]
pub struct Test {
    /// A policy by its name in net-conf.json
    #[arg(value_name = "POLICY")]
    pub policy: Option<String>,
    /// The policy that the running daemon has for this peer
    #[arg(long, value_name = "PEER", conflicts_with = "file")]
    pub neighbour: Option<String>,
    /// The file, instead of what the running daemon has
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// For routes from the peer (default)
    #[arg(long, conflicts_with = "export")]
    pub import: bool,
    /// For routes to the peer
    #[arg(long)]
    pub export: bool,
    /// The route's prefix
    #[arg(long, value_name = "PREFIX")]
    pub prefix: String,
    /// Its AS path, the neighbour first, with spaces between (none: it begins here)
    #[arg(long, value_name = "AS…", default_value = "", hide_default_value = true)]
    pub as_path: String,
    /// Its next hop (default: --from)
    #[arg(long, value_name = "ADDRESS")]
    pub next_hop: Option<IpAddr>,
    /// Its origin: igp, egp or incomplete (default: igp)
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<String>,
    /// Its local preference
    #[arg(long, value_name = "NUMBER")]
    pub local_pref: Option<u32>,
    /// Its MED
    #[arg(long, value_name = "NUMBER")]
    pub med: Option<u32>,
    /// Its communities, as 64512:100 or no-export, with commas between
    #[arg(long, value_name = "COMMUNITY,…", value_delimiter = ',')]
    pub community: Vec<String>,
    /// Its large communities, as 64512:1:2
    #[arg(long, value_name = "COMMUNITY,…", value_delimiter = ',')]
    pub large_community: Vec<String>,
    /// Its extended communities, as rt:64512:100
    #[arg(long, value_name = "COMMUNITY,…", value_delimiter = ',')]
    pub extended_community: Vec<String>,
    /// The address of the peer that it comes from
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// That peer is of our own AS
    #[arg(long)]
    pub internal: bool,
    /// Our AS, which a policy by its name prepends on the way out (default: 64512)
    #[arg(long = "as", value_name = "NUMBER")]
    pub asn: Option<u32>,
    /// How it shall look.
    #[command(flatten)]
    pub form: Form,
}

impl Test {
    fn asked(&self) -> PolicyAsked {
        PolicyAsked {
            name: self.policy.clone(),
            neighbour: self.neighbour.clone(),
            way: if self.export { Way::Export } else { Way::Import },
            asn: self.asn,
            route: RouteText {
                prefix: self.prefix.clone(),
                as_path: self.as_path.clone(),
                next_hop: self.next_hop,
                origin: self.origin.clone(),
                local_pref: self.local_pref,
                med: self.med,
                communities: self.community.clone(),
                large_communities: self.large_community.clone(),
                extended_communities: self.extended_community.clone(),
                from: self.from,
                internal: self.internal,
            },
        }
    }
}

impl Bgp {
    /// What the daemon is to be asked, and how the answer shall look.
    pub fn asked(&self) -> (Asked, Output) {
        match self {
            Bgp::Peers { peer, form } => (Asked::Peers { neighbour: peer.clone() }, form.output),
            Bgp::Routes(routes) => {
                let asked = match routes.explain {
                    Some(prefix) => Asked::Explain { prefix },
                    None => Asked::Routes {
                        within: routes.within,
                        neighbour: routes.neighbour.clone(),
                        family: routes.family,
                    },
                };
                (asked, routes.form.output)
            }
            Bgp::Monitor(form) => (Asked::Monitor, form.output),
            Bgp::Drain { message, .. } => (Asked::Drain { text: message.clone() }, Output::Text),
            Bgp::Undrain => (Asked::Undrain, Output::Text),
            Bgp::Policy { question: PolicyQuestion::Test(test) } => {
                (Asked::Policy(Box::new(test.asked())), test.form.output)
            }
        }
    }

    /// The answer that needs no daemon: what a policy of a file does.
    ///
    /// # Errors
    /// A sentence, when the file or the route is not understood.
    pub fn offline(&self) -> anyhow::Result<Option<(String, u8)>> {
        let Bgp::Policy { question: PolicyQuestion::Test(test) } = self else { return Ok(None) };
        let Some(file) = &test.file else { return Ok(None) };
        let view = in_file(file, &test.asked())?;
        let text = match test.form.output {
            Output::Text => view.to_string(),
            Output::Json => serde_json::to_string_pretty(&view)? + "\n",
        };
        Ok(Some((text, u8::from(!view.accepted))))
    }
}

fn in_file(file: &Path, asked: &PolicyAsked) -> anyhow::Result<TrialView> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("{shown} cannot be read"))?;
    // Who divides the network is not in the file, and no matter here.
    let network =
        netconf::read(&text, Division::Assigned).map_err(|mistakes| anyhow::anyhow!("{shown}: {mistakes}"))?;
    asked.with(&network.policies).map_err(|reason| anyhow::anyhow!("{reason}"))
}

/// What is asked before peers are left.
pub const LEAVE: &str = "\
This node leaves its BGP peers: they send what is for its pods by other ways, if they have any.
Go on?";

#[cfg(test)]
mod tests;
