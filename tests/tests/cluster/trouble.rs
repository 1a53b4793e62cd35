//! The API server says no in every way that it can: rights taken away, a token that is worth nothing any more, too many requests,
//! certificates that ended or have not begun (which is what a clock that is wrong looks like). Each is said in log, status and
//! readiness, survived by running traffic and by a daemon that starts meanwhile, and over when it is over.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use ipam::Family;
use netns_harness::kubernetes::{ControlPlane, ControlPlaneOptions, NodeObject, Validity};
use netns_harness::{Binaries, Daemon, DaemonOptions, ECHO_PORT, Lab, Node, Store, wait_for};

use crate::ground::{LIMIT, turn};
use crate::traffic::Traffic;

const NETWORK: &str = r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}"#;

/// The account has to do with one request at a time, beside one user who has a request that does not end: priority and fairness
/// (kubernetes.io, "API Priority and Fairness"), answering 429 for both.
const ONE_AT_A_TIME: &str = r#"{"apiVersion":"v1","kind":"List","items":[
    {"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration","metadata":{"name":"narrow"},"spec":{
     "type":"Limited","limited":{"nominalConcurrencyShares":0,"borrowingLimitPercent":0,"limitResponse":{"type":"Reject"}}}},
    {"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"FlowSchema","metadata":{"name":"narrow"},"spec":{
     "priorityLevelConfiguration":{"name":"narrow"},"matchingPrecedence":10,"rules":[{
        "subjects":[{"kind":"ServiceAccount","serviceAccount":{"name":"towpath","namespace":"kube-flannel"}},
            {"kind":"User","user":{"name":"slow"}}],
        "resourceRules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"clusterScope":true,"namespaces":["*"]}],
        "nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]}]}},
    {"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"slow"},
     "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"cluster-admin"},
     "subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"slow"}]}]}"#;

/// A request that says it goes on. The server waits a minute for the rest.
const ENDLESS: &str = "POST /api/v1/namespaces HTTP/1.1\r\nHost: api\r\nImpersonate-User: slow\r\n\
    Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";

/// What can be wrong.
struct Trouble {
    name: &'static str,
    /// With the server as it was; it is started again afterwards, for what is open stays open.
    begin: fn(&ControlPlane) -> Result<()>,
    /// With the server as it is then. Whoever asks before it is done has his answer already.
    go_on: fn(&ControlPlane) -> Result<Option<TcpStream>>,
    /// What is said of it.
    words: &'static str,
    /// Makes it good again.
    end: fn(&ControlPlane) -> Result<()>,
}

const TROUBLES: [Trouble; 5] = [
    Trouble {
        name: "rights taken away",
        begin: |api| api.kubectl().run("delete clusterrolebinding towpath").map(drop),
        go_on: |_| Ok(None),
        words: "it answers 403",
        end: |api| api.daemon_kubeconfig().map(drop),
    },
    Trouble {
        name: "a token of an account that is another now",
        begin: |api| api.kubectl().run("delete serviceaccount towpath -n kube-flannel").map(drop),
        go_on: |_| Ok(None),
        words: "it answers 401",
        end: |api| api.daemon_kubeconfig().map(drop),
    },
    Trouble {
        name: "too many requests",
        begin: |api| api.kubectl().apply(ONE_AT_A_TIME).map(drop),
        go_on: occupied,
        words: "it answers 429",
        end: |api| api.kubectl().run("delete flowschema,prioritylevelconfiguration narrow").map(drop),
    },
    Trouble {
        name: "a certificate that has ended",
        begin: |api| api.certify(Validity::Expired),
        go_on: |_| Ok(None),
        words: "look at the clocks of both hosts",
        end: renewed,
    },
    Trouble {
        name: "a certificate that has not begun",
        begin: |api| api.certify(Validity::NotYet),
        go_on: |_| Ok(None),
        words: "look at the clocks of both hosts",
        end: renewed,
    },
];

/// Takes the only place.
fn occupied(api: &ControlPlane) -> Result<Option<TcpStream>> {
    api.wait_ready()?;
    let mut slow = api.station().connect(api.plain_http()?, LIMIT)?;
    slow.write_all(ENDLESS.as_bytes())?;
    Ok(Some(slow))
}

fn renewed(api: &ControlPlane) -> Result<()> {
    api.certify(Validity::Days(1))?;
    api.restart()
}

#[test]
fn whatever_the_api_server_refuses_is_said_and_survived_and_over_when_it_is_over() -> Result<()> {
    let _turn = turn();
    let lab = Lab::new("trouble")?;
    let api = lab.control_plane(&ControlPlaneOptions::default())?;
    let nodes = [lab.node("alpha")?, lab.node("beta")?];
    let daemons = [start(&api, &nodes[0], 1)?, start(&api, &nodes[1], 2)?];
    let binaries = Binaries::built()?;
    let [one, other] = &daemons;
    let pods = [nodes[0].pod(&one.plugin(&binaries)?, "web")?, nodes[1].pod(&other.plugin(&binaries)?, "web")?];
    let mut traffic = Traffic::default();
    for (here, there) in [(0, 1), (1, 0)] {
        pods[there].serve_echo()?;
        let target = (pods[there].address(Family::V4)?, ECHO_PORT).into();
        wait_for("the pods to talk", LIMIT, || pods[here].reach(&pods[there], Family::V4))?;
        traffic.add(&format!("pod {here} to pod {there}"), &pods[here], target)?;
        traffic.add(&format!("node {here} to pod {there}"), &nodes[here], target)?;
    }
    for (number, trouble) in (3..).zip(&TROUBLES) {
        suffer(&api, &daemons, trouble).with_context(|| trouble.name)?;
        recover(&api, &daemons, number).with_context(|| format!("after {}", trouble.name))?;
    }
    println!("{}", traffic.verdict()?);
    Ok(())
}

fn start(api: &ControlPlane, node: &Node, number: u8) -> Result<Daemon> {
    let subnet = format!("10.244.{number}.0/24").parse()?;
    api.create_node(&NodeObject::of(node)?.pod_cidr(subnet))?;
    let (kubeconfig, configuration) = (api.daemon_kubeconfig()?, api.configuration_file(NETWORK)?);
    let daemon =
        node.towpathd(&Binaries::built()?, &DaemonOptions::new(Store::Kubernetes { kubeconfig, configuration }))?;
    daemon.wait_ready(LIMIT)?;
    Ok(daemon)
}

/// From the beginning of a trouble to its end; the daemons are killed and start in the middle of it.
fn suffer(api: &ControlPlane, daemons: &[Daemon; 2], trouble: &Trouble) -> Result<()> {
    (trouble.begin)(api)?;
    api.api_server().restart()?;
    let held = (trouble.go_on)(api)?;
    for daemon in daemons {
        if held.is_none() {
            check_said(daemon, trouble.words)?;
        }
        daemon.kill()?;
        daemon.restart()?;
        daemon.wait_ready(LIMIT)?;
        check_said(daemon, trouble.words).context("started meanwhile")?;
    }
    if !trouble.words.contains("clocks") {
        // kubectl can ask, unlike the daemons.
        api.wait_ready()?;
    }
    (trouble.end)(api)?;
    drop(held);
    Ok(())
}

/// Readiness, status and log of the present run; and the node stays ready.
fn check_said(daemon: &Daemon, words: &str) -> Result<()> {
    wait_for(&format!("{} to say `{words}`", daemon.node().name()), LIMIT, || {
        let page = daemon.get("/readyz")?;
        ensure!(page.status == 200 && page.body.contains("degraded: "), "{page:?}");
        ensure!(page.body.contains(words), "{page:?}");
        let mut command = Command::new(Binaries::built()?.find("towpathctl")?);
        command.arg("status").arg(format!("--socket={}", daemon.status_socket().display()));
        let output = daemon.node().output(command, "")?;
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(status.contains(words), "{status}");
        let log = daemon.log_of_this_run();
        ensure!(log.lines().any(|line| line.contains("WARN") && line.contains(words)), "{log}");
        Ok(())
    })
}

/// Well again: nothing is degraded, and who comes now is heard of and written to the kernel.
fn recover(api: &ControlPlane, daemons: &[Daemon; 2], number: u8) -> Result<()> {
    for daemon in daemons {
        wait_for(&format!("{} to be well", daemon.node().name()), LIMIT, || {
            let page = daemon.get("/readyz")?;
            ensure!(page.status == 200 && page.body == "ready\n", "{page:?}");
            Ok(())
        })?;
    }
    let net = format!("10.244.{number}.0/24");
    let key = |name: &str| format!("flannel.alpha.coreos.com/{name}");
    let node = NodeObject::named(&format!("node-{number}"))
        .pod_cidr(net.parse()?)
        .annotation(key("kube-subnet-manager"), "true")
        .annotation(key("backend-type"), "vxlan")
        .annotation(key("public-ip"), format!("192.0.2.{}", 100 + number))
        .annotation(key("backend-data"), format!(r#"{{"VNI":1,"VtepMAC":"62:00:00:00:01:{number:02x}"}}"#));
    api.create_node(&node)?;
    for daemon in daemons {
        wait_for(&format!("{} to have a route to {net}", daemon.node().name()), LIMIT, || {
            let routes = daemon.node().ip("route show proto 84")?;
            ensure!(routes.contains(&net), "{routes}");
            Ok(())
        })?;
    }
    Ok(())
}
