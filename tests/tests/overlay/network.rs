//! The network's configuration changes while daemons run: the kernel follows, and what cannot be used changes nothing.

use anyhow::{Result, ensure};
use netns_harness::{Matrix, Station, wait_for};

use crate::cluster::{Cluster, DUAL, LIMIT, told};
use crate::picture::Picture;

#[test]
fn another_vni_port_and_mtu_are_followed_live_on_a_directory() -> Result<()> {
    another_vni_port_and_mtu_are_followed_live(Cluster::on_directory("vnidir", DUAL)?)
}

#[test]
fn another_vni_port_and_mtu_are_followed_live_on_etcd() -> Result<()> {
    another_vni_port_and_mtu_are_followed_live(Cluster::on_etcd("vnietcd", DUAL)?)
}

fn another_vni_port_and_mtu_are_followed_live(mut cluster: Cluster) -> Result<()> {
    let daemons = cluster.join_all(["alpha", "beta"])?;
    let pods = daemons.iter().map(|daemon| cluster.pod(daemon, "web")).collect::<Result<Vec<_>>>()?;
    let stations: Vec<&Station> = pods.iter().map(|pod| &**pod).collect();
    let steps = [
        (r#"{"Type": "vxlan", "VNI": 42}"#, ".42:", "vxlan id 42 ", "dstport 8472 ", "1430"),
        (r#"{"Type": "vxlan", "VNI": 42, "Port": 4789}"#, "a42:", "vxlan id 42 ", "dstport 4789 ", "1430"),
        (r#"{"Type": "vxlan", "VNI": 42, "Port": 4789, "MTU": 1400}"#, "a42:", "vxlan id 42 ", "mtu 1350 ", "1330"),
        (r#"{"Type": "vxlan", "Learning": true}"#, ".1:", "vxlan id 1 ", "dstport 8472 ttl ", "1430"),
        (r#"{"Type": "vxlan", "GBP": true}"#, ".1:", "vxlan id 1 ", " gbp ", "1430"),
        (r#"{"Type": "vxlan"}"#, ".1:", "vxlan id 1 ", "dstport 8472 ", "1430"),
    ];
    for (backend, device, vni, attribute, mtu) in steps {
        cluster.configure(&DUAL.replace('}', &format!(", \"Backend\": {backend}}}")))?;
        for daemon in &daemons {
            wait_for(&format!("{} to follow {backend}", daemon.node().name()), LIMIT, || {
                let picture = Picture::of(daemon.node())?;
                let links = picture.lines(&["link N flannel"]);
                let right = links.iter().all(|link| link.contains(device) && link.contains(vni));
                ensure!(links.len() == 2 && right, "{links:#?}");
                ensure!(links.iter().any(|link| link.contains(attribute)), "{links:#?}");
                ensure!(told(daemon, "FLANNEL_MTU")? == mtu, "subnet.env: {}", told(daemon, "FLANNEL_MTU")?);
                Ok(())
            })?;
        }
        wait_for("the pods to talk", LIMIT, || Matrix::measure(&stations)?.check())?;
    }
    Ok(())
}

#[test]
fn a_configuration_that_cannot_be_used_is_named_and_the_last_good_one_stays() -> Result<()> {
    let mut cluster = Cluster::on_directory("badconf", DUAL)?;
    let [alpha] = cluster.join_all(["alpha"])?;
    let picture = Picture::of(alpha.node())?;
    let looks = alpha.metric("towpath_looks_total")?;
    for (text, said) in [
        ("{\"Network\": \"10.244.0.0/16\", ", "net-conf.json"),
        ("{\"Network\": \"10.244.0.0/16\", \"Backend\": {\"Type\": \"ipsec\"}}", "ipsec"),
        ("{\"Network\": \"10.244.0.0/16\", \"Backend\": {\"Type\": \"vxlan\", \"VNI\": 16777216}}", "VNI"),
    ] {
        cluster.configure(text)?;
        alpha.wait_log(said, LIMIT)?;
        picture.compare(&Picture::of(alpha.node())?)?;
    }
    cluster.configure(DUAL)?;
    alpha.wait_ready(LIMIT)?;
    picture.compare(&Picture::of(alpha.node())?)?;
    assert!(alpha.metric("towpath_looks_total")? >= looks);
    Ok(())
}
