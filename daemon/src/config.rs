//! The daemon's own configuration: read once, here, in three stages.
//!
//! 1. as written (`written`): strings, each with where it came from;
//! 2. as meant (`meant`): parsed, all mistakes reported together;
//! 3. as used ([`Settings`]): plain typed data that is valid.
//!
//! What the cluster's network is like does not stand here but in net-conf.json, which the store brings: see `netconf`.

mod check;
mod endpoint;
mod flags;
mod help;
mod invocation;
pub mod kube;
mod meant;
pub mod mistake;
pub mod pattern;
mod printed;
pub mod settings;
mod value;
mod written;

pub use backends::Instance;
pub use check::check;
pub use invocation::Invocation;
pub use mistake::{Mistake, Mistakes};
pub use settings::{
    ClientCertificate, EtcdSettings, EtcdUser, InterfaceId, InterfaceWish, KubernetesSettings, LogFormat, LogLevel,
    Logging, OwnPod, PeerObjects, Settings, StoreSettings, TlsFiles,
};

use meant::{Command, Meant};
use written::Written;

/// What the process is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Print this and end well: `--help`, `--version`, `--print-config`.
    Print(String),
    /// Remove what was installed, and end.
    Uninstall(Box<Settings>),
    /// [`check()`] these, say what was found, and end: `--check-config`.
    Check(Box<Settings>),
    /// Be the daemon.
    Run(Box<Settings>),
}

/// Reads command line and environment.
///
/// # Errors
/// [`Mistakes`]: all of them, each with its key; the process ends with status 2.
pub fn read(invocation: &Invocation) -> Result<Order, Mistakes> {
    let (written, mut mistakes) = Written::read(invocation);
    let (meant, wrong) = Meant::read(&written);
    mistakes.extend(wrong);
    let command = meant.command;
    match command {
        // Whoever asks for help most likely has made mistakes.
        Command::Help => return Ok(Order::Print(help::text())),
        Command::Version => return Ok(Order::Print(format!("towpathd {}\n", env!("CARGO_PKG_VERSION")))),
        Command::Print | Command::Check | Command::Uninstall | Command::Run => {}
    }
    let store = meant.store_kind(&written);
    let settings = Box::new(meant.settle(&written, mistakes)?);
    Ok(match command {
        Command::Print => Order::Print(printed::text(&written, &settings, store)),
        Command::Check => Order::Check(settings),
        Command::Uninstall => Order::Uninstall(settings),
        Command::Help | Command::Version | Command::Run => Order::Run(settings),
    })
}

#[cfg(test)]
mod tests;
