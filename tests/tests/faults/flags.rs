//! Every flag wrong in turn, on the command line and in the environment: named, with what would be right, and exit status 2.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use netns_harness::{Lab, Station};

use crate::ask::{Said, run_with};

/// A wrong value of each flag that has any.
const WRONG: &[(&str, &str)] = &[
    ("store", "redis"),
    ("store-directory", "not/absolute"),
    ("subnet-lease-renew-margin", "1440"),
    ("etcd-endpoints", "http://:2379"),
    ("etcd-prefix", "/"),
    ("etcd-cafile", "ca.pem"),
    ("etcd-certfile", "~/cert.pem"),
    ("etcd-keyfile", "./key"),
    ("kube-subnet-mgr", "maybe"),
    ("kube-api-url", "ftp://192.0.2.1"),
    ("kube-annotation-prefix", "Flannel"),
    ("peer-objects", "pods"),
    ("peer-namespace", "Kube Flannel"),
    ("net-config-path", "net-conf.json"),
    ("bgp-as", "0"),
    ("node-labels", "rack"),
    ("set-node-network-unavailable", "2"),
    ("node-name", "no spaces here"),
    ("iface", "a-name-that-is-longer-than-fifteen"),
    ("iface-regex", "("),
    ("iface-can-reach", "somewhere"),
    ("public-ip", "fd00::1"),
    ("public-ipv6", "192.0.2.1"),
    ("ip-masq", "yes please"),
    ("ip-masq-fully-random-disable", "10"),
    ("iptables-forward-rules", "on"),
    ("iptables-resync", "0"),
    ("ip-blackhole-route", "-"),
    ("ip-unreachable-route", "-"),
    ("ip-masq-address", "::"),
    ("wireguard-key-file", "x"),
    ("wireguard-psk", "x"),
    ("wireguard-psk-file", "x"),
    ("subnet-file", "subnet.env"),
    ("state-directory", "state"),
    ("status-socket", "sock"),
    ("pod-mode", "bridged"),
    ("cni-bin-dir", "bin"),
    ("cni-plugin", "./towpath"),
    ("cni-conf-dir", "net.d"),
    ("cni-conf-name", "flannel.json.bak"),
    ("cni-conf-file", "cni-conf.json"),
    ("healthz-ip", "localhost"),
    ("healthz-port", "65536"),
    ("log-format", "xml"),
    ("log-level", "loud"),
    ("v", "much"),
    ("help", "perhaps"),
    ("version", "1.2"),
    ("check-config", "no!"),
    ("print-config", "x"),
    ("uninstall", "all"),
];

/// Flags of which any text is right, or that are accepted for flannel's sake and mean nothing.
const ANY: &[&str] = &["etcd-username", "etcd-password", "kubeconfig-file"];

fn check(station: &Station, words: &[&str], variables: &[(&str, &str)]) -> Result<Said> {
    let all = [&["--check-config", "--node-name=alpha"], words].concat();
    run_with(station, "towpathd", &all, variables)
}

#[test]
fn every_flag_wrong_in_turn_is_named_with_exit_status_2() -> Result<()> {
    let lab = Lab::new("flags")?;
    let station = lab.station("alone")?;
    let help = check(&station, &["--help"], &[])?;
    assert_eq!(help.code, Some(0));
    let (flags, quiet) = help.out.split_once("Accepted for flannel's sake").context("the help's last group")?;
    let named = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
        let word = |rest: &str| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().map(str::to_owned);
        lines.filter_map(word).collect()
    };
    let tested: BTreeSet<String> = WRONG.iter().map(|(flag, _)| (*flag).to_owned()).collect();
    let any = ANY.iter().map(|flag| (*flag).to_owned());
    let untested: Vec<String> = named(flags).into_iter().filter(|flag| !tested.contains(flag)).collect();
    let untested: BTreeSet<String> = untested.into_iter().collect();
    assert_eq!(untested.difference(&any.collect()).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(!named(quiet).is_empty());
    for (flag, value) in WRONG {
        let said = check(&station, &[&format!("--{flag}={value}")], &[])?;
        ensure!(said.code == Some(2) && said.err.contains(&format!("--{flag}")), "--{flag}={value}: {said:?}");
        ensure!(said.err.contains(": ") && said.err.contains("; "), "no reason and fix: {said:?}");
        // One dash, and the value as a word of its own.
        if !["ip-masq", "version", "help"].contains(flag) {
            let said = check(&station, &[&format!("-{flag}={value}")], &[])?;
            ensure!(said.code == Some(2), "-{flag}={value}: {said:?}");
        }
        let variable = format!("FLANNELD_{}", flag.to_uppercase().replace('-', "_"));
        if ["help", "version", "check-config", "print-config", "uninstall", "node-name"].contains(flag) {
            continue;
        }
        let said = check(&station, &[], &[(&variable, value)])?;
        ensure!(said.code == Some(2) && said.err.contains(&variable), "{variable}={value}: {said:?}");
    }
    Ok(())
}

#[test]
fn all_mistakes_are_told_together_and_nothing_is_begun() -> Result<()> {
    let lab = Lab::new("flagsall")?;
    let station = lab.station("alone")?;
    let commands = ["help", "version", "check-config", "print-config", "uninstall"];
    let wrong: Vec<_> = WRONG.iter().filter(|(flag, _)| !commands.contains(flag)).collect();
    let words: Vec<String> = wrong.iter().map(|(flag, value)| format!("--{flag}={value}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = run_with(&station, "towpathd", &words, &[])?;
    assert_eq!(said.code, Some(2));
    for (flag, _) in wrong {
        assert!(said.err.lines().any(|line| line.starts_with(&format!("--{flag}"))), "--{flag} in:\n{}", said.err);
    }
    for (words, named) in [
        (vec!["--etcd-username=u"], "--etcd-username"),
        (vec!["--etcd-keyfile=/k"], "--etcd-keyfile"),
        (vec!["--etcd-certfile=/c"], "--etcd-certfile"),
        (vec!["--etcd-endpoints=http://a:1,https://b:1"], "--etcd-endpoints"),
        (vec!["--etcd-cafile=/ca", "--etcd-endpoints=http://a:1"], "--etcd-endpoints"),
        (vec!["--iface-regx=eth"], "iface-regex"),
        (vec!["stray"], "stray"),
        (vec!["--store"], "--store"),
        (vec!["--=x"], ""),
    ] {
        let said = run_with(&station, "towpathd", &[&["--node-name=a"], words.as_slice()].concat(), &[])?;
        ensure!(said.code == Some(2) && said.err.contains(named), "{words:?}: {said:?}");
    }
    Ok(())
}

#[test]
fn output_that_nobody_takes_is_an_error_and_no_panic() -> Result<()> {
    let lab = Lab::new("devfull")?;
    let station = lab.station("alone")?;
    let binaries = netns_harness::Binaries::built()?;
    for (program, words) in [("towpathd", "--help"), ("towpathd", "--check-config"), ("towpathctl", "version")] {
        let script = format!("{} {words} --node-name=a >/dev/full", binaries.find(program)?.display());
        let script = if program == "towpathctl" { script.replace(" --node-name=a", "") } else { script };
        let output = station.output(
            {
                let mut command = std::process::Command::new("sh");
                command.args(["-c", &script]);
                command
            },
            "",
        )?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code().is_some_and(|code| code == 1 || code == 2), "{script}: {output:?}");
        ensure!(said.contains("standard output: No space left") && !said.contains("panicked"), "{script}: {said}");
    }
    Ok(())
}
