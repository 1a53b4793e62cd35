//! A node's power goes and comes back: all its processes, links and rules are gone, and /run; its disk is there.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netns_harness::Station;
use netns_harness::kubernetes::Machine;
use serde_json::json;

use crate::ground::{Ground, IMAGE, pod, text};

const HEALTH: &str = "127.0.0.1:8081";
const STATIC: &str = "/etc/kubernetes/manifests";

/// With the API there, `n2` and its pod come back by themselves, and `witness` on another node reaches it.
pub fn check_with_api(ground: &Ground, witness: &Station) -> Result<()> {
    let n2 = ground.cluster.machine("n2")?;
    n2.power_off()?;
    n2.boot()?;
    let begin = Instant::now();
    ground.wait("web-n2 to be back", || {
        let pod = ground.json("get pod web-n2")?;
        let address: IpAddr = pod["status"]["podIP"].as_str().context("no address")?.parse()?;
        witness.get(SocketAddr::new(address, 8080), "/")
    })?;
    println!("after a reboot a pod is reached {:?} after its kubelet began", begin.elapsed());
    ground.wait_network()
}

/// Without the API a kubelet starts static pods and nothing else; with the daemon among them, as docs/install.md says, they have
/// the network that there was.
pub fn check_without_api(ground: &Ground, witness: &Station) -> Result<()> {
    let (n1, n2) = (ground.cluster.machine("n1")?, ground.cluster.machine("n2")?);
    start_static_pods(ground, n2)?;
    ask_lonely(ground, n2, witness)?;
    ground.wait("the daemon to have written what it knows", || {
        n2.run(["sh", "-c", "ls /var/lib/towpath/state/*.json"])
    })?;
    n1.run(["mv", &format!("{STATIC}/kube-apiserver.yaml"), "/etc/lab/"])?;
    ground.wait("the API server to be gone", || match ground.kubectl("get --raw /livez --request-timeout=2s") {
        Ok(_) => bail!("it answers"),
        Err(_) => Ok(()),
    })?;
    n2.power_off()?;
    n2.boot()?;
    let begin = Instant::now();
    ask_lonely(ground, n2, witness)?;
    println!("without the API a static pod is reached {:?} after its kubelet began", begin.elapsed());
    let said = n2.get(HEALTH.parse()?, "/readyz")?;
    ensure!(said.status == 200 && said.body.contains("degraded: API unreachable since"), "{said:?}");
    n1.run(["mv", "/etc/lab/kube-apiserver.yaml", STATIC])?;
    ground.wait("the API server to be back", || ground.kubectl("get --raw /readyz --request-timeout=2s"))?;
    ground.wait("the daemon to say that all is well", || {
        let said = n2.get(HEALTH.parse()?, "/readyz")?;
        ensure!(said.status == 200 && !said.body.contains("degraded"), "{said:?}");
        Ok(())
    })?;
    ask_lonely(ground, n2, witness)
}

/// The daemon as a static pod in place of the DaemonSet's, and one that wants a network.
fn start_static_pods(ground: &Ground, n2: &Machine) -> Result<()> {
    let manual = text("docs/install.md")?;
    let binding = "create clusterrolebinding towpath-nodes --clusterrole=towpath --group=system:nodes";
    ensure!(manual.contains(binding), "docs/install.md does not say `kubectl {binding}` any more");
    ground.kubectl(binding)?;
    let elsewhere =
        json!([{ "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["n2"] }] }]);
    let required = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": elsewhere } });
    let patch = json!({ "spec": { "template": { "spec": { "affinity": { "nodeAffinity": required } } } } }).to_string();
    let words = ["patch", "daemonset", "-n", "kube-flannel", "kube-flannel-ds", "-p", &patch];
    ground.cluster.kubectl().words(words)?;
    let configuration = ground.json("get configmap -n kube-flannel kube-flannel-cfg")?;
    for (name, text) in configuration["data"].as_object().context("no data")? {
        n2.write(&format!("/etc/kube-flannel/{name}"), text.as_str().context("no text")?)?;
    }
    let manifest = text("manifests/towpath-static-pod.yml")?;
    ensure!(manifest.contains(IMAGE), "another image than {IMAGE}");
    n2.write(&format!("{STATIC}/towpath.yml"), &manifest)?;
    let mut lonely = pod("lonely", "n2");
    lonely["spec"]["containers"][0]["env"] = json!([{ "name": "NODE", "value": "lonely" }]);
    n2.write(&format!("{STATIC}/lonely.json"), &lonely.to_string())
}

/// Who answers on the addresses of n2's ledger, for nobody else knows the pod's.
fn ask_lonely(ground: &Ground, n2: &Machine, witness: &Station) -> Result<()> {
    ground.wait("n2's static pod to answer", || {
        let ledger = n2.run(["ls", "/var/lib/cni/networks/cbr0"])?;
        let addresses = ledger.lines().filter_map(|name| name.parse::<IpAddr>().ok());
        let servers = addresses.map(|address| SocketAddr::new(address, 8080));
        // Those of pods that no kubelet starts without the API are there too, and nobody answers at them.
        let servers = servers.filter(|server| witness.connect(*server, Duration::from_millis(200)).is_ok());
        let mut said =
            servers.map(|server| witness.get(server, "/").map_or_else(|error| format!("{error:#}"), |page| page.body));
        ensure!(said.any(|said| said.contains("node=lonely")), "nobody of\n{ledger}");
        Ok(())
    })
}
