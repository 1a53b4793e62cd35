//! [`Programs`]: where `make lab-kubernetes` put what the lab is made of. It builds nothing itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What `go/kubernetes/go.mod` says.
pub const KUBERNETES_VERSION: &str = "1.36.3";

/// The directory with the lab's own programs: Kubernetes by the name of each component, CoreDNS, podtool.
#[derive(Clone, Debug)]
pub struct Programs {
    directory: PathBuf,
}

impl Programs {
    /// Those of this state of the sources. The build itself says where they are, so that there is one answer.
    ///
    /// # Errors
    /// When they are not built: how to build them.
    pub fn built() -> Result<Programs> {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("go/build");
        let said = Command::new(&build).arg("--where").output();
        let said = said.with_context(|| format!("cannot start {}", build.display()))?;
        ensure!(said.status.success(), "{} --where: {}", build.display(), String::from_utf8_lossy(&said.stderr).trim());
        let directory = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
        ensure!(
            directory.join("kubernetes").is_file(),
            "no Kubernetes in {}: run `make lab-kubernetes` once (about ten minutes)",
            directory.display()
        );
        Ok(Programs { directory })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A program: `kubectl`, `kube-apiserver`, `etcd`, `coredns`, `podtool` …
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A command that runs a program.
    pub fn command(&self, name: &str) -> Command {
        Command::new(self.path(name))
    }
}
