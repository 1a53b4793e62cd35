//! [`Cluster`]: machines that are nodes of one Kubernetes, and what tests ask of it. Without a pod network: that is what is
//! tested. How it comes to be is in `cluster/by_hand.rs` and `cluster/kubeadm.rs`.

mod by_hand;
mod conditions;
mod kubeadm;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use ipam::Stack;
use ipnet::IpNet;

use crate::kubernetes::stock::{self, Stock};
use crate::kubernetes::{ControlPlane, Kubectl, Machine, Programs};
use crate::lab::Lab;

/// A cluster. Clones are the same one; it goes with its lab.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    machines: Vec<Machine>,
    kubectl: Kubectl,
    control_plane: Option<ControlPlane>,
    options: ClusterOptions,
}

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Who sets it up.
    pub method: Method,
    /// How many nodes there are, `n1`, `n2` …
    pub nodes: usize,
    /// Of which each node gets its part, a /24 and a /64; the families are the cluster's.
    pub pods: Stack<IpNet>,
    /// Where services have their addresses; in the families of the pods.
    pub services: Stack<IpNet>,
    /// Who carries services to pods.
    pub proxy: Proxy,
    /// More archives of images for every node.
    pub images: Vec<PathBuf>,
}

/// Who sets a cluster up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The lab: the control plane is on the switch, beside the nodes. The quicker one.
    ByHand,
    /// `kubeadm init --pod-network-cidr=…` on `n1` and `kubeadm join` on the others, as people do it: with static pods, bootstrap
    /// tokens, CoreDNS.
    Kubeadm,
}

/// Who carries services to pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// kube-proxy with `--proxy-mode=iptables`.
    Iptables,
    /// kube-proxy with `--proxy-mode=nftables`.
    Nftables,
    /// Nobody.
    Absent,
}

impl ClusterOptions {
    /// Two nodes, IPv4, pods in 10.244.0.0/16, services in 10.96.0.0/16, kube-proxy with iptables.
    ///
    /// # Errors
    /// Never: the networks are literals.
    pub fn new(method: Method) -> Result<ClusterOptions> {
        let (pods, services) = (Stack::V4("10.244.0.0/16".parse()?), Stack::V4("10.96.0.0/16".parse()?));
        Ok(ClusterOptions { method, nodes: 2, pods, services, proxy: Proxy::Iptables, images: Vec::new() })
    }

    /// With IPv6 too: pods in fd44::/56, services in fd96::/112.
    ///
    /// # Errors
    /// Never: the networks are literals.
    pub fn dual_stack(mut self) -> Result<ClusterOptions> {
        self.pods = Stack::Dual { v4: "10.244.0.0/16".parse()?, v6: "fd44::/56".parse()? };
        self.services = Stack::Dual { v4: "10.96.0.0/16".parse()?, v6: "fd96::/112".parse()? };
        Ok(self)
    }
}

impl Proxy {
    fn mode(self) -> &'static str {
        match self {
            Proxy::Iptables => "iptables",
            Proxy::Nftables => "nftables",
            Proxy::Absent => "",
        }
    }
}

impl Lab {
    /// Starts a cluster; its nodes are registered and not Ready when this returns, for they have no pod network.
    ///
    /// # Errors
    /// What the machine lacks, or what did not come up, with the ends of the logs.
    pub fn cluster(&self, options: &ClusterOptions) -> Result<Cluster> {
        Cluster::start(self, options)
    }
}

impl Cluster {
    fn start(lab: &Lab, options: &ClusterOptions) -> Result<Cluster> {
        let programs = Programs::built()?;
        let stock = match options.method {
            Method::ByHand => Stock::Pods,
            Method::Kubeadm => Stock::Kubeadm,
        };
        let mut images = vec![stock::write(&lab.directory().join("images"), &programs, stock)?];
        images.extend(options.images.iter().cloned());
        answer_strays(lab, options)?;
        let nodes = (1..=options.nodes).map(|number| lab.node(&format!("n{number}")));
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        let machines = together(&nodes, |node| Machine::start(node, &programs, &images))?;
        let cluster = match options.method {
            Method::ByHand => by_hand::start(lab, machines, options),
            Method::Kubeadm => kubeadm::start(lab, machines, options),
        }?;
        cluster.wait_registered()?;
        Ok(cluster)
    }

    /// kubectl as the administrator, run on the switch.
    pub fn kubectl(&self) -> &Kubectl {
        &self.inner.kubectl
    }

    /// The nodes.
    pub fn machines(&self) -> &[Machine] {
        &self.inner.machines
    }

    /// A node by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn machine(&self, name: &str) -> Result<&Machine> {
        let found = self.inner.machines.iter().find(|machine| machine.name() == name);
        found.with_context(|| format!("no node is called {name}"))
    }

    /// The control plane on the switch; none with kubeadm, whose is in pods of `n1`.
    pub fn control_plane(&self) -> Option<&ControlPlane> {
        self.inner.control_plane.as_ref()
    }

    /// How it was started.
    pub fn options(&self) -> &ClusterOptions {
        &self.inner.options
    }

    /// Takes a node out of the cluster: its Node object goes, and what Kubernetes and a pod network left on it. (`kubectl delete
    /// node`, `kubeadm reset -f`, a reboot.)
    ///
    /// # Errors
    /// What kubectl or kubeadm says.
    pub fn remove(&self, name: &str) -> Result<()> {
        let machine = self.machine(name)?;
        self.kubectl().run(&format!("delete node {name} --wait=false"))?;
        match self.inner.options.method {
            Method::ByHand => by_hand::remove(machine),
            Method::Kubeadm => kubeadm::remove(machine),
        }
    }

    /// Puts a removed node in again; it is registered when this returns.
    ///
    /// # Errors
    /// What kubeadm says.
    pub fn join(&self, name: &str) -> Result<()> {
        let machine = self.machine(name)?;
        match self.inner.options.method {
            Method::ByHand => machine.boot()?,
            Method::Kubeadm => kubeadm::join(self, machine)?,
        }
        self.wait_registered()
    }
}

/// A ClusterIP that nobody has translated ends at the switch: an answer at once instead of silence.
fn answer_strays(lab: &Lab, options: &ClusterOptions) -> Result<()> {
    for (family, net) in options.services.iter() {
        let (setting, word) = match family {
            ipam::Family::V4 => ("net/ipv4/ip_forward", "-4"),
            ipam::Family::V6 => ("net/ipv6/conf/all/forwarding", "-6"),
        };
        lab.switch().set_sysctl(setting, "1")?;
        lab.switch().ip(&format!("{word} route replace unreachable {net}"))?;
    }
    Ok(())
}

/// Does the same for each, at the same time; in the order of the parts.
fn together<T: Sync, R: Send>(parts: &[T], work: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = parts.iter().map(|part| scope.spawn(|| work(part))).collect();
        let ended =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread of the lab panicked"))?);
        ended.collect()
    })
}
