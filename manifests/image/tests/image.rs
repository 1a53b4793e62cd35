//! The image's form: what a runtime finds in it, and that it is the same each time. No privilege, made-up programs.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};
use towpath_image::{Architecture, Contents, Image, ImageError, build};

/// A directory of this test's own, with the three programs; gone at the end.
struct Binaries(PathBuf);

impl Binaries {
    fn new(test: &str, program: &[u8]) -> Binaries {
        let directory = std::env::temp_dir().join(format!("towpath-image-{test}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for name in ["towpath", "towpathctl", "towpathd"] {
            fs::write(directory.join(name), [program, name.as_bytes()].concat()).unwrap();
        }
        Binaries(directory)
    }

    fn image(&self) -> Result<Image, ImageError> {
        let reference = "localhost/towpath:v9".to_owned();
        build(&Contents { binaries: self.0.clone(), architecture: Architecture::Amd64, reference })
    }
}

impl Drop for Binaries {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// An ELF header with one program header, of type PT_LOAD (1) or PT_INTERP (3).
fn elf(machine: u16, kind: u32) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 56];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
    bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
    bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
    bytes[64..68].copy_from_slice(&kind.to_le_bytes());
    bytes
}

fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(tar);
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.gid().unwrap()), (0, 0, 0));
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        match entry.link_name().unwrap() {
            Some(target) => bytes.extend(format!("link to {}", target.display()).bytes()),
            None => drop(entry.read_to_end(&mut bytes).unwrap()),
        }
        assert!(files.insert(path.clone(), bytes).is_none(), "{path} is there twice");
    }
    files
}

#[test]
fn the_same_programs_give_the_same_bytes() {
    let (one, other) = (Binaries::new("one", &elf(62, 1)), Binaries::new("other", &elf(62, 1)));
    let (one, other) = (one.image().unwrap(), other.image().unwrap());
    assert_eq!(one.digest, other.digest);
    assert!(one.tar == other.tar);
    let changed = Binaries::new("changed", &[elf(62, 1), vec![0]].concat()).image().unwrap();
    assert_ne!(one.digest, changed.digest);
}

#[test]
fn every_digest_in_the_layout_is_that_of_its_blob() {
    let image = Binaries::new("digests", &elf(62, 1)).image().unwrap();
    let files = files(&image.tar);
    for (path, bytes) in &files {
        if let Some(hex) = path.strip_prefix("blobs/sha256/") {
            assert_eq!(hex, Sha256::digest(bytes).iter().map(|octet| format!("{octet:02x}")).collect::<String>());
        }
    }
    let json = |path: &str| serde_json::from_slice::<Value>(&files[path]).unwrap();
    let blob = |descriptor: &Value| {
        let bytes = &files[&descriptor["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/")];
        assert_eq!(descriptor["size"], bytes.len());
        bytes.clone()
    };
    let entry = &json("index.json")["manifests"][0];
    assert_eq!(entry["digest"], image.digest.as_str());
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "localhost/towpath:v9");
    let manifest: Value = serde_json::from_slice(&blob(entry)).unwrap();
    let config: Value = serde_json::from_slice(&blob(&manifest["config"])).unwrap();
    let mut layer = Vec::new();
    GzDecoder::new(blob(&manifest["layers"][0]).as_slice()).read_to_end(&mut layer).unwrap();
    let diff_id: String = Sha256::digest(&layer).iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{diff_id}"));
    assert_eq!(json("manifest.json")[0]["RepoTags"][0], "localhost/towpath:v9");
    let names: Vec<_> = self::files(&layer).into_iter().map(|(path, bytes)| (path, bytes.len())).collect();
    let names: Vec<&str> = names.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        names,
        [
            "bin/",
            "bin/cp",
            "etc/",
            "etc/nsswitch.conf",
            "flannel",
            "opt/",
            "opt/bin/",
            "opt/bin/flanneld",
            "opt/bin/install-conf",
            "opt/bin/kubectl-towpath",
            "opt/bin/towpath",
            "opt/bin/towpathctl",
            "opt/bin/towpathd",
        ]
    );
    assert_eq!(self::files(&layer)["opt/bin/flanneld"], b"link to opt/bin/towpathd");
}

#[test]
fn what_could_not_start_in_an_empty_image_is_refused_by_name() {
    let refusal = |test: &str, program: &[u8]| Binaries::new(test, program).image().unwrap_err().to_string();
    assert!(refusal("loader", &elf(62, 3)).contains("towpath asks for a dynamic loader"));
    assert!(refusal("machine", &elf(183, 1)).contains("towpath is not a program for amd64"));
    assert!(refusal("script", b"#!/bin/sh\n").contains("is not a program"));
    let none = Binaries::new("none", b"");
    fs::remove_file(none.0.join("towpath")).unwrap();
    assert!(none.image().unwrap_err().to_string().contains("make image"));
}

#[test]
fn a_name_without_a_tag_is_refused() {
    let binaries = Binaries::new("name", &elf(62, 1));
    for name in ["towpath", "towpath:", ":v1", "a b:v1", "localhost:5000/towpath"] {
        let contents =
            Contents { binaries: binaries.0.clone(), architecture: Architecture::Amd64, reference: name.to_owned() };
        let error = build(&contents).unwrap_err();
        assert!(matches!(error, ImageError::Reference(_)), "{name}: {error}");
    }
}
