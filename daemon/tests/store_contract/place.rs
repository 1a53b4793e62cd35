//! [`Place`]: where stores of one kind meet, and what somebody else's hand can do there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use towpathd::config::settings::{EtcdSettings, TlsFiles};
use towpathd::store::Store;
use towpathd::store::directory::{Directory, Pace};
use towpathd::store::etcd::Etcd;
use towpathd::store::terms::Terms;

use crate::etcd_server::EtcdServer;
use crate::node::{NETWORK, mac, name, public};

/// A day, as in life.
pub fn a_day() -> Terms {
    Terms::of_a_day(Duration::from_secs(60 * 60))
}

/// Leases that end soon.
pub fn seconds(validity: u64, margin: u64) -> Terms {
    Terms { validity: Duration::from_secs(validity), margin: Duration::from_secs(margin) }
}

/// A directory of this test's own, empty, gone when the test has passed.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(of: &str) -> Scratch {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("store_contract").join(of);
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A store whose last turn is still being done may put a file there once more.
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !std::thread::panicking() && fs::remove_dir_all(&self.0).is_err() {
            assert!(std::time::Instant::now() < deadline, "{} cannot be removed", self.0.display());
            std::thread::yield_now();
        }
    }
}

pub enum Place {
    Directory(Scratch),
    Etcd(Box<EtcdServer>),
}

pub const PREFIX: &str = "/coreos.com/network";

impl Place {
    /// A directory with a network.
    pub fn directory(of: &str) -> Place {
        let scratch = Scratch::new(of);
        fs::create_dir_all(scratch.0.join("store")).unwrap();
        let place = Place::Directory(scratch);
        place.put_network(NETWORK);
        place
    }

    /// An etcd with a network.
    pub fn etcd(of: &str) -> Place {
        let place = Place::Etcd(Box::new(EtcdServer::start(of)));
        place.put_network(NETWORK);
        place
    }

    pub fn store(&self) -> Store {
        self.store_with(a_day())
    }

    pub fn store_with(&self, terms: Terms) -> Store {
        match self {
            Place::Directory(_) => {
                // The slow look is the net under inotify: these tests must not need it.
                let pace = Pace { slow_look: Duration::from_secs(600), sweep_after: Duration::from_secs(600) };
                Store::Directory(Directory::new(&self.path(), terms).at_pace(pace))
            }
            Place::Etcd(server) => Store::Etcd(Etcd::new(&settings(&[&server.url()]), terms)),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> PathBuf {
        match self {
            Place::Directory(scratch) => scratch.0.join("store"),
            Place::Etcd(_) => panic!("etcd is no directory"),
        }
    }

    pub fn put_network(&self, text: &str) {
        match self {
            Place::Directory(_) => self.put_file("net-conf.json", text),
            Place::Etcd(server) => server.put(&format!("{PREFIX}/config"), text),
        }
    }

    pub fn remove_network(&self) {
        match self {
            Place::Directory(_) => fs::remove_file(self.path().join("net-conf.json")).unwrap(),
            Place::Etcd(server) => server.ctl(&["del", &format!("{PREFIX}/config")]),
        }
    }

    /// Writes a lease as another node would: `10.244.7.0-24`, in the name of node `number`.
    pub fn put_lease(&self, subnet: &str, number: u16) {
        self.put_raw(subnet, &self.lease_text(subnet, number));
    }

    pub fn lease_text(&self, subnet: &str, number: u16) -> String {
        let attributes = format!(
            r#""PublicIP":"{}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{{"VNI":1,"VtepMAC":"{}"}}"#,
            public(number),
            mac(number)
        );
        match self {
            Place::Directory(_) => {
                let times = r#""acquired":"2026-01-01T00:00:00Z","renewed":"2026-01-01T00:00:00Z","expires":"2126-01-01T00:00:00Z""#;
                let net = subnet.replace('-', "/");
                format!(r#"{{"node":"{}","subnets":["{net}"],{times},{attributes}}}"#, name(number))
            }
            Place::Etcd(_) => format!(r#"{{{attributes},"Node":"{}"}}"#, name(number)),
        }
    }

    /// Writes anything under a lease's key.
    pub fn put_raw(&self, subnet: &str, text: &str) {
        match self {
            Place::Directory(_) => self.put_file(&format!("leases/{subnet}.json"), text),
            Place::Etcd(server) => server.put(&format!("{PREFIX}/subnets/{subnet}"), text),
        }
    }

    pub fn remove_lease(&self, subnet: &str) {
        match self {
            Place::Directory(_) => fs::remove_file(self.path().join(format!("leases/{subnet}.json"))).unwrap(),
            Place::Etcd(server) => server.ctl(&["del", &format!("{PREFIX}/subnets/{subnet}")]),
        }
    }

    /// Takes a lease away and gives the subnet to another node. The tests have one thread, so that nobody looks in between.
    pub fn remove_and_put(&self, subnet: &str, number: u16) {
        self.remove_lease(subnet);
        self.put_lease(subnet, number);
    }

    /// What the leases' keys are now.
    pub fn keys(&self) -> Vec<String> {
        match self {
            Place::Directory(_) => {
                let names = fs::read_dir(self.path().join("leases")).unwrap().map(|entry| entry.unwrap().file_name());
                let names = names.map(|name| name.into_string().unwrap());
                names
                    .filter(|name| !name.starts_with('.'))
                    .map(|name| name.trim_end_matches(".json").to_owned())
                    .collect()
            }
            Place::Etcd(server) => server.keys(&format!("{PREFIX}/subnets/")),
        }
    }

    /// Makes the store unreachable.
    pub fn away(&mut self) {
        match self {
            Place::Directory(_) => fs::rename(self.path(), self.path().with_extension("away")).unwrap(),
            Place::Etcd(server) => server.kill(),
        }
    }

    /// And reachable again.
    pub fn back(&mut self) {
        match self {
            Place::Directory(_) => fs::rename(self.path().with_extension("away"), self.path()).unwrap(),
            Place::Etcd(server) => server.again(),
        }
    }

    /// Whole at once, as a careful editor writes it.
    fn put_file(&self, name: &str, text: &str) {
        let (file, draft) = (self.path().join(name), self.path().join(".draft"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&draft, text).unwrap();
        fs::rename(draft, file).unwrap();
    }
}

/// Settings for these endpoints, without any security.
pub fn settings(endpoints: &[&str]) -> EtcdSettings {
    EtcdSettings {
        endpoints: endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect(),
        prefix: PREFIX.to_owned(),
        tls: TlsFiles::default(),
        user: None,
    }
}
