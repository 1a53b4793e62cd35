//! What is promised of flags and variables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{EtcdUser, Invocation, Mistakes, Order, OwnPod, Settings, StoreSettings, check, read};
use super::{InterfaceId, LogFormat, LogLevel};
use crate::scratch::Scratch;
use backends::LinkName;
use backends::cluster::{OwnSubnetRoute, UnclaimedAddresses};
use backends::masquerade::{Forward, Masquerade};
use ipam::Stack;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn invoked(arguments: &str, environment: &[(&str, &str)]) -> Invocation {
    Invocation {
        arguments: arguments.split_whitespace().map(str::to_owned).collect(),
        environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        host_name: "host-1".to_owned(),
        directory: PathBuf::from("/opt/bin"),
    }
}

fn order(arguments: &str, environment: &[(&str, &str)]) -> Result<Order, Mistakes> {
    read(&invoked(arguments, environment))
}

fn settings(arguments: &str, environment: &[(&str, &str)]) -> Settings {
    match order(arguments, environment) {
        Ok(Order::Run(settings)) => *settings,
        other => panic!("{arguments}: {other:?}"),
    }
}

fn printed(arguments: &str, environment: &[(&str, &str)]) -> String {
    match order(arguments, environment) {
        Ok(Order::Print(text)) => text,
        other => panic!("{arguments}: {other:?}"),
    }
}

