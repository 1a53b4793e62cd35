//! What becomes of a node's own lease and of the network's configuration by somebody else's hand, while the daemon runs and
//! while it does not.

use anyhow::{Context, Result};
use netns_harness::Daemon;

use crate::ask::{status, wait_page, wait_well};
use crate::cluster::{Cluster, DUAL, PREFIX, SINGLE, subnets, wait_route};
use crate::lease::{Ghost, put, subnet};
use crate::picture::Picture;

/// Writes something into the place of a lease.
fn overwrite(cluster: &Cluster, key: &str, text: &str) -> Result<()> {
    match cluster.directory() {
        Ok(store) => Ok(std::fs::write(store.join("leases").join(key), text)?),
        Err(_) => put(cluster.etcd()?, key, text),
    }
}

fn key_of(daemon: &Daemon) -> Result<String> {
    Ok(status(daemon)?["lease"]["key"].as_str().context("a key")?.to_owned())
}

fn scribbled_over(mut cluster: Cluster) -> Result<()> {
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let (key, own) = (key_of(&alpha)?, subnets(&alpha)?);
    let pictures = [Picture::of(alpha.node())?, Picture::of(beta.node())?];
    for text in ["\u{0}", "{\"half\": ", "{}"] {
        for running in [true, false] {
            if !running {
                alpha.stop()?;
            }
            overwrite(&cluster, &key, text)?;
            if !running {
                alpha.restart()?;
            }
            wait_well(&alpha)?;
            wait_well(&beta)?;
            crate::cluster::wait_picture(beta.node(), &pictures[1])?;
            crate::cluster::wait_picture(alpha.node(), &pictures[0])?;
            assert_eq!(subnets(&alpha)?, own, "`{text}`, running: {running}; {}", alpha.log());
        }
    }
    Ok(())
}

#[test]
fn an_own_lease_that_was_scribbled_over_is_put_right_in_a_directory() -> Result<()> {
    scribbled_over(Cluster::on_directory("scribbledir", DUAL)?)
}

#[test]
fn an_own_lease_that_was_scribbled_over_is_put_right_in_etcd() -> Result<()> {
    scribbled_over(Cluster::on_etcd("scribbleetcd", DUAL)?)
}

#[test]
fn a_subnet_that_was_given_away_while_the_node_was_down_stays_with_its_new_holder() -> Result<()> {
    let mut cluster = Cluster::on_etcd("givenaway", SINGLE)?;
    let [alpha, beta] = cluster.join_all(["alpha", "beta"])?;
    let own = subnet(&alpha)?;
    alpha.stop()?;
    let heir = Ghost { subnet: own.to_string(), ..Ghost::numbered(211) };
    cluster.etcd()?.ctl(&["del", &format!("{PREFIX}/subnets/{}", heir.key())])?;
    heir.put(cluster.etcd()?)?;
    alpha.restart()?;
    wait_well(&alpha)?;
    cluster.wait_acquainted()?;
    assert_ne!(subnet(&alpha)?, own);
    wait_route(alpha.node(), &own)?;
    wait_route(beta.node(), &own)
}

#[test]
fn a_configuration_that_goes_away_is_named_and_changes_nothing() -> Result<()> {
    let mut cluster = Cluster::on_directory("noconf", SINGLE)?;
    let [alpha, _beta] = cluster.join_all(["alpha", "beta"])?;
    let picture = Picture::of(alpha.node())?;
    let file = cluster.directory()?.join("net-conf.json");
    std::fs::remove_file(&file)?;
    wait_page(&alpha, 200, "write the network's configuration to it")?;
    std::fs::create_dir(&file)?;
    wait_page(&alpha, 200, "it is not a regular file")?;
    std::fs::remove_dir(&file)?;
    std::fs::File::create(&file)?.set_len(100 << 20)?;
    wait_page(&alpha, 200, "bytes long, at most")?;
    picture.compare(&Picture::of(alpha.node())?)?;
    // And a start does not need it either.
    alpha.stop()?;
    alpha.restart()?;
    wait_page(&alpha, 200, "bytes long, at most")?;
    picture.compare(&Picture::of(alpha.node())?)?;
    std::fs::remove_file(&file)?;
    cluster.configure(SINGLE)?;
    wait_well(&alpha)
}
