//! The command line, and its help.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use serde::Serialize;

use crate::bgp::Bgp;
use crate::cluster::Choice;
use crate::install::manifest::VxlanOptions;

const EXAMPLES: &str = "\
Examples:
  towpathctl status               this node, its lease, its peers
  towpathctl status -o json       the same for programs
  towpathctl plan                 what would change, as ip and nft commands
  towpathctl explain 10.244.3.7   whose address it is and the way there
  towpathctl rollout status       how far a change of the backend is
  towpathctl bgp peers            BGP peers, and why one is not up
  towpathctl cleanup --dry-run    what towpathd left on this node

Of a cluster, from where kubectl works (also as `kubectl towpath …`):
  towpathctl install --dry-run    the manifest for this cluster
  towpathctl migrate from-flannel --dry-run
                                  what it would take to replace flannel

Environment: TOWPATH_STATUS_SOCKET is the same as --socket.

Exit status: 0 yes, or done; 1 no: not ready, something to change, something
missing; 2 an error.";

/// Ask towpathd, the pod network's daemon on this node, what it does and why.
#[derive(Debug, Parser)]
#[command(name = "towpathctl", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Arguments {
    /// towpathd's --status-socket [/run/towpath/towpathd.sock]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TOWPATH_STATUS_SOCKET",
        default_value = "/run/towpath/towpathd.sock",
        hide_env = true,
        hide_default_value = true
    )]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show this node, its lease, its peers, and what was repaired
    Status(Form),
    /// Show what would change now, in the words of ip, bridge and nft
    Plan(Form),
    /// Show whose an address is, the way there, and what of it is missing
    Explain {
        /// A pod's or a node's address, IPv4 or IPv6
        address: IpAddr,
        #[command(flatten)]
        form: Form,
    },
    /// Follow a change of the network's backend
    Rollout {
        /// What of it.
        #[command(subcommand)]
        question: Rollout,
    },
    /// Show BGP peers and routes, try policies, leave the peers before maintenance
    Bgp {
        /// What of it.
        #[command(subcommand)]
        question: Bgp,
    },
    /// Remove all that towpathd left on this node; works without it
    Cleanup(Cleanup),
    /// Tell systemd-networkd or NetworkManager, by drop-in files, to leave our devices alone
    HostFiles(HostFiles),
    /// Give this node's lease back to the store
    Release {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Give all nodes new WireGuard keys, without a lost packet; on one node, for all
    RotateKeys,
    /// Try something out on this node
    Probe {
        /// What.
        #[command(subcommand)]
        what: Probe,
    },
    /// Install the pod network on a new cluster, or print the manifest for it
    Install(Install),
    /// Take flannel's place on a running cluster, node by node, or give it back
    Migrate {
        /// In which direction.
        #[command(subcommand)]
        direction: Direction,
    },
    /// Print the version
    Version,
}

/// Whom to tell.
#[derive(Clone, Debug, Args)]
pub struct HostFiles {
    /// Whom
    #[arg(required = true, value_name = "PROGRAM")]
    pub programs: Vec<HostProgram>,
    /// Remove them
    #[arg(long)]
    pub remove: bool,
    /// Where the host's files are, when not here: an image that is being built
    #[arg(long, value_name = "DIRECTORY", default_value = "/", hide_default_value = true)]
    pub root: PathBuf,
}

/// A program that manages the host's devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HostProgram {
    /// systemd-networkd
    Networkd,
    /// NetworkManager
    NetworkManager,
}

/// What of a change of the backend.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Rollout {
    /// Show how far it is and who holds it up
    Status(Form),
}

/// What to try out.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Probe {
    /// Find out whether the tunnel's devices may leave checksums to the network card (TxChecksum)
    Offloads(Form),
}

/// In which direction.
#[derive(Clone, Debug, Subcommand)]
pub enum Direction {
    /// From flannel to Towpath: checks, says what will happen, and does it
    FromFlannel(Migrate),
    /// Back to the flannel that was there before
    ToFlannel(Migrate),
}

/// Which cluster.
#[derive(Clone, Debug, Args)]
pub struct WhichCluster {
    /// How to reach the cluster [$KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Which of its contexts [the current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// The API server, without a kubeconfig: what `kubectl proxy` prints
    #[arg(long, value_name = "URL", conflicts_with_all = ["kubeconfig", "context"])]
    pub server: Option<String>,
}

impl WhichCluster {
    /// The same, for [`crate::cluster::Cluster::open`].
    pub fn choice(&self) -> Choice {
        Choice { kubeconfig: self.kubeconfig.clone(), context: self.context.clone(), server: self.server.clone() }
    }
}