fn mistakes(arguments: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let Mistakes(mistakes) = order(arguments, environment).expect_err(arguments);
    mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_said_is_flannels_defaults_on_a_directory() {
    let settings = settings("", &[]);
    assert_eq!(settings.node.as_str(), "host-1");
    assert_eq!(settings.store, StoreSettings::Directory { path: PathBuf::from("/var/lib/towpath/store") });
    assert_eq!(settings.subnet_file, Path::new("/run/flannel/subnet.env"));
    assert_eq!(settings.net_config_path, Path::new("/etc/kube-flannel/net-conf.json"));
    assert_eq!(settings.status_socket, Path::new("/run/towpath/towpathd.sock"));
    assert!(settings.state_file.starts_with("/var/lib/towpath/state"), "{:?}", settings.state_file);
    assert_eq!((settings.firewall.masquerade, settings.firewall.forward), (Masquerade::Off, Forward::Accept));
    assert_eq!((settings.own_subnet_route, settings.masquerade_address), (OwnSubnetRoute::Absent, None));
    assert_eq!(settings.unclaimed, UnclaimedAddresses::Routed);
    assert_eq!((settings.resync, settings.lease_renew_margin), (Duration::from_secs(5), Duration::from_secs(3600)));
    assert_eq!(settings.healthz, None);
    assert_eq!((settings.logging.format, settings.logging.level), (LogFormat::Text, LogLevel::Info));
    assert_eq!(settings.interface, super::InterfaceWish::default());
}

#[test]
fn gos_flag_syntax_is_understood() {
    let address = |text: &str| text.parse().unwrap();
    for line in ["-iface eth1", "--iface eth1", "-iface=eth1", "--iface=eth1", "--iface=eth1 --"] {
        let name = LinkName::new("eth1").unwrap();
        assert_eq!(settings(line, &[]).interface.interfaces, [InterfaceId::Name(name)], "{line}");
    }
    for (line, meant) in [
        ("--ip-masq", Masquerade::FullyRandom),
        ("-ip-masq=true", Masquerade::FullyRandom),
        ("--ip-masq=T", Masquerade::FullyRandom),
        ("--ip-masq --ip-masq=0", Masquerade::Off),
        ("--ip-masq --ip-masq-fully-random-disable", Masquerade::PortKeeping),
        ("--ip-masq-fully-random-disable", Masquerade::Off),
    ] {
        assert_eq!(settings(line, &[]).firewall.masquerade, meant, "{line}");
    }
    let repeated = settings("--iface=10.0.0.1 --iface=eth0 --iface= --iface-regex=^e --iface-regex=x", &[]).interface;
    assert_eq!(repeated.interfaces[0], InterfaceId::Address(address("10.0.0.1")));
    assert_eq!((repeated.interfaces.len(), repeated.patterns.len()), (2, 2));
    assert_eq!(settings("--healthz-port 1 --healthz-port 8081", &[]).healthz.unwrap().to_string(), "0.0.0.0:8081");
    // A value may look like a flag.
    assert_eq!(
        settings("--etcd-prefix -x", &[]).store.identity(),
        "etcd -x http://127.0.0.1:4001,http://127.0.0.1:2379"
    );
}

#[test]
fn every_flag_says_what_it_means() {
    let settings = settings(
        "--node-name=n --iface-can-reach=192.0.2.9 --public-ip=198.51.100.1 --public-ipv6=2001:db8::1 \
         --iptables-forward-rules=false --iptables-resync=9 --ip-blackhole-route --subnet-file=/run/b/s.env \
         --ip-unreachable-route --ip-masq-address=192.0.2.8 --ip-masq-address=2001:db8::8 --ip-masq-address=192.0.2.9 \
         --state-directory=/s --status-socket=/t.sock --net-config-path=/n --subnet-lease-renew-margin=1439 \
         --healthz-ip=::1 --healthz-port=80 --log-format=json --log-level=warn --v=4 --vmodule=a=1 --logtostderr \
         --log_backtrace_at=x --store-directory=/d//e/ --store=directory --set-node-network-unavailable=false \
         --kube-api-url=http://x --kubeconfig-file=k --kube-annotation-prefix=p.example",
        &[],
    );
    assert_eq!(settings.node.as_str(), "n");
    assert_eq!(settings.interface.can_reach.unwrap().to_string(), "192.0.2.9");
    let public = Stack::Dual { v4: "198.51.100.1".parse().unwrap(), v6: "2001:db8::1".parse().unwrap() };
    assert_eq!(settings.interface.public, Some(public));
    assert_eq!(settings.firewall.forward, Forward::Untouched);
    assert_eq!(settings.own_subnet_route, OwnSubnetRoute::Blackhole);
    assert_eq!(settings.unclaimed, UnclaimedAddresses::Unreachable);
    let address = Stack::Dual { v4: "192.0.2.9".parse().unwrap(), v6: "2001:db8::8".parse().unwrap() };
    assert_eq!(settings.masquerade_address, Some(address), "the last of each family");
    assert_eq!((settings.resync, settings.lease_renew_margin), (Duration::from_secs(9), Duration::from_secs(86_340)));
    assert_eq!(settings.instance.table, "towpath_run/b/s.env");
    assert_eq!(settings.instance.alias, "towpath /run/b/s.env");
    assert!(settings.state_file.to_string_lossy().starts_with("/s/n-"));
    assert_eq!((settings.status_socket, settings.net_config_path), (PathBuf::from("/t.sock"), PathBuf::from("/n")));
    assert_eq!(settings.healthz.unwrap().to_string(), "[::1]:80");
    assert_eq!((settings.logging.format, settings.logging.level), (LogFormat::Json, LogLevel::Warn));
    assert_eq!(settings.store, StoreSettings::Directory { path: PathBuf::from("/d/e") });
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_default() {
    let environment = [
        ("FLANNELD_ETCD_PREFIX", "/env"),
        ("FLANNELD_IFACE", "eth0,eth1"),
        ("FLANNELD_SUBNET_FILE", ""),
        ("FLANNELD_HEALTHZ_PORT", "7"),
        ("FLANNELD_V", "2"),
        ("FLANNELD_VERSION", "0.28.9"),
        ("FLANNELD_SERVICE_HOST", "10.96.0.9"),
        ("NODE_NAME", "from-pod"),
    ];
    let settings = settings("--healthz-port=8 --etcd-endpoints=10.0.0.1:2379,10.0.0.2", &environment);
    let StoreSettings::Etcd(etcd) = &settings.store else { panic!("etcd flags imply etcd") };
    assert_eq!(etcd.prefix, "/env");
    assert_eq!(etcd.endpoints, ["http://10.0.0.1:2379", "http://10.0.0.2:2379"]);
    assert_eq!(settings.interface.interfaces.len(), 1, "a variable is one element, commas and all");
    assert_eq!(settings.subnet_file, Path::new("/run/flannel/subnet.env"), "an empty variable says nothing");
    assert_eq!(settings.healthz.unwrap().port(), 8);
    assert_eq!(settings.logging.level, LogLevel::Debug);
    assert_eq!(settings.node.as_str(), "from-pod");
    assert_eq!(super::tests::settings("--node-name=x", &environment).node.as_str(), "x");
    let named = [("FLANNELD_NODE_NAME", "y"), ("NODE_NAME", "z")];
    assert_eq!(super::tests::settings("", &named).node.as_str(), "y");
}

#[test]
fn the_store_is_the_one_asked_for_or_the_one_that_the_other_flags_imply() {
    let etcd = |arguments, environment: &[(&str, &str)]| {
        matches!(settings(arguments, environment).store, StoreSettings::Etcd(_))
    };
    assert!(etcd("--store=etcd", &[]));
    assert!(etcd("--etcd-prefix=/x", &[]));
    assert!(etcd("", &[("FLANNELD_ETCD_ENDPOINTS", "http://a:1")]));
    assert!(!etcd("--etcd-prefix=/x --store=directory", &[]));
    assert!(!etcd("--kube-subnet-mgr=false --etcd-username=", &[]));
    for arguments in ["--kube-subnet-mgr", "--store=kubernetes", "--kube-subnet-mgr --etcd-prefix=/x"] {
        assert!(matches!(settings(arguments, &[]).store, StoreSettings::Kubernetes(_)), "{arguments}");
    }
}

#[test]
fn kubernetes_is_reached_as_flannel_reaches_it() {
    let kubernetes = |arguments, environment: &[(&str, &str)]| match settings(arguments, environment).store {
        StoreSettings::Kubernetes(kubernetes) => kubernetes,
        other => panic!("{other:?}"),
    };
    let plain = kubernetes("--kube-subnet-mgr", &[]);
    assert_eq!((plain.api_url, plain.kubeconfig, plain.own_pod), (None, None, None));
    assert!(plain.keeps_condition);
    let pod = [("POD_NAME", "towpath-x"), ("POD_NAMESPACE", "kube-flannel")];
    let own = OwnPod { namespace: "kube-flannel".to_owned(), name: "towpath-x".to_owned() };
    assert_eq!(kubernetes("--kube-subnet-mgr", &pod).own_pod, Some(own));
    let named = [pod[0], pod[1], ("NODE_NAME", "worker")];
    assert_eq!(kubernetes("--kube-subnet-mgr", &named).own_pod, None, "NODE_NAME wins");
    let all = kubernetes(
        "--store=kubernetes --kube-api-url=https://192.0.2.1:6443 --kubeconfig-file=k \
         --kube-annotation-prefix=example.com/net --set-node-network-unavailable=false",
        &[],
    );
    assert_eq!(all.api_url.unwrap().to_string(), "https://192.0.2.1:6443");
    assert_eq!(all.kubeconfig, Some(PathBuf::from("k")));
    assert_eq!((all.annotations.as_str(), all.keeps_condition), ("example.com/net-", false));
}

#[test]
fn etcd_is_reached_with_certificates_or_an_authority_alone() {
    let tls = |arguments| match settings(arguments, &[]).store {
        StoreSettings::Etcd(etcd) => etcd,
        other => panic!("{other:?}"),
    };
    let ca_only = tls("--etcd-cafile=/ca --etcd-endpoints=a:1,https://b:2");
    assert_eq!(ca_only.endpoints, ["https://a:1", "https://b:2"]);
    assert!(ca_only.tls.client.is_none() && ca_only.user.is_none());
    let full =
        tls("--etcd-endpoints=https://a:1 --etcd-certfile=/c --etcd-keyfile=/k --etcd-username=u --etcd-password=p");
    assert_eq!(full.tls.client.unwrap().key, Path::new("/k"));
    assert!(matches!(full.user, Some(EtcdUser { name, password }) if name == "u" && password.expose() == "p"));
}

#[test]
fn each_wrong_flag_is_named_with_its_value_the_reason_and_the_fix() {
    for (argument, expected) in [
        ("--store=zookeeper", r#"--store = "zookeeper": there is no such store; write etcd or directory"#),
        ("--store-directory=x", "a relative path means another file in every directory; begin it with /"),
        ("--subnet-lease-renew-margin=0", "out of range; write a whole number from 1 to 1439 minutes"),
        ("--subnet-lease-renew-margin=1440", "out of range"),
        ("--subnet-lease-renew-margin=1h", "not a whole number"),
        ("--etcd-endpoints=ftp://a", "neither http nor https"),
        ("--etcd-endpoints=http://a:1,https://b:1", "some endpoints are http and some are https"),
        ("--etcd-cafile=/ca", "not all endpoints are https"),
        ("--etcd-endpoints=http://u:hunter2@a:1", r#""http://(hidden)@a:1": an endpoint must not carry"#),
        ("--etcd-prefix=/", "every key of etcd would be ours"),
        ("--etcd-cafile=ca --etcd-endpoints=https://a", "relative path"),
        ("--etcd-certfile=c --etcd-keyfile=/k --etcd-endpoints=https://a", "relative path"),
        ("--etcd-keyfile=k --etcd-certfile=/c --etcd-endpoints=https://a", "relative path"),
        ("--etcd-keyfile=/k --etcd-endpoints=https://a", "--etcd-keyfile: it says nothing without --etcd-certfile"),
        ("--etcd-certfile=/c --etcd-endpoints=https://a", "--etcd-certfile: it says nothing without --etcd-keyfile"),
        ("--etcd-username=u", "--etcd-username: it says nothing without --etcd-password; give --etcd-password too"),
        ("--etcd-password=hunter2", "--etcd-password: it says nothing without --etcd-username"),
        ("--kube-subnet-mgr=maybe", "neither true nor false"),
        ("--net-config-path=x", "relative path"),
        ("--set-node-network-unavailable=x", "neither true nor false"),
        ("--node-name=a/b", "not a node name"),
        ("--iface=a-name-too-long-for-linux", "no interface can have this name"),
        ("--iface=eth0,eth1,eth2,eth3", "for several repeat --iface"),
        ("--iface-regex=(", "not a regular expression"),
        ("--iface-can-reach=host", "not an IP address"),
        ("--public-ip=2001:db8::1", "not an IPv4 address; write one, as in 192.0.2.1"),
        ("--public-ip=1.2.3", "not an IPv4 address"),
        ("--public-ipv6=192.0.2.1", "not an IPv6 address"),
        ("--ip-masq=yes", r#"--ip-masq = "yes": it is neither true nor false; write true or false"#),
        ("--ip-masq=", "neither true nor false"),
        ("--ip-masq-fully-random-disable=2", "neither true nor false"),
        ("--iptables-forward-rules=off", "neither true nor false"),
        ("--iptables-resync=0", "out of range"),
        ("--iptables-resync=-1", "not a whole number"),
        ("--ip-blackhole-route=x", "neither true nor false"),
        ("--ip-unreachable-route=x", "neither true nor false"),
        ("--ip-masq-address=host", "not an IP address"),
        ("--ip-masq-address=::", "no answer can come back to it"),
        ("--subnet-file=subnet.env", "relative path"),
        ("--subnet-file=", "relative path"),
        ("--state-directory=.", "relative path"),
        ("--status-socket=x.sock", "relative path"),
        ("--healthz-ip=localhost", "not an IP address"),
        ("--healthz-port=65536", "not a whole number that fits; write a whole number from 0 to 65535"),
        ("--log-format=xml", "there is no such format; write text or json"),
        ("--log-level=loud", "there is no such level"),
        ("--v=high", "not a whole number"),
        ("--logtostderr=x", "neither true nor false"),
        ("--check-config=x", "neither true nor false"),
        ("--subnet-file=/\u{fffd}", "bytes that are not UTF-8"),
    ] {
        let found = mistakes(argument, &[]);
        let flag = argument.split('=').next().unwrap();
        assert!(found.len() == 1 && found[0].contains(expected), "{argument}: {found:#?}");
        assert!(found[0].starts_with(flag) || expected.contains("endpoints"), "{argument}: {found:?}");
        assert!(!found[0].contains("hunter2"), "{found:?}");
    }
}

#[test]
fn what_is_no_flag_is_said_to_be_none() {
    for (arguments, expected) in [
        ("--ifaces=x", "--ifaces: there is no such flag; did you mean --iface? --help lists all flags"),
        ("--etcd-endpoint http://a --healthz-prot=1", "did you mean --etcd-endpoints?"),
        ("--frobnicate", "--frobnicate: there is no such flag; --help lists all flags"),
        ("--ip-masq true", r#"command line = "true": it is not a flag"#),
        ("-- x", r#"command line = "x": it is not a flag"#),
        ("-", r#"command line = "-": it is not a flag"#),
        ("--iface", "--iface: its value is missing; write --iface=…, or leave it out"),
        ("---iface=x", "---iface: there is no such flag; did you mean --iface?"),
    ] {
        let found = mistakes(arguments, &[]);
        assert!(found[0].contains(expected), "{arguments}: {found:#?}");
    }
}

#[test]
fn all_mistakes_are_told_together_each_by_the_name_it_was_written_with() {
    let environment = [("FLANNELD_PUBLIC_IP", "x"), ("FLANNELD_ETCD_KEYFILE", "/k"), ("FLANNELD_IP_MASQ", "si")];
    let found = mistakes("--v=x --nonsense --etcd-endpoints=https://a --iptables-resync=0", &environment);
    let keys: Vec<&str> = found.iter().map(|text| text.split([' ', ':']).next().unwrap()).collect();
    let expected =
        ["--nonsense", "FLANNELD_PUBLIC_IP", "FLANNELD_IP_MASQ", "--iptables-resync", "--v", "FLANNELD_ETCD_KEYFILE"];
    assert_eq!(keys, expected);
}

#[test]
fn a_host_without_a_name_is_asked_for_one() {
    let nameless = |arguments| read(&Invocation { host_name: String::new(), ..invoked(arguments, &[]) });
    let Err(Mistakes(found)) = nameless("") else { panic!("a node without a name") };
    assert_eq!(found[0].to_string(), "--node-name: this host has no name; give --node-name, or set NODE_NAME");
    assert!(nameless("--node-name=x").is_ok());
}

#[test]
fn the_help_is_the_golden_text() {
    let text = printed("--help", &[]);
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/help.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(golden).unwrap(), "UPDATE_GOLDEN=1 writes it anew");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "a line is longer than a terminal");
    assert_eq!(printed("-h --nonsense", &[]), text, "help is given to those who err");
    assert_eq!(printed("--version", &[]), format!("towpathd {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn print_config_says_every_value_and_its_origin_and_no_secret() {
    let text = printed(
        "--print-config --etcd-username=root --iface=eth0 --iface=eth1 --v=2",
        &[("FLANNELD_ETCD_PASSWORD", "hunter2"), ("FLANNELD_IP_MASQ", "true")],
    );
    for (setting, origin) in [
        ("store = etcd", "follows from --etcd-username"),
        ("etcd-username = root", "command line"),
        ("etcd-password = (hidden)", "environment FLANNELD_ETCD_PASSWORD"),
        ("etcd-prefix = /coreos.com/network", "default"),
        ("iface = eth0 eth1", "command line"),
        ("ip-masq = true", "environment FLANNELD_IP_MASQ"),
        ("log-level = debug", "follows from --v"),
        ("node-name = host-1", "host name"),
        (
            "(nftables table) = inet towpath, or inet towpath_run/flannel/subnet.env beside another instance",
            "follows from --subnet-file",
        ),
    ] {
        let line = text.lines().find(|line| line.starts_with(&format!("{setting} ")));
        assert!(line.is_some_and(|line| line.ends_with(&format!("# {origin}"))), "{setting}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!text.contains("vmodule"), "what means nothing and was not given is not shown");
    assert!(printed("--print-config --vmodule=x=1", &[]).contains("vmodule = x=1"));
}

#[test]
fn no_secret_is_in_the_settings_debug_output() {
    let settings = settings("--etcd-username=u --etcd-password=hunter2", &[]);
    assert!(!format!("{settings:?} {}", settings.store.identity()).contains("hunter2"));
}

fn checked(scratch: &Scratch, arguments: &str) -> Result<String, String> {
    let root = scratch.0.display();
    let places = format!(
        "--check-config --subnet-file={root}/run/s.env --state-directory={root}/state --status-socket={root}/t.sock"
    );
    match order(&format!("{places} {}", arguments.replace("ROOT", &root.to_string())), &[]) {
        Ok(Order::Check(settings)) => check(&settings).map_err(|mistakes| mistakes.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn check_config_looks_at_files_and_changes_none() {
    let scratch = Scratch::new("config-files");
    let write = |name: &str, text: &str| std::fs::write(scratch.0.join(name), text).unwrap();
    let notes = checked(&scratch, "--store-directory=ROOT/none").unwrap();
    assert!(notes.contains("none/net-conf.json is not there yet; the daemon will wait for it\n"), "{notes:?}");
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 0, "it made something");
    write("net-conf.json", r#"{"Network": "10.1.0.0/16", "Netwrok": 1}"#);
    assert!(checked(&scratch, "--store-directory=ROOT").unwrap().contains("Netwrok"));
    write("net-conf.json", r#"{"Network": "10.1.0.0/16", "SubnetLen": 99}"#);
    let wrong = checked(&scratch, "--store-directory=ROOT").unwrap_err();
    assert!(wrong.contains("net-conf.json: SubnetLen = \"99\""), "{wrong}");
    write("plain", "no certificate");
    write("pem", "-----BEGIN CERTIFICATE-----");
    let tls = "--etcd-endpoints=https://a --etcd-cafile=ROOT";
    assert_eq!(checked(&scratch, &format!("{tls}/pem")).unwrap(), "configuration is valid\n");
    assert!(checked(&scratch, &format!("{tls}/plain")).unwrap_err().contains("it holds no PEM block"));
    assert!(checked(&scratch, &format!("{tls}/gone")).unwrap_err().contains("it cannot be read"));
    let both = checked(&scratch, "--store-directory=ROOT/plain/x --status-socket=ROOT").unwrap_err();
    assert!(both.contains("plain is not a directory") && both.contains("--status-socket"), "{both}");
}
