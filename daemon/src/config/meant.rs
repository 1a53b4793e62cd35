//! Stage two, as meant: every text parsed ([`Meant`]), then what only several flags together can say ([`Meant::settle`]).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use backends::cluster::{OwnSubnetRoute, UnclaimedAddresses};
use backends::instance::{self, Instance};
use backends::masquerade::{Firewall, Forward, Masquerade};
use ipam::{NodeName, SecretKey, Stack};

use super::endpoint::{Endpoint, Scheme};
use super::flags::Wrong;
use super::kube::KubeMeant;
use super::mistake::{Mistake, Mistakes};
use super::settings::{
    ClientCertificate, EtcdSettings, EtcdUser, InterfaceWish, LogFormat, LogLevel, Logging, Settings, StoreSettings,
    TlsFiles,
};
use super::written::{Entry, Written};
use crate::installation::{ConfigurationSettings, InstallationSettings, PluginSettings};
use crate::labels::Labels;
use crate::secret::Secret;
use crate::subnet_file::PodMode;
use crate::tunnel_keys::KeySettings;

/// What each flag means by itself. Every default of the table has gone through it before it is used.
#[derive(Default)]
pub(super) struct Meant {
    pub command: Command,
    pub store: Option<StoreKind>,
    pub store_directory: PathBuf,
    pub lease_renew_margin: Duration,
    pub etcd: EtcdMeant,
    pub kube_subnet_mgr: bool,
    pub kube: KubeMeant,
    pub net_config_path: PathBuf,
    pub cni: CniMeant,
    pub node: Option<NodeName>,
    pub interface: InterfaceWish,
    pub public_v4: Option<IpAddr>,
    pub public_v6: Option<IpAddr>,
    pub bgp_as: Option<u32>,
    pub labels: Labels,
    pub ip_masq: bool,
    pub keep_ports: bool,
    pub forward_rules: bool,
    pub resync: Duration,
    pub blackhole: bool,
    pub wireguard: WireGuardMeant,
    pub unreachable: bool,
    pub masquerade_v4: Option<IpAddr>,
    pub masquerade_v6: Option<IpAddr>,
    pub pods: PodMode,
    pub subnet_file: PathBuf,
    pub state_directory: PathBuf,
    pub status_socket: PathBuf,
    pub healthz_ip: Option<IpAddr>,
    pub healthz_port: u16,
    pub log_format: Option<LogFormat>,
    pub log_level: Option<LogLevel>,
    pub verbosity: Option<LogLevel>,
}

/// The part of it about etcd.
#[derive(Default)]
pub(super) struct EtcdMeant {
    pub endpoints: Vec<Endpoint>,
    pub prefix: String,
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub username: Option<String>,
    pub password: Option<Secret>,
}

/// The part of it about WireGuard's keys.
#[derive(Default)]
pub(super) struct WireGuardMeant {
    pub key_file: PathBuf,
    pub preshared_file: Option<PathBuf>,
    pub preshared: Option<SecretKey>,
}

/// The part of it about the container runtime.
#[derive(Default)]
pub(super) struct CniMeant {
    pub bin_directory: Option<PathBuf>,
    pub plugin: Option<PathBuf>,
    pub configuration_directory: Option<PathBuf>,
    pub name: String,
    pub source: Option<PathBuf>,
}

impl CniMeant {
    fn settle(self, written: &Written) -> Option<InstallationSettings> {
        let CniMeant { bin_directory, plugin, configuration_directory, name, source } = self;
        let binary = plugin.unwrap_or_else(|| written.directory.join("towpath"));
        let plugins = bin_directory.map(|directory| PluginSettings { binary, directory });
        let configuration = configuration_directory.map(|directory| ConfigurationSettings { directory, name, source });
        (plugins.is_some() || configuration.is_some()).then_some(InstallationSettings { plugins, configuration })
    }
}

/// The stores that can be asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    Kubernetes,
    Etcd,
    Directory,
}

/// What the process is to do; the least of those asked for.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Command {
    Help,
    Version,
    Print,
    Check,
    Uninstall,
    #[default]
    Run,
}

impl Meant {
    /// Parses every entry.
    pub fn read(written: &Written) -> (Meant, Vec<Mistake>) {
        let mut meant = Meant::default();
        let mut mistakes = Vec::new();
        for entry in &written.entries {
            for value in &entry.values {
                let set = match value.contains(char::REPLACEMENT_CHARACTER) {
                    true => Err(Wrong::new("it holds bytes that are not UTF-8", "write it in UTF-8")),
                    false => (entry.flag.set)(&mut meant, value),
                };
                if let Err(wrong) = set {
                    mistakes.push(entry.mistake(value, (wrong.why, wrong.fix)));
                }
            }
        }
        (meant, mistakes)
    }

    /// A command was asked for, or none.
    pub fn ask(&mut self, command: Option<Command>) {
        self.command = command.map_or(self.command, |command| command.min(self.command));
    }

