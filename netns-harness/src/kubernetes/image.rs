//! [`Image`] and [`Layer`]: container images made of local files, in an archive as `docker save` writes it; there is no registry
//! here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use crate::kubernetes::tar::Tar;
use crate::namespace::finish;

/// What is in a layer, by its path in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A file of this machine, executable.
    File(PathBuf),
    /// A symbolic link.
    Link(String),
    /// A text.
    Text(String),
    /// A directory that everybody may write to.
    Scratch,
}

/// Files that several images share. On disk as a tar, with its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    digest: String,
    file: PathBuf,
}

/// An image of layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Such as `localhost/podtool:1`.
    pub references: Vec<String>,
    /// The lowest first.
    pub layers: Vec<Layer>,
    /// What it runs.
    pub entrypoint: String,
}

impl Layer {
    /// Writes a layer as `file`.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn write(file: &Path, contents: &[(String, Content)]) -> Result<Layer> {
        let mut tar = Tar::create(file)?;
        for (path, content) in contents {
            match content {
                Content::File(source) => tar.file(path, source),
                Content::Link(target) => tar.link(path, target),
                Content::Text(text) => tar.text(path, text),
                Content::Scratch => tar.directory(path, 0o1777),
            }
            .with_context(|| format!("{path} in an image"))?;
        }
        tar.finish()?;
        Ok(Layer { digest: digest(Command::new("sha256sum").arg(file), "")?, file: file.to_owned() })
    }
}

impl Image {
    /// Writes images into one archive, each layer once.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_archive(file: &Path, images: &[Image]) -> Result<()> {
        let mut tar = Tar::create(file)?;
        let (mut manifest, mut written) = (Vec::new(), BTreeSet::new());
        for image in images {
            let config = image.config().to_string();
            let name = format!("{}.json", digest(&mut Command::new("sha256sum"), &config)?);
            tar.text(&name, &config)?;
            for layer in &image.layers {
                if written.insert(&layer.digest) {
                    tar.file(&layer.name(), &layer.file)?;
                }
            }
            let layers: Vec<_> = image.layers.iter().map(Layer::name).collect();
            manifest.push(json!({ "Config": name, "RepoTags": image.references, "Layers": layers }));
        }
        tar.text("manifest.json", &serde_json::Value::from(manifest).to_string())?;
        tar.finish()
    }

    fn config(&self) -> serde_json::Value {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let layers: Vec<_> = self.layers.iter().map(|layer| format!("sha256:{}", layer.digest)).collect();
        json!({
            "architecture": architecture,
            "os": "linux",
            // Without a difference two images would be one.
            "comment": self.references.first(),
            "config": {
                "Entrypoint": [self.entrypoint],
                "Env": ["PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "rootfs": { "type": "layers", "diff_ids": layers },
        })
    }
}

impl Layer {
    /// In an archive.
    fn name(&self) -> String {
        format!("{}/layer.tar", self.digest)
    }
}

/// A SHA-256 in hexadecimal digits, by `sha256sum`.
fn digest(command: &mut Command, input: &str) -> Result<String> {
    let said = finish(command, Some(input))?;
    said.split_whitespace().next().map(str::to_owned).context("sha256sum says nothing")
}
