//! [`Kubectl`]: kubectl with one identity, run where the API server is.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::kubernetes::Programs;
use crate::station::Station;
use crate::wait_for;

/// kubectl. Clones are the same.
#[derive(Clone)]
pub struct Kubectl {
    station: Station,
    programs: Programs,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(super) fn new(station: &Station, programs: &Programs, kubeconfig: PathBuf) -> Kubectl {
        Kubectl { station: station.clone(), programs: programs.clone(), kubeconfig }
    }

    /// Runs `kubectl` with words separated by spaces and gives what it prints. `kubectl.run("get nodes -o wide")`.
    ///
    /// # Errors
    /// What kubectl says; also when it takes longer than a minute.
    pub fn run(&self, words: &str) -> Result<String> {
        self.words(words.split_whitespace())
    }

    /// Like [`Kubectl::run`], for words with spaces in them.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn words<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>) -> Result<String> {
        self.feed(words, "")
    }

    /// Like [`Kubectl::words`], with text on standard input.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn feed<W: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = W>, input: &str) -> Result<String> {
        let words: Vec<W> = words.into_iter().collect();
        let mut command = self.programs.command("kubectl");
        // Nothing of the person's own: no cache, no preferences.
        let directory = self.station.directory();
        command.arg("--kubeconfig").arg(&self.kubeconfig).arg("--cache-dir").arg(directory.join("kubectl-cache"));
        command.args(&words).env("KUBERC", "off");
        let output = self.station.output(command, input)?;
        let said = words.iter().map(|word| word.as_ref().to_string_lossy()).collect::<Vec<_>>().join(" ");
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`kubectl {said}` ended with {}: {}", output.status, error.trim());
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Gets objects. `kubectl.json("get node alpha")`, without `-o json`.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn json(&self, words: &str) -> Result<Value> {
        let text = self.words(words.split_whitespace().chain(["-o", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.feed(["apply", "-f", "-"], manifest)
    }

    /// Waits until `look` is content with what `kubectl … -o json` shows.
    ///
    /// # Errors
    /// What was last seen instead.
    pub fn wait_json(&self, words: &str, limit: Duration, look: impl Fn(&Value) -> Result<()>) -> Result<()> {
        wait_for(&format!("`kubectl {words}` to show it"), limit, || look(&self.json(words)?))
    }

    /// The kubeconfig file that it uses.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }
}
