//! `towpath-image`: writes the image to a file and says its digest. `make image` runs it.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use towpath_image::{Architecture, Contents, build};

/// Write the container image: static towpathd, towpathctl and towpath, and nothing else.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The directory with the static binaries
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,
    /// What machine they are for
    #[arg(long, value_name = "amd64|arm64", default_value = "amd64")]
    architecture: Architecture,
    /// The image's name and tag
    #[arg(long, value_name = "NAME:TAG", default_value = concat!("localhost/towpath:v", env!("CARGO_PKG_VERSION")))]
    name: String,
    /// The tar file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let Arguments { binaries, architecture, name, output } = Arguments::parse();
    let image = build(&Contents { binaries, architecture, reference: name.clone() })?;
    std::fs::write(&output, &image.tar).with_context(|| format!("cannot write {}", output.display()))?;
    println!("{name}\n{}\n{} ({} octets)", image.digest, output.display(), image.tar.len());
    Ok(())
}
