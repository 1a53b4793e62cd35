//! Everything at once, in random order and without waiting for anything; then a quiet moment, after which all is as it should
//! be. A failing storm is had again with `TOWPATH_STORM=<number>`.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use ipnet::IpNet;
use netns_harness::{Daemon, Signal, wait_for};

use crate::ask::{towpathctl, wait_metric, wait_well};
use crate::cluster::{Cluster, LIMIT, PREFIX};
use crate::lease::{APART, Ghost, put, subnet};
use crate::picture::Picture;

const STEPS: usize = 60;

/// Numbers that look random and are the same each time (Marsaglia, "Xorshift RNGs", 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }
}

/// What somebody does to a node's kernel.
const ON_KERNELS: &[&str] = &[
    "ip link delete flannel.1",
    "ip link set flannel.1 down",
    "ip route flush proto 84",
    "ip nexthop flush proto 84",
    "ip neigh flush dev flannel.1 nud all",
    "bridge fdb flush dev flannel.1",
    "nft flush ruleset",
    "ip addr flush dev flannel.1",
    "ip link set eth0 mtu 1400; ip link set eth0 mtu 1500",
    "sysctl -qw net.ipv4.ip_forward=0",
    "ip link set eth0 down; ip link set eth0 up; ip route replace default via 192.0.2.1 dev eth0",
    "a=$(ip -4 -o addr show eth0 | awk '{print $4}'); ip addr del $a dev eth0; ip addr add $a dev eth0; \
     ip route replace default via 192.0.2.1 dev eth0",
];

struct Storm<'a> {
    cluster: &'a Cluster,
    daemons: Vec<Daemon>,
    ghosts: BTreeSet<u8>,
    dice: Dice,
    said: Vec<String>,
}

impl Storm<'_> {
    fn step(&mut self) -> Result<()> {
        let daemon = self.daemons[self.dice.below(self.daemons.len())].clone();
        let (kind, number) = (self.dice.below(10), u8::try_from(30 + self.dice.below(8))?);
        let ghost = Ghost::numbered(number);
        self.said.push(format!("{kind} {number} {}", daemon.node().name()));
        match kind {
            0 => daemon.restart(),
            1 => daemon.signal(Signal::STOP),
            2 => self.daemons.iter().try_for_each(|daemon| daemon.signal(Signal::CONT)),
            3 | 4 => {
                let fault = ON_KERNELS[self.dice.below(ON_KERNELS.len())];
                self.said.push(fault.to_owned());
                // It may have been done already.
                daemon.node().run(["sh", "-c", &format!("{fault}; true")]).map(drop)
            }
            5 => self.put(number, &ghost),
            6 => self.put(number, &Ghost { mac: format!("02:00:00:00:02:{number:02x}"), ..ghost }),
            7 => self.write(&ghost, "{\"PublicIP\":"),
            8 => self.remove(number, &ghost),
            _ => self.store_or_configuration(),
        }
    }

    fn put(&mut self, number: u8, ghost: &Ghost) -> Result<()> {
        self.ghosts.insert(number);
        self.write(ghost, &self.good(ghost))
    }

    fn good(&self, ghost: &Ghost) -> String {
        if self.cluster.directory().is_ok() { ghost.file() } else { ghost.value() }
    }

    fn write(&self, ghost: &Ghost, text: &str) -> Result<()> {
        match self.cluster.directory() {
            Ok(store) => Ok(fs::write(store.join("leases").join(format!("{}.json", ghost.key())), text)?),
            Err(_) => put(self.cluster.etcd()?, &ghost.key(), text),
        }
    }

    fn remove(&mut self, number: u8, ghost: &Ghost) -> Result<()> {
        self.ghosts.remove(&number);
        self.remove_all(&ghost.key())
    }

    /// Takes the leases away whose keys begin so.
    fn remove_all(&self, prefix: &str) -> Result<()> {
        let Ok(store) = self.cluster.directory() else {
            return self.cluster.etcd()?.ctl(&["del", "--prefix", &format!("{PREFIX}/subnets/{prefix}")]).map(drop);
        };
        for name in self.keys()?.into_iter().filter(|name| name.starts_with(prefix)) {
            // Its holder may be quicker.
            fs::remove_file(store.join("leases").join(name)).ok();
        }
        Ok(())
    }

    fn keys(&self) -> Result<Vec<String>> {
        let Ok(store) = self.cluster.directory() else {
            let words = ["get", "--prefix", "--keys-only", &format!("{PREFIX}/subnets/")];
            let keys = self.cluster.etcd()?.ctl(&words)?;
            return Ok(keys.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect());
        };
        let entries = fs::read_dir(store.join("leases"))?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let names: Vec<String> = names.collect::<Result<_>>()?;
        Ok(names.into_iter().filter(|name| !name.starts_with('.')).collect())
    }

    fn store_or_configuration(&mut self) -> Result<()> {
        match self.dice.below(5) {
            0 => match self.cluster.directory() {
                Ok(store) => {
                    let aside = store.with_file_name("aside");
                    fs::rename(&store, &aside)?;
                    self.daemons[0].node().run(["true"])?;
                    wait_for("the store to be back", LIMIT, || {
                        // A daemon that starts while there is none makes one.
                        if store.exists() {
                            fs::remove_dir_all(&store)?;
                        }
                        Ok(fs::rename(&aside, &store)?)
                    })
                }
                Err(_) => self.cluster.etcd()?.kill().and_then(|()| self.cluster.etcd()?.restart()),
            },
            1 => self.remove_all("10.244.1"),
            2 => self.cluster.configure("{\"Network\": "),
            3 => self.cluster.configure(&APART.replace("}", ", \"Backend\": {\"Type\": \"vxlan\", \"VNI\": 9}}")),
            _ => self.cluster.configure(APART),
        }
    }

    /// All that was broken is whole again, but for what daemons have to see to.
    fn heal(&self) -> Result<()> {
        self.daemons.iter().try_for_each(|daemon| daemon.signal(Signal::CONT))?;
        self.cluster.configure(APART)?;
        (30..38).try_for_each(|number| {
            let ghost = Ghost::numbered(number);
            if self.ghosts.contains(&number) {
                self.write(&ghost, &self.good(&ghost))
            } else {
                self.remove_all(&ghost.key())
            }
        })
    }

    fn is_over(&self) -> Result<()> {
        let own = self.daemons.iter().map(subnet).collect::<Result<Vec<IpNet>>>()?;
        let ghosts: Vec<IpNet> = self.ghosts.iter().map(|number| Ghost::numbered(*number).subnet()).collect();
        for (daemon, own_subnet) in self.daemons.iter().zip(&own) {
            let wanted = own.iter().chain(&ghosts).filter(|net| *net != own_subnet);
            let wanted: BTreeSet<String> = wanted.map(ToString::to_string).collect();
            let routes = daemon.node().ip("route show proto 84")?;
            let there = routes.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned()));
            let there: BTreeSet<String> = there.collect();
            ensure!(there == wanted, "{}: routes to {there:?} instead of {wanted:?}", daemon.node().name());
            let plan = towpathctl(daemon, &["plan"])?;
            ensure!(plan.out == "nothing to do\n", "{}: {plan:?}", daemon.node().name());
            let picture = Picture::of(daemon.node())?;
            // One that was killed between the making of a device and its marking, just before the VNI changed, leaves a
            // device that is down and carries no mark: nobody may take it away.
            let links = picture.lines(&["link N flannel", " alias towpath "]);
            ensure!(links.len() == 1 && links[0].contains("flannel.1:"), "{links:?}");
            for ghost in &ghosts {
                let entries = picture.lines(&[" nud permanent", &ghost.network().to_string()]).len();
                let entries = entries.max(picture.lines(&["neigh ", &ghost.network().to_string()]).len());
                ensure!(entries == 1, "{entries} neighbours for {ghost}");
            }
        }
        let keys = self.keys()?.len();
        ensure!(keys == own.len() + ghosts.len(), "{keys} leases");
        Ok(())
    }
}