    /// Which store is meant, and the flag that says so.
    pub fn store_kind<'a>(&self, written: &'a Written) -> (StoreKind, Option<&'a Entry>) {
        let etcd = |entry: &&Entry| entry.flag.name.starts_with("etcd-") && entry.is_given();
        if let Some(kind) = self.store {
            (kind, written.entry("store"))
        } else if self.kube_subnet_mgr {
            (StoreKind::Kubernetes, written.entry("kube-subnet-mgr"))
        } else if let Some(entry) = written.entries.iter().find(etcd) {
            (StoreKind::Etcd, Some(entry))
        } else {
            (StoreKind::Directory, None)
        }
    }

    /// The settings, if there is no mistake, neither among those found so far nor in how the flags go together.
    pub fn settle(self, written: &Written, mut mistakes: Vec<Mistake>) -> Result<Settings, Mistakes> {
        let store = match self.store_kind(written) {
            (StoreKind::Directory, _) => StoreSettings::Directory { path: self.store_directory },
            (StoreKind::Etcd, _) => StoreSettings::Etcd(self.etcd.settle(written, &mut mistakes)),
            (StoreKind::Kubernetes, _) => StoreSettings::Kubernetes(self.kube.settle(written)),
        };
        let node = self.node.ok_or_else(|| Mistakes(mistakes.clone()))?;
        if !mistakes.is_empty() {
            return Err(Mistakes(mistakes));
        }
        let masquerade = match (self.ip_masq, self.keep_ports) {
            (false, _) => Masquerade::Off,
            (true, false) => Masquerade::FullyRandom,
            (true, true) => Masquerade::PortKeeping,
        };
        let forward = if self.forward_rules { Forward::Accept } else { Forward::Untouched };
        let public = Stack::from_options(self.public_v4, self.public_v6);
        let healthz = self.healthz_ip.filter(|_| self.healthz_port != 0);
        let level = self.log_level.or(self.verbosity).unwrap_or_default();
        let identity = store.identity();
        // On Kubernetes a node may learn its name from what it was called last, so the file cannot be named after it; and
        // one of another node or cluster is to be found, and refused by a sentence.
        let names = if store.assigns() { ["kubernetes", ""] } else { [node.as_str(), &identity] };
        Ok(Settings {
            state_file: instance::state_file(&self.state_directory, names, &self.subnet_file),
            instance: Instance::of_subnet_file(&self.subnet_file),
            node,
            store,
            interface: InterfaceWish { public, ..self.interface },
            subnet_file: self.subnet_file,
            net_config_path: self.net_config_path,
            installation: self.cni.settle(written),
            firewall: Firewall { masquerade, forward },
            resync: self.resync,
            own_subnet_route: if self.blackhole { OwnSubnetRoute::Blackhole } else { OwnSubnetRoute::Absent },
            unclaimed: if self.unreachable { UnclaimedAddresses::Unreachable } else { UnclaimedAddresses::Routed },
            bgp_as: self.bgp_as,
            labels: self.labels,
            masquerade_address: Stack::from_options(self.masquerade_v4, self.masquerade_v6),
            pods: self.pods,
            keys: KeySettings {
                file: self.wireguard.key_file,
                preshared: self.wireguard.preshared,
                preshared_file: self.wireguard.preshared_file,
            },
            healthz: healthz.map(|ip| SocketAddr::new(ip, self.healthz_port)),
            status_socket: self.status_socket,
            lease_renew_margin: self.lease_renew_margin,
            logging: Logging { format: self.log_format.unwrap_or_default(), level },
        })
    }
}

impl EtcdMeant {
    fn settle(self, written: &Written, mistakes: &mut Vec<Mistake>) -> EtcdSettings {
        let given = |name| written.entry(name).is_some_and(Entry::is_given);
        let pairs = [("etcd-certfile", "etcd-keyfile"), ("etcd-username", "etcd-password")];
        for (one, other) in pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]) {
            if given(one) && !given(other) {
                let (why, fix) = (format!("it says nothing without --{other}"), format!("give --{other} too"));
                mistakes.extend(written.entry(one).map(|entry| entry.mistake_alone((why, fix))));
            }
        }
        let tls = ["etcd-cafile", "etcd-certfile", "etcd-keyfile"].into_iter().find(|name| given(name));
        let otherwise = if tls.is_some() { Scheme::Https } else { Scheme::Http };
        let is = |scheme: Scheme| move |endpoint: &Endpoint| endpoint.scheme.unwrap_or(otherwise) == scheme;
        let wrong = match tls {
            _ if self.endpoints.iter().all(is(Scheme::Https)) => None,
            Some(file) => Some(format!("--{file} is given, but not all endpoints are https, so it would not be used")),
            None if self.endpoints.iter().all(is(Scheme::Http)) => None,
            None => Some("some endpoints are http and some are https".to_owned()),
        };
        if let (Some(why), Some(entry)) = (wrong, written.entry("etcd-endpoints")) {
            mistakes.push(
                entry.mistake(&entry.values.join(","), (why, "write https:// before each of them, or before none")),
            );
        }
        let client = self.certificate.zip(self.key).map(|(certificate, key)| ClientCertificate { certificate, key });
        EtcdSettings {
            endpoints: self.endpoints.iter().map(|endpoint| endpoint.url(otherwise)).collect(),
            prefix: self.prefix,
            tls: TlsFiles { ca: self.ca, client },
            user: self.username.zip(self.password).map(|(name, password)| EtcdUser { name, password }),
        }
    }
}
