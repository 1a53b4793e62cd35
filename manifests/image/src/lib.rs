//! The container image as one tar file: an OCI image layout with one layer, from scratch. Same binaries, same bytes: every
//! time stamp is 0, every owner is root, every order is written here.
//!
//! It does not build the binaries, and needs no container tool. `ctr -n k8s.io images import FILE`, `podman load -i FILE`

#![forbid(unsafe_code)]

mod archive;
mod layer;
mod machine;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use archive::{Archive, Blob};
pub use machine::Architecture;

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A binary cannot be read.
    #[error("cannot read {}: {source}; `make image` builds it", path.display())]
    Binary {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// An image from scratch has no loader.
    #[error("{} asks for a dynamic loader, and the image has none: build it with -C target-feature=+crt-static", path.display())]
    NotStatic {
        /// Which.
        path: PathBuf,
    },
    /// Not a program, or one for another kind of machine.
    #[error("{} is not a program for {wanted}", path.display())]
    WrongMachine {
        /// Which.
        path: PathBuf,
        /// What it should be for.
        wanted: Architecture,
    },
    /// `name:tag` is no reference.
    #[error("`{0}` is not the name of an image with a tag, like localhost/towpath:v1")]
    Reference(String),
    /// Writing in memory failed.
    #[error("the archive cannot be written: {0}")]
    Write(#[from] std::io::Error),
}

/// What goes into an image.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Where `towpathd`, `towpathctl` and `towpath` are.
    pub binaries: PathBuf,
    /// What machine they are for.
    pub architecture: Architecture,
    /// The image's name and tag: `localhost/towpath:v0.1.0`.
    pub reference: String,
}

/// An image, ready to be written to a file.
#[derive(Clone, Debug)]
pub struct Image {
    /// The tar file's bytes.
    pub tar: Vec<u8>,
    /// The digest of its manifest, `sha256:…`: what a registry and a runtime call it.
    pub digest: String,
}

/// Where binaries are found in a container, for commands without a path (`cp` in an init container).
const PATH: &str = "PATH=/opt/bin:/bin";

/// Builds the image.
///
/// # Errors
/// A binary that is not there, not static, or for another machine; a name that is none.
pub fn build(contents: &Contents) -> Result<Image, ImageError> {
    let (name, tag) = reference(&contents.reference)?;
    let layer = layer::build(&contents.binaries, contents.architecture)?;
    let mut archive = Archive::default();
    let layer_blob = archive.add(LAYER, layer.compressed);
    let config = archive.add(CONFIG, text(&config(contents.architecture, tag, &layer.diff_id)));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(&config),
        "layers": [descriptor(&layer_blob)],
    });
    let manifest = archive.add(MANIFEST, text(&manifest));
    let mut entry = descriptor(&manifest);
    entry["platform"] = json!({ "architecture": contents.architecture.to_string(), "os": "linux" });
    // The first is the layout's own name for it; the second is the one that containerd takes as the whole name.
    entry["annotations"] = json!({
        "io.containerd.image.name": format!("{name}:{tag}"),
        "org.opencontainers.image.ref.name": tag,
    });
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] });
    // For those that read only Docker's own form: the same blobs.
    let docker = json!([{
        "Config": config.path(), "RepoTags": [format!("{name}:{tag}")], "Layers": [layer_blob.path()],
    }]);
    archive.put("index.json", text(&index));
    archive.put("manifest.json", text(&docker));
    archive.put("oci-layout", text(&json!({ "imageLayoutVersion": "1.0.0" })));
    Ok(Image { tar: archive.finish()?, digest: manifest.digest() })
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// How a container of it is run when nobody says otherwise (OCI image specification, config.md).
fn config(architecture: Architecture, tag: &str, diff_id: &str) -> Value {
    json!({
        "architecture": architecture.to_string(),
        "os": "linux",
        "created": EPOCH,
        "config": {
            "Entrypoint": ["/opt/bin/towpathd"],
            "Env": [PATH],
            "Labels": {
                "org.opencontainers.image.licenses": "Apache-2.0",
                "org.opencontainers.image.title": "towpath",
                "org.opencontainers.image.version": tag,
            },
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created": EPOCH, "created_by": "towpath-image" }],
    })
}

/// No image says when it was made: it would be another each time.
const EPOCH: &str = "1970-01-01T00:00:00Z";

fn descriptor(blob: &Blob) -> Value {
    json!({ "mediaType": blob.media_type, "digest": blob.digest(), "size": blob.size })
}

/// A map's keys are sorted, so that equal values have equal texts.
fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Name and tag.
fn reference(text: &str) -> Result<(&str, &str), ImageError> {
    let allowed = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    match text.rsplit_once(':') {
        Some((name, tag)) if allowed(name, "._-/:") && allowed(tag, "._-") => Ok((name, tag)),
        _ => Err(ImageError::Reference(text.to_owned())),
    }
}

/// Reads a binary.
fn read(path: &Path) -> Result<Vec<u8>, ImageError> {
    std::fs::read(path).map_err(|source| ImageError::Binary { path: path.to_owned(), source })
}