/// What to install.
#[derive(Clone, Debug, Args)]
pub struct Install {
    /// Only print the manifest, for kubectl apply -f -
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// The network of all pods, one of each family, with a comma between [what kubeadm was told]
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    pub pod_cidr: Vec<IpNet>,
    /// VXLAN's options.
    #[command(flatten)]
    pub backend: VxlanOptions,
    /// The image [the manifest's]
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// One more flag for towpathd, as --argument=--iface=eth1; may be repeated
    #[arg(long, value_name = "FLAG", allow_hyphen_values = true)]
    pub argument: Vec<String>,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WhichCluster,
}

/// What to migrate, and how carefully.
#[derive(Clone, Debug, Args)]
pub struct Migrate {
    /// Only check, and show node by node what would happen
    #[arg(short = 'n', long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only these nodes, with commas between; the rest another time
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub nodes: Vec<String>,
    /// The image [the manifest's]
    #[arg(long, value_name = "NAME")]
    pub image: Option<String>,
    /// Seconds to wait and watch after each node
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    pub pause: u64,
    /// Seconds that one node may take to be ready again
    #[arg(long, value_name = "SECONDS", default_value = "120")]
    pub patience: u64,
    /// Which cluster.
    #[command(flatten)]
    pub cluster: WhichCluster,
}

/// How the answer shall look.
#[derive(Clone, Copy, Debug, Args)]
pub struct Form {
    /// For people or for programs.
    #[arg(
        help = "For people or for programs [text]",
        short,
        long,
        value_name = "text|json",
        default_value = "text",
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub output: Output,
}

/// How the answer shall look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "clap would print it at length; the help of the option says it")]
pub enum Output {
    #[value(alias = "table")]
    Text,
    Json,
}

/// What to remove, and how.
#[derive(Clone, Debug, Args)]
pub struct Cleanup {
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Only show what would be removed
    #[arg(short = 'n', long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Also while towpathd runs and puts it back
    #[arg(long)]
    pub force: bool,
    /// Only of the towpathd with this --subnet-file
    #[arg(long, value_name = "FILE")]
    pub subnet_file: Option<PathBuf>,
    /// Its --state-directory [/var/lib/towpath/state]
    #[arg(long, value_name = "DIR", default_value = "/var/lib/towpath/state", hide_default_value = true)]
    pub state_directory: PathBuf,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(["towpathctl"].into_iter().chain(line.split_whitespace()))
    }

    #[test]
    fn every_command_is_understood() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
        assert!(matches!(parse("status").unwrap().command, Command::Status(Form { output: Output::Text })));
        assert!(matches!(parse("status -o json").unwrap().command, Command::Status(Form { output: Output::Json })));
        assert!(matches!(parse("plan --output=table").unwrap().command, Command::Plan(Form { output: Output::Text })));
        let Command::Explain { address, form } = parse("explain fd00::7 -o json").unwrap().command else { panic!() };
        assert_eq!((address, form.output), ("fd00::7".parse().unwrap(), Output::Json));
        assert!(matches!(parse("release --yes").unwrap().command, Command::Release { yes: true }));
        assert!(matches!(parse("rotate-keys").unwrap().command, Command::RotateKeys));
        let rollout = parse("rollout status -o json").unwrap().command;
        assert!(matches!(rollout, Command::Rollout { question: Rollout::Status(Form { output: Output::Json }) }));
        let probe = parse("probe offloads -o json").unwrap().command;
        assert!(matches!(probe, Command::Probe { what: Probe::Offloads(Form { output: Output::Json }) }));
        assert!(matches!(parse("version").unwrap().command, Command::Version));
        let Command::Cleanup(wish) = parse("cleanup -n --subnet-file /run/b.env").unwrap().command else { panic!() };
        assert!(wish.dry_run && !wish.yes && !wish.force);
        assert_eq!(wish.subnet_file, Some("/run/b.env".into()));
    }

    #[test]
    fn the_socket_may_be_named_before_and_after_the_command() {
        for line in ["--socket /s plan", "plan --socket /s"] {
            assert_eq!(parse(line).unwrap().socket, PathBuf::from("/s"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (line, said) in [
            ("explain", "<ADDRESS>"),
            ("explain 10.244.3", "invalid value '10.244.3' for '<ADDRESS>'"),
            ("status -o yaml", "[possible values: text, json]"),
            ("cleanup --yes --dry-run", "cannot be used with"),
            ("staus", "'status'"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn the_help_has_examples() {
        let help = parse("--help").unwrap_err().to_string();
        assert!(help.contains("towpathctl explain 10.244.3.7") && help.contains("Exit status"), "{help}");
    }
}
