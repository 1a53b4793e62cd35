//! `--check-config`, beyond what reading the flags finds: whether the files they name are there and can be used. It changes
//! nothing.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use rustix::fs::{Access, access};

use super::mistake::{Mistake, Mistakes};
use super::settings::{KubernetesSettings, Settings, StoreSettings, TlsFiles};
use crate::netconf::{self, Division};
use crate::store::kubernetes;

/// Looks at the files. Gives what is to be printed: a line for what is worth saying, and that the configuration is valid.
///
/// # Errors
/// [`Mistakes`]: all of them.
pub fn check(settings: &Settings) -> Result<String, Mistakes> {
    let mut mistakes = Vec::new();
    let mut notes = Vec::new();
    match &settings.store {
        StoreSettings::Etcd(etcd) => mistakes.extend(certificates(&etcd.tls)),
        StoreSettings::Kubernetes(kubernetes) => mistakes.extend(kubeconfig(kubernetes)),
        StoreSettings::Directory { path } => {
            mistakes.extend(usable_directory("--store-directory", path));
        }
    }
    let file = match &settings.store {
        StoreSettings::Etcd(_) => None,
        StoreSettings::Kubernetes(_) => Some(settings.net_config_path.clone()),
        StoreSettings::Directory { path } => Some(path.join("net-conf.json")),
    };
    match file.map_or(Ok(Vec::new()), |file| network(&file, Division::of(&settings.store))) {
        Ok(found) => notes.extend(found),
        Err(Mistakes(found)) => mistakes.extend(found),
    }
    let parent = |path: &'_ Path| path.parent().unwrap_or(Path::new("/")).to_owned();
    mistakes.extend(usable_directory("--subnet-file", &parent(&settings.subnet_file)));
    mistakes.extend(usable_directory("--state-directory", &parent(&settings.state_file)));
    mistakes.extend(usable_directory("--status-socket", &parent(&settings.status_socket)));
    for (key, path) in [("--subnet-file", &settings.subnet_file), ("--status-socket", &settings.status_socket)] {
        if path.is_dir() {
            mistakes.push(Mistake::of(key, &path.to_string_lossy(), ("it is a directory", "name a file in it")));
        }
    }
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    notes.push("configuration is valid".to_owned());
    Ok(notes.into_iter().map(|note| note + "\n").collect())
}

/// The directory, or the nearest one above it that exists, takes new files.
fn usable_directory(key: &str, path: &Path) -> Option<Mistake> {
    let existing = path.ancestors().find(|above| fs::symlink_metadata(above).is_ok())?;
    let shown = path.to_string_lossy();
    if !existing.is_dir() {
        let why = format!("{} is not a directory", existing.display());
        return Some(Mistake::of(key, &shown, (why, "remove it, or name another place")));
    }
    let refused = access(existing, Access::WRITE_OK | Access::EXEC_OK).err()?;
    let why = format!("nothing can be written in {}: {refused}", existing.display());
    Some(Mistake::of(key, &shown, (why, "allow it to the user that runs towpathd, or name another place")))
}

fn certificates(tls: &TlsFiles) -> Vec<Mistake> {
    let client = tls.client.iter();
    let files =
        tls.ca.iter().map(|ca| ("--etcd-cafile", ca)).chain(
            client.flat_map(|client| [("--etcd-certfile", &client.certificate), ("--etcd-keyfile", &client.key)]),
        );
    files.filter_map(|(key, path)| not_pem(key, path)).collect()
}

/// A kubeconfig and what it names. Without one the pod's own account is used, which is not here where somebody checks.
fn kubeconfig(settings: &KubernetesSettings) -> Option<Mistake> {
    let path = settings.kubeconfig.as_ref()?;
    let error = kubernetes::check(settings).err()?;
    Some(Mistake::of("--kubeconfig-file", &path.to_string_lossy(), (error.to_string(), "correct it, or name another")))
}

fn not_pem(key: &str, path: &Path) -> Option<Mistake> {
    let shown = path.to_string_lossy();
    match read_at_most(path, 1 << 20) {
        Err(error) => Some(Mistake::of(key, &shown, (format!("it cannot be read: {error}"), "name a file that can"))),
        Ok(text) if text.contains("-----BEGIN ") => None,
        Ok(_) => {
            Some(Mistake::of(key, &shown, ("it holds no PEM block", "name a file with `-----BEGIN …-----` in it")))
        }
    }
}

/// net-conf.json as a file; absent is not wrong: the daemon waits for it.
fn network(path: &Path, division: Division) -> Result<Vec<String>, Mistakes> {
    let name = path.display().to_string();
    match read_at_most(path, netconf::LONGEST as u64 + 1) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(vec![format!("{name} is not there yet; the daemon will wait for it")])
        }
        Err(error) => {
            let why = format!("it cannot be read: {error}");
            Err(Mistakes(vec![Mistake::of(&name, "", (why, "allow it to the user that runs towpathd"))]))
        }
        Ok(text) => match netconf::read(&text, division) {
            Ok(network) => Ok(network.warnings.into_iter().map(|warning| format!("{name}: {warning}")).collect()),
            Err(Mistakes(found)) => {
                let located = |mistake: Mistake| Mistake { key: format!("{name}: {}", mistake.key), ..mistake };
                Err(Mistakes(found.into_iter().map(located).collect()))
            }
        },
    }
}

fn read_at_most(path: &Path, octets: u64) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(octets).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
