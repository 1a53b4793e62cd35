//! net-conf.json: every key wrong in turn, to a daemon that runs and to one that starts; and live changes of the network.

use anyhow::{Context, Result, ensure};
use netns_harness::{Daemon, wait_for};

use crate::ask::{run, wait_page, wait_well};
use crate::cluster::{Cluster, DUAL, LIMIT, SINGLE, told};
use crate::picture::Picture;

/// Texts that cannot be used, and what has to be named of each.
const WRONG: &[(&str, &[&str])] = &[
    ("", &["net-conf.json: it is empty"]),
    ("{\"Network\": \"10.244.0.0/16\"", &["net-conf.json: it is not JSON"]),
    ("[]", &["net-conf.json: it is", "not an object"]),
    ("{}", &["Network: it is missing"]),
    (r#"{"Network": 7}"#, &["Network = "]),
    (r#"{"Network": "10.244.0.0"}"#, &["Network = ", "it is not an IPv4 network"]),
    (r#"{"Network": "fd00::/48"}"#, &["Network = ", "it is not an IPv4 network"]),
    (r#"{"Network": "127.0.0.0/8"}"#, &["Network = ", "the loopback addresses"]),
    (r#"{"Network": "10.244.0.0/30"}"#, &["Network = ", "too small for four subnets"]),
    (r#"{"Network": "10.244.0.0/16", "SubnetLen": "24"}"#, &["SubnetLen = "]),
    (r#"{"Network": "10.244.0.0/16", "SubnetLen": 31}"#, &["SubnetLen = ", "out of range"]),
    (r#"{"Network": "10.244.0.0/16", "SubnetLen": 17}"#, &["SubnetLen = ", "no room for four subnets"]),
    (r#"{"Network": "10.244.0.0/16", "SubnetMin": "10.1.0.0"}"#, &["SubnetMin = ", "not in the network"]),
    (r#"{"Network": "10.244.0.0/16", "SubnetMin": "10.244.1.7"}"#, &["SubnetMin = ", "begins there"]),
    (r#"{"Network": "10.244.0.0/16", "SubnetMax": "high"}"#, &["SubnetMax = ", "not an IPv4 address"]),
    (
        r#"{"Network": "10.244.0.0/16", "SubnetMin": "10.244.9.0", "SubnetMax": "10.244.3.0"}"#,
        &["SubnetMin = ", "above SubnetMax"],
    ),
    (r#"{"Network": "10.244.0.0/16", "EnableIPv4": "yes"}"#, &["EnableIPv4 = "]),
    (r#"{"Network": "10.244.0.0/16", "EnableIPv4": false}"#, &["both families are switched off"]),
    (r#"{"Network": "10.244.0.0/16", "EnableIPv6": 1}"#, &["EnableIPv6 = "]),
    (r#"{"Network": "10.244.0.0/16", "EnableIPv6": true}"#, &["IPv6Network: it is missing"]),
    (r#"{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "10.0.0.0/8"}"#, &["IPv6Network = "]),
    (
        r#"{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00::/48", "IPv6SubnetLen": 200}"#,
        &["IPv6SubnetLen = "],
    ),
    (
        r#"{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00::/48", "IPv6SubnetMin": "fd01::"}"#,
        &["IPv6SubnetMin = "],
    ),
    (
        r#"{"Network": "10.244.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00::/48", "IPv6SubnetMax": 9}"#,
        &["IPv6SubnetMax = "],
    ),
    (r#"{"Network": "10.244.0.0/16", "EnableNFTables": "no"}"#, &["EnableNFTables = "]),
    (r#"{"Network": "10.244.0.0/16", "Backend": "vxlan"}"#, &["Backend = "]),
    (r#"{"Network": "10.244.0.0/16", "Backend": {}}"#, &["Backend.Type: it is missing"]),
    (r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlam"}}"#, &["Backend.Type = ", "did you mean vxlan?"]),
    (r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "ipsec"}}"#, &["Backend.Type = ", "on purpose"]),
    (r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "VNI": -1}}"#, &["Backend.VNI = "]),
    (r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "VNI": 12345678}}"#, &["Backend.VNI = "]),
    (r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "Port": 65536}}"#, &["Backend.Port = "]),
    (r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "MTU": 60}}"#, &["Backend.MTU = "]),
    (r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "GBP": 1}}"#, &["Backend.GBP = "]),
    (r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "Learning": "on"}}"#, &["Backend.Learning = "]),
    (
        r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan", "DirectRouting": []}}"#,
        &["Backend.DirectRouting = "],
    ),
    (
        r#"{"Network": 1, "SubnetLen": "x", "EnableIPv6": "y", "Backend": {"Type": "vxlan", "VNI": -1, "Port": -1, "GBP": 0}}"#,
        &["Network = ", "SubnetLen = ", "EnableIPv6 = ", "Backend.VNI = ", "Backend.Port = ", "Backend.GBP = "],
    ),
];

#[test]
fn no_wrong_configuration_changes_anything_and_each_mistake_is_named() -> Result<()> {
    let mut cluster = Cluster::on_directory("wrongkeys", SINGLE)?;
    let [alpha, _beta] = cluster.join_all(["alpha", "beta"])?;
    let picture = Picture::of(alpha.node())?;
    let written = std::fs::read_to_string(alpha.subnet_file())?;
    for (text, named) in WRONG {
        cluster.configure(text)?;
        let each = || -> Result<()> {
            for words in *named {
                wait_page(&alpha, 200, words)?;
            }
            wait_page(&alpha, 200, "degraded: net-conf.json cannot be used")?;
            wait_page(&alpha, 200, "the last good one is used")?;
            picture.compare(&Picture::of(alpha.node())?)?;
            check_config_names(&cluster, &alpha, named)
        };
        each().with_context(|| format!("with {text}"))?;
    }
    assert_eq!(std::fs::read_to_string(alpha.subnet_file())?, written);
    cluster.configure(SINGLE)?;
    wait_well(&alpha)?;
    picture.compare(&Picture::of(alpha.node())?)
}

fn check_config_names(cluster: &Cluster, daemon: &Daemon, named: &[&str]) -> Result<()> {
    let store = format!("--store-directory={}", cluster.directory()?.display());
    let file = format!("--subnet-file={}", daemon.subnet_file().display());
    let said = run(daemon.node(), "towpathd", &["--check-config", "--store=directory", &store, &file])?;
    ensure!(said.code == Some(2), "{said:?}");
    named.iter().try_for_each(|words| {
        let bare = words.trim_start_matches("net-conf.json: ");
        ensure!(said.err.contains(bare), "no `{bare}` in:\n{}", said.err);
        Ok(())
    })
}

#[test]
fn a_daemon_that_starts_with_mistakes_names_all_and_uses_what_was_good_before() -> Result<()> {
    let (all_wrong, named) = WRONG.last().context("a text")?;
    let mut cluster = Cluster::on_directory("wrongstart", all_wrong)?;
    let node = cluster.lab.node("alpha")?;
    let alpha = cluster.start(&node, |options| options)?;
    for words in *named {
        wait_page(&alpha, 503, words)?;
    }
    assert!(Picture::of(&node)?.lines(&["flannel"]).is_empty());
    cluster.configure(SINGLE)?;
    wait_well(&alpha)?;
    let picture = Picture::of(&node)?;
    alpha.stop()?;
    cluster.configure(all_wrong)?;
    alpha.restart()?;
    wait_page(&alpha, 200, "degraded: net-conf.json cannot be used")?;
    for words in *named {
        wait_page(&alpha, 200, words)?;
    }
    picture.compare(&Picture::of(&node)?)?;
    cluster.configure(SINGLE)?;
    wait_well(&alpha)?;
    picture.compare(&Picture::of(&node)?)
}

#[test]
fn another_network_and_another_family_are_followed_live_on_a_directory() -> Result<()> {
    another_network_and_another_family_are_followed_live(Cluster::on_directory("netdir", SINGLE)?)
}

#[test]
fn another_network_and_another_family_are_followed_live_on_etcd() -> Result<()> {
    another_network_and_another_family_are_followed_live(Cluster::on_etcd("netetcd", SINGLE)?)
}

fn another_network_and_another_family_are_followed_live(mut cluster: Cluster) -> Result<()> {
    let daemons = cluster.join_all(["alpha", "beta"])?;
    let own = daemons.each_ref().map(|daemon| told(daemon, "FLANNEL_SUBNET"));
    let own: Vec<String> = own.into_iter().collect::<Result<_>>()?;
    let moved = SINGLE.replace("10.244.", "10.77.");
    let narrow = r#"{"Network": "10.244.0.0/16", "SubnetLen": 26}"#;
    for (text, network, v6) in
        [(DUAL, "10.244.0.0/16", true), (SINGLE, "10.244.0.0/16", false), (&moved, "10.77.0.0/16", false)]
    {
        cluster.configure(text)?;
        wait_settled(&cluster, network, v6).with_context(|| format!("after {text}: {}", daemons[0].log()))?;
        // A family that comes or goes does not move the pods of the other.
        let now = daemons.each_ref().map(|daemon| told(daemon, "FLANNEL_SUBNET"));
        let now: Vec<String> = now.into_iter().collect::<Result<_>>()?;
        assert!(network.starts_with("10.77") || now == own, "{now:?} after {own:?}");
    }
    cluster.configure(narrow)?;
    wait_settled(&cluster, "10.244.0.0/16", false)?;
    for daemon in &daemons {
        assert!(told(daemon, "FLANNEL_SUBNET")?.ends_with("/26"));
        let old = Picture::of(daemon.node())?;
        assert_eq!(old.lines(&["10.77."]), Vec::<&str>::new(), "something of the old network is left");
    }
    Ok(())
}

fn wait_settled(cluster: &Cluster, network: &str, v6: bool) -> Result<()> {
    let told_all = || -> Result<()> {
        for daemon in &cluster.daemons {
            ensure!(told(daemon, "FLANNEL_NETWORK")? == network, "{} has another network", daemon.node().name());
            ensure!(told(daemon, "FLANNEL_IPV6_NETWORK").is_ok() == v6, "{}: IPv6", daemon.node().name());
            ensure!(Picture::of(daemon.node())?.lines(&["flannel-v6"]).is_empty() != v6, "IPv6 device");
        }
        Ok(())
    };
    wait_for(&format!("all to be told of {network}"), LIMIT, told_all)?;
    cluster.wait_acquainted()?;
    cluster.daemons.iter().try_for_each(wait_well)
}