fn passes(cluster: &mut Cluster, seed: u64) -> Result<()> {
    let daemons = cluster.join_all(["alpha", "beta", "gamma"])?.to_vec();
    let dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut storm = Storm { cluster, daemons, ghosts: BTreeSet::new(), dice, said: Vec::new() };
    let mut blow = || -> Result<()> {
        (0..STEPS).try_for_each(|_| storm.step())?;
        storm.heal()?;
        storm.daemons.iter().try_for_each(wait_well)?;
        wait_for("the storm to be over", LIMIT, || storm.is_over())?;
        storm.daemons.iter().try_for_each(|daemon| wait_metric(daemon, "towpath_lease_faults", 0.0))?;
        // And it stays so.
        storm.daemons.iter().try_for_each(wait_well)
    };
    let blown = blow();
    let logs = || storm.daemons.iter().map(|daemon| daemon.log()).collect::<Vec<_>>().join("\n---\n");
    blown.with_context(|| format!("TOWPATH_STORM={seed}: {:#?}\n{}", storm.said, logs()))
}

fn each(cluster: impl Fn(&str, &str) -> Result<Cluster>, kind: &str) -> Result<()> {
    let seeds = std::env::var("TOWPATH_STORM").unwrap_or("1,2".to_owned());
    seeds.split(',').try_for_each(|seed| {
        let mut cluster = cluster(&format!("storm{kind}{seed}"), APART)?;
        passes(&mut cluster, seed.parse()?)
    })
}

#[test]
fn after_any_storm_over_etcd_all_is_as_it_should_be() -> Result<()> {
    each(Cluster::on_etcd, "e")
}

#[test]
fn after_any_storm_over_a_directory_all_is_as_it_should_be() -> Result<()> {
    each(Cluster::on_directory, "d")
}
