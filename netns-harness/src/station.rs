//! [`Station`]: anything in a lab that has a namespace and addresses, so that it can talk and be talked to: a node, a
//! pod, the switch. Commands, programs and traffic start from here.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use ipam::{Family, Stack};

use crate::echo::Echo;
use crate::ground::Ground;
use crate::namespace::Namespace;
use crate::process::{Process, Start};

/// A namespace with addresses. Clones are the same station.
#[derive(Clone)]
pub struct Station {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    namespace: Namespace,
    directory: PathBuf,
    ground: Arc<Ground>,
    addresses: Mutex<Option<Stack<IpAddr>>>,
    echo: Mutex<Option<Arc<Echo>>>,
}

impl Station {
    /// Makes the namespace and the directory.
    pub(crate) fn create(ground: &Arc<Ground>, name: &str) -> Result<Station> {
        Station::in_namespace(ground, name, ground.namespace(name)?)
    }

    /// One for a namespace that somebody else made, at `file`: the lab gives it a name of its own, by which it can be entered
    /// for as long as the lab lasts. `ip netns attach`.
    pub(crate) fn adopt(ground: &Arc<Ground>, name: &str, file: &Path) -> Result<Station> {
        Station::in_namespace(ground, name, ground.adopt_namespace(name, file)?)
    }

    fn in_namespace(ground: &Arc<Ground>, name: &str, namespace: Namespace) -> Result<Station> {
        let directory = ground.directory().join(name);
        std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let inner = Inner {
            name: name.to_owned(),
            namespace,
            directory,
            ground: Arc::clone(ground),
            addresses: Mutex::default(),
            echo: Mutex::default(),
        };
        Ok(Station { inner: Arc::new(inner) })
    }

    /// Its name in the lab.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.inner.namespace
    }

    /// A directory for its files: logs, state, sockets. It goes with the lab.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Its addresses; an error when it has none (yet).
    ///
    /// # Errors
    /// When it has no address.
    pub fn addresses(&self) -> Result<Stack<IpAddr>> {
        (*self.known()).with_context(|| format!("{} has no address", self.name()))
    }

    /// Its address of one family.
    ///
    /// # Errors
    /// When it has none.
    pub fn address(&self, family: Family) -> Result<IpAddr> {
        self.known()
            .as_ref()
            .and_then(|addresses| addresses.get(family).copied())
            .with_context(|| format!("{} has no {family} address", self.name()))
    }

    /// Says what its addresses are now; does not touch the kernel.
    pub fn set_addresses(&self, addresses: Option<Stack<IpAddr>>) {
        *self.known() = addresses;
    }

    /// Starts a program inside, its log in the station's directory. The program ends with the lab.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn start(&self, name: &str, command: Command) -> Result<Process> {
        let start = Start { name, directory: self.directory(), life: self.inner.ground.life() };
        let process = Process::start(self.namespace(), command, start)?;
        self.inner.ground.adopt(process.clone());
        Ok(process)
    }

    /// Answers on TCP and UDP port [`crate::ECHO_PORT`] from now on, with what it gets. Again is no harm.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn serve_echo(&self) -> Result<()> {
        let mut echo = self.inner.echo.lock().unwrap_or_else(PoisonError::into_inner);
        if echo.is_none() {
            let started = Arc::new(Echo::start(self.namespace())?);
            self.ground().adopt_echo(&started);
            *echo = Some(started);
        }
        Ok(())
    }

    /// Ends the echo service and removes the namespace.
    pub(crate) fn remove(&self) -> Result<()> {
        if let Some(echo) = self.inner.echo.lock().unwrap_or_else(PoisonError::into_inner).take() {
            echo.stop();
        }
        self.inner.namespace.remove()
    }

    pub(crate) fn ground(&self) -> &Arc<Ground> {
        &self.inner.ground
    }

    /// Runs `ip` with words separated by spaces. `station.ip("route add default via 10.0.0.1")`.
    ///
    /// # Errors
    /// As [`Namespace::run`].
    pub fn ip(&self, words: &str) -> Result<String> {
        let words: Vec<&str> = std::iter::once("ip").chain(words.split_whitespace()).collect();
        self.run(words)
    }

    /// Reads or writes a setting below `/proc/sys`, with dots or slashes. `sysctl -w net.ipv4.ip_forward=1`.
    ///
    /// # Errors
    /// When there is no such setting or the value is refused.
    pub fn set_sysctl(&self, key: &str, value: impl AsRef<OsStr>) -> Result<()> {
        let path = Path::new("/proc/sys").join(if key.contains('/') { key.to_owned() } else { key.replace('.', "/") });
        let value = value.as_ref();
        self.within(|| std::fs::write(&path, value.as_encoded_bytes()).with_context(|| path.display().to_string()))
    }

    fn known(&self) -> MutexGuard<'_, Option<Stack<IpAddr>>> {
        self.inner.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commands and work inside are the namespace's.
impl Deref for Station {
    type Target = Namespace;
    fn deref(&self) -> &Namespace {
        self.namespace()
    }
}
