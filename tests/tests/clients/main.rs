//! WHAT IS PROMISED to container engines that are not Kubernetes', as sentences: podman 4 in its CNI mode, which asks VERSION before
//! each request, chooses addresses and MAC addresses by capabilities, and says in `CNI_ARGS` little of what others say.
//!
//! It needs root, podman and runc, `make lab-kubernetes` once, and the programs: `cargo build -p towpath`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_types, reason = "no process on a node; here podman is what is tried")]

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::kubernetes::{Content, Image, Layer, Programs};
use netns_harness::{Binaries, Lab, Node, wait_for};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const MAC: &str = "02:00:00:00:00:77";

/// A node with podman.
struct Engine {
    node: Node,
    directory: PathBuf,
}

impl Engine {
    fn new(lab: &Lab) -> Result<Engine> {
        let node = lab.node("n1")?;
        let engine = Engine { directory: node.directory().to_owned(), node };
        let bin = engine.path("bin");
        let mut install = Command::new(Binaries::built()?.find("towpath")?);
        ensure!(install.arg("--install").arg(&bin).output()?.status.success(), "towpath --install {}", bin.display());
        fs::create_dir(engine.path("net.d"))?;
        let configuration = format!(
            "[network]\nnetwork_backend = \"cni\"\ncni_plugin_dirs = [{bin:?}]\nnetwork_config_dir = {:?}\n\
             [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n\
             [containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n",
            engine.path("net.d")
        );
        fs::write(engine.path("containers.conf"), configuration)?;
        let base = [("podtool".to_owned(), Content::File(Programs::built()?.path("podtool")))];
        let layers = vec![Layer::write(&engine.path("layer"), &base)?];
        let references = vec!["localhost/podtool:1".to_owned()];
        Image::write_archive(
            &engine.path("image.tar"),
            &[Image { references, layers, entrypoint: "/podtool".into() }],
        )?;
        let archive = engine.path("image.tar");
        engine.podman(&["load", "-q", "-i", archive.to_str().context("a path that is no text")?])?;
        Ok(engine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn network(&self, name: &str, plugins: Value) -> Result<()> {
        let list = json!({ "cniVersion": "0.4.0", "name": name, "plugins": plugins });
        Ok(fs::write(self.path("net.d").join(format!("{name}.conflist")), list.to_string())?)
    }

    fn podman(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.path("root")).arg("--runroot").arg(self.path("run"));
        command.args(["--storage-driver", "vfs"]).args(words).env("CONTAINERS_CONF", self.path("containers.conf"));
        let output = self.node.output(command, "").context("starting podman: apt-get install podman")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "podman {}: {}", words.join(" "), said.trim());
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// What of the ledger and the packet filter is somebody's.
    fn left(&self, network: &str) -> Result<Vec<String>> {
        let rules = self.node.run(["nft", "list", "ruleset"])?;
        let tag = format!("towpath-pod {network} ");
        let mut left: Vec<String> = rules.lines().filter(|line| line.contains(&tag)).map(str::to_owned).collect();
        for entry in fs::read_dir(self.path("ledger").join(network))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            left.extend(name.parse::<std::net::IpAddr>().is_ok().then_some(name));
        }
        Ok(left)
    }
}

#[test]
fn podman_publishes_ports_and_chooses_addresses_on_a_bridge_routed_and_by_the_usual_names() -> Result<()> {
    let lab = Lab::new("podman")?;
    let engine = Engine::new(&lab)?;
    let ipam = |subnet: &str| json!({ "type": "host-local", "dataDir": engine.path("ledger"), "ranges": [[{ "subnet": subnet }]] });
    let whole = json!({ "portMappings": true, "ips": true, "mac": true });
    for (name, subnet, plugins) in [
        (
            "one",
            "10.97.0.0/24",
            json!([{ "type": "towpath", "bridge": "one0", "ipMasq": true, "capabilities": whole }]),
        ),
        ("routed", "10.98.0.0/24", json!([{ "type": "towpath", "mode": "routed", "capabilities": whole }])),
        (
            "names",
            "10.99.0.0/24",
            json!([
                { "type": "bridge", "bridge": "names0", "isDefaultGateway": true, "capabilities": { "ips": true } },
                { "type": "portmap", "capabilities": { "portMappings": true } },
                { "type": "tuning", "capabilities": { "mac": true } }
            ]),
        ),
    ] {
        let mut plugins = plugins;
        plugins[0]["ipam"] = ipam(subnet);
        engine.network(name, plugins)?;
        let address = subnet.replace("0.0/24", "0.77");
        let run = format!(
            "run -d --name web --network {name} -p 18080:8080 -p 18053:53/udp --ip {address} --mac-address {MAC}"
        );
        let words: Vec<&str> = run.split(' ').chain(["localhost/podtool:1", "serve", ":8080"]).collect();
        engine.podman(&words).with_context(|| name.to_owned())?;
        let server = SocketAddr::new(engine.node.address(Family::V4)?, 18080);
        wait_for(&format!("port 18080 of {name} to answer"), LIMIT, || lab.switch().get(server, "/").map(drop))?;
        let told: Value = serde_json::from_str(&engine.podman(&["inspect", "web"])?)?;
        let told = &told[0]["NetworkSettings"]["Networks"][name];
        ensure!(told["IPAddress"] == address.as_str() && told["MacAddress"] == MAC, "{name}: {told}");
        engine.podman(&["restart", "-t", "0", "web"])?;
        wait_for(&format!("{name} after a restart"), LIMIT, || lab.switch().get(server, "/").map(drop))?;
        engine.podman(&["rm", "-f", "-t", "0", "web"])?;
        let left = engine.left(name)?;
        ensure!(left.is_empty(), "{name} leaves {left:?}");
    }
    Ok(())
}
