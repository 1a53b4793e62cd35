//! [`Order`]: what the words on the command line ask for.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use netns_harness::Guard;
use netns_harness::kubernetes::{ClusterOptions, Method, Proxy};

pub const HELP: &str = "\
Starts a real Kubernetes in network namespaces and keeps it until Ctrl-C.

  cluster [--nodes N]        so many nodes (default: 2), n1, n2 …
          [--kubeadm]        set up by kubeadm init and kubeadm join, with CoreDNS (default: by hand, quicker)
          [--dual-stack]     IPv4 and IPv6 (default: IPv4)
          [--proxy MODE]     kube-proxy with iptables (default) or nftables, or none
          [--image TAR]      an archive of images for every node, docker's or OCI's; as often as you like
          [--manifest FILE]  apply it, and wait until all nodes are Ready; as often as you like

It has no pod network but what a manifest brings: without one nodes stay NotReady. The image localhost/podtool:1 is there.
It needs root, `make lab-kubernetes` and the packages of `make deps`.";

pub enum Order {
    Start(Wish),
    /// Not for people: see [`Guard`].
    After,
    Help,
}

pub struct Wish {
    pub options: ClusterOptions,
    pub manifests: Vec<PathBuf>,
}

impl Order {
    pub fn read(mut words: impl Iterator<Item = String>) -> Result<Order> {
        let mut options = ClusterOptions::new(Method::ByHand)?;
        let mut manifests = Vec::new();
        while let Some(word) = words.next() {
            let (flag, value) = word.split_once('=').map_or((word.as_str(), None), |(flag, value)| (flag, Some(value)));
            let mut value =
                || value.map(str::to_owned).or_else(|| words.next()).with_context(|| format!("{flag} needs a value"));
            match flag {
                "--nodes" => options.nodes = value()?.parse().context("--nodes needs a number")?,
                "--kubeadm" => options.method = Method::Kubeadm,
                "--dual-stack" => options = options.dual_stack()?,
                "--proxy" => options.proxy = proxy(&value()?)?,
                "--image" => options.images.push(std::path::absolute(value()?)?),
                "--manifest" => manifests.push(value()?.into()),
                "--help" | "-h" => return Ok(Order::Help),
                Guard::WORD => return Ok(Order::After),
                _ => bail!("`{word}` is not known\n\n{HELP}"),
            }
        }
        Ok(Order::Start(Wish { options, manifests }))
    }
}

fn proxy(mode: &str) -> Result<Proxy> {
    Ok(match mode {
        "iptables" => Proxy::Iptables,
        "nftables" => Proxy::Nftables,
        "none" => Proxy::Absent,
        _ => bail!("--proxy is iptables, nftables or none, not `{mode}`"),
    })
}
