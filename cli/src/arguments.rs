//! The command line, and its help.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

const EXAMPLES: &str = "\
Examples:
  towpathctl status               this node, its lease, its peers
  towpathctl status -o json       the same for programs
  towpathctl plan                 what would change, as ip and nft commands
  towpathctl explain 10.244.3.7   whose address it is and the way there
  towpathctl cleanup --dry-run    what towpathd left on this node

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
    /// Remove all that towpathd left on this node; works without it
    Cleanup(Cleanup),
    /// Give this node's lease back to the store
    Release {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Print the version
    Version,
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
