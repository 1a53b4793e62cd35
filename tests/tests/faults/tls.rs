//! etcd behind TLS: certificates that do not fit are named, and used as soon as they are replaced.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use netns_harness::{Binaries, EtcdOptions, Lab, Store};

use crate::ask::{lines, wait_page, wait_well};
use crate::cluster::{Cluster, PREFIX, SINGLE, subnets};
use crate::picture::Picture;

/// Authorities and the certificates that they signed, as files.
struct Authorities(PathBuf);

impl Authorities {
    fn make(directory: &Path) -> Result<Authorities> {
        let authorities = Authorities(directory.join("tls"));
        std::fs::create_dir(&authorities.0)?;
        for ca in ["right", "wrong"] {
            let name = format!("/CN={ca}");
            let words = ["-x509", "-subj", &name, "-addext", "keyUsage=critical,keyCertSign,cRLSign"];
            authorities.openssl(&[&["req"], words.as_slice()].concat(), ca)?;
            authorities.sign(ca, "server", "subjectAltName=IP:192.0.2.1,IP:127.0.0.1")?;
            authorities.sign(ca, "client", "extendedKeyUsage=clientAuth")?;
        }
        Ok(authorities)
    }

    fn sign(&self, ca: &str, whose: &str, extension: &str) -> Result<()> {
        let name = format!("{ca}-{whose}");
        let [ca, key] = [format!("{ca}.pem"), format!("{ca}.key")].map(|file| self.file(&file));
        let subject = format!("/CN={whose}");
        let words = ["req", "-x509", "-subj", &subject, "-addext", extension, "-addext", "basicConstraints=CA:FALSE"];
        self.openssl(&[words.as_slice(), &["-CA", &ca, "-CAkey", &key]].concat(), &name)
    }

    /// A new key, and a certificate for it.
    fn openssl(&self, words: &[&str], name: &str) -> Result<()> {
        let [certificate, key] = [format!("{name}.pem"), format!("{name}.key")].map(|file| self.file(&file));
        let key_kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
        let mut command = Command::new("openssl");
        command.args(words).args(key_kind).args(["-keyout", &key, "-out", &certificate]);
        let output = command.output().context("openssl cannot be started: install the Debian package openssl")?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// Puts a file in the place of another, as a tool that renews certificates does.
    fn use_as(&self, from: &str, to: &str) -> Result<()> {
        std::fs::copy(self.0.join(from), self.0.join("fresh"))?;
        Ok(std::fs::rename(self.0.join("fresh"), self.0.join(to))?)
    }
}

#[test]
fn certificates_that_do_not_fit_are_named_and_used_when_they_are_replaced() -> Result<()> {
    let lab = Lab::new("certificates")?;
    let files = Authorities::make(lab.directory())?;
    let flag = |flag: &str, file: &str| format!("--{flag}={}", files.file(file));
    let flags = vec![
        flag("cert-file", "right-server.pem"),
        flag("key-file", "right-server.key"),
        flag("trusted-ca-file", "right.pem"),
        "--client-cert-auth=true".to_owned(),
    ];
    let etcd = lab.etcd(&EtcdOptions { flags })?;
    let as_client = [flag("cacert", "right.pem"), flag("cert", "right-client.pem"), flag("key", "right-client.key")];
    let words: Vec<&str> = as_client.iter().map(String::as_str).collect();
    etcd.ctl(&[words.as_slice(), &["put", &format!("{PREFIX}/config"), SINGLE]].concat())?;

    for (from, to) in [("wrong.pem", "ca.pem"), ("wrong-client.pem", "client.pem"), ("wrong-client.key", "client.key")]
    {
        files.use_as(from, to)?;
    }
    let store = Store::Etcd(etcd.endpoints()?);
    let mut cluster =
        Cluster { binaries: Binaries::built()?, store, daemons: Vec::new(), etcd: Some(etcd.clone()), lab };
    let node = cluster.lab.node("alpha")?;
    let flags = [("etcd-cafile", "ca.pem"), ("etcd-certfile", "client.pem"), ("etcd-keyfile", "client.key")];
    let alpha = cluster.start(&node, |options| {
        flags.into_iter().fold(options, |options, (name, file)| options.flag(flag(name, file)))
    })?;
    wait_page(&alpha, 503, "its certificate is not signed by an authority in")?;
    assert_eq!(lines(&alpha, 0, &["WARN", "not signed by an authority"]).len(), 1);
    files.use_as("right.pem", "ca.pem")?;
    wait_page(&alpha, 503, "give --etcd-certfile and --etcd-keyfile")?;
    files.use_as("right-client.pem", "client.pem")?;
    files.use_as("right-client.key", "client.key")?;
    wait_well(&alpha)?;

    let (before, picture) = (subnets(&alpha)?, Picture::of(&node)?);
    std::fs::remove_file(files.file("client.key"))?;
    etcd.kill()?;
    etcd.restart()?;
    wait_page(&alpha, 200, "client.key cannot be read: No such file or directory")?;
    std::fs::write(files.file("client.key"), "-----BEGIN nonsense")?;
    wait_page(&alpha, 200, "degraded: the store cannot be used")?;
    picture.compare(&Picture::of(&node)?)?;
    files.use_as("right-client.key", "client.key")?;
    wait_well(&alpha)?;
    assert_eq!(subnets(&alpha)?, before);
    picture.compare(&Picture::of(&node)?)
}
