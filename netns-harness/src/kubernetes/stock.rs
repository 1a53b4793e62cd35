//! The images that clusters of the lab start with: what kubeadm asks for, by the names that it asks for, and what runs in
//! tests' pods.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::kubernetes::image::{Content, Image, Layer};
use crate::kubernetes::programs::{KUBERNETES_VERSION, Programs};
use crate::namespace::finish;

/// The image of podtool: pause, a server that says who it is, a client. See `go/podtool/main.go`.
pub const PODTOOL_IMAGE: &str = "localhost/podtool:1";

/// Which images a cluster needs beside those that are passed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stock {
    /// Pause and podtool.
    Pods,
    /// And the components that kubeadm runs as pods.
    Kubeadm,
}

/// Writes the archive into a directory.
pub(super) fn write(directory: &Path, programs: &Programs, stock: Stock) -> Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let archive = directory.join("stock.tar");
    let layer = |name: &str, contents: &[(String, Content)]| Layer::write(&directory.join(name), contents);
    let base = layer("base", &base(programs))?;
    let mut references = vec![PODTOOL_IMAGE.to_owned()];
    let mut images = Vec::new();
    if stock == Stock::Kubeadm {
        let kubernetes = layer("kubernetes", &kubernetes(programs))?;
        for reference in wanted(programs)? {
            let name = reference.rsplit('/').next().and_then(|name| name.split(':').next()).unwrap_or_default();
            let (upper, entrypoint) = match name {
                "pause" => {
                    references.push(reference);
                    continue;
                }
                "coredns" => {
                    let contents = [("coredns".to_owned(), Content::File(programs.path("coredns")))];
                    (vec![layer("coredns", &contents)?], "/coredns".to_owned())
                }
                "kube-proxy" => (vec![kubernetes.clone(), layer("proxy", &packet_filters()?)?], component(name)),
                _ => (vec![kubernetes.clone()], component(name)),
            };
            let layers = [base.clone()].into_iter().chain(upper).collect();
            images.push(Image { references: vec![reference], layers, entrypoint });
        }
    }
    images.push(Image { references, layers: vec![base], entrypoint: "/podtool".to_owned() });
    Image::write_archive(&archive, &images)?;
    Ok(archive)
}

/// What this kubeadm wants. Its own answer, so that a newer one needs no change here.
fn wanted(programs: &Programs) -> Result<Vec<String>> {
    let mut command = programs.command("kubeadm");
    command.args(["config", "images", "list", &format!("--kubernetes-version=v{KUBERNETES_VERSION}")]);
    Ok(finish(&mut command, None)?.split_whitespace().map(str::to_owned).collect())
}

fn component(name: &str) -> String {
    format!("/usr/local/bin/{name}")
}

fn base(programs: &Programs) -> Vec<(String, Content)> {
    let text = |path: &str, text: &str| (path.to_owned(), Content::Text(text.to_owned()));
    vec![
        ("tmp".to_owned(), Content::Scratch),
        text("etc/passwd", "root:x:0:0::/:/podtool\n"),
        text("etc/group", "root:x:0:\n"),
        text("etc/nsswitch.conf", "hosts: files dns\n"),
        ("podtool".to_owned(), Content::File(programs.path("podtool"))),
        // As kubeadm's etcd and kubelet's probes know it.
        ("pause".to_owned(), Content::Link("podtool".to_owned())),
    ]
}

fn kubernetes(programs: &Programs) -> Vec<(String, Content)> {
    let names = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd"];
    let links = names.map(|name| (component(name), Content::Link("kubernetes".to_owned())));
    let program = (component("kubernetes"), Content::File(programs.path("kubernetes")));
    std::iter::once(program).chain(links).collect()
}

/// What kube-proxy calls, with every library that those are linked with and load later.
fn packet_filters() -> Result<Vec<(String, Content)>> {
    const ITSELF: &str = "/usr/sbin/xtables-nft-multi";
    let programs = ["/usr/sbin/nft", ITSELF, "/usr/sbin/conntrack"].map(PathBuf::from);
    let mut modules = Vec::new();
    for directory in std::fs::read_dir("/usr/lib")?.filter_map(Result::ok) {
        let found = std::fs::read_dir(directory.path().join("xtables")).into_iter().flatten().filter_map(Result::ok);
        modules.extend(found.map(|entry| entry.path()));
    }
    let files: Vec<PathBuf> = programs.into_iter().chain(modules).collect();
    let mut command = Command::new("ldd");
    let linked = finish(command.args(&files), None).context("nft, iptables or conntrack is not installed")?;
    // "	libc.so.6 => /lib/…/libc.so.6 (0x…)" and "	/lib64/ld-linux-x86-64.so.2 (0x…)"
    let words = linked.lines().filter_map(|line| line.split(" (0x").next()?.split_whitespace().next_back());
    let libraries = words.filter(|word| word.starts_with('/') && !word.ends_with(':')).map(PathBuf::from);
    let mut contents = std::collections::BTreeMap::new();
    for path in files.iter().cloned().chain(libraries) {
        // A link would lead to a file that nobody put in.
        let source = path.canonicalize().with_context(|| path.display().to_string())?;
        contents.insert(path.to_string_lossy().into_owned(), Content::File(source));
    }
    for family in ["iptables", "ip6tables"] {
        for verb in ["", "-save", "-restore"] {
            contents.insert(format!("/usr/sbin/{family}{verb}"), Content::Link(ITSELF.to_owned()));
        }
    }
    contents.insert("/etc/protocols".to_owned(), Content::Text("tcp 6 TCP\nudp 17 UDP\nsctp 132 SCTP\n".to_owned()));
    Ok(contents.into_iter().collect())
}
