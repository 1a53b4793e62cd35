//! The runtime's configuration: our own text or the operator's, written by a rename inside its directory, because runtimes
//! watch for that and miss a file that comes from another directory or grows in place.

use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::{ConfigurationSettings, PluginSettings, plugins};
use crate::whole_file;

/// What stands there when nobody says what should.
const OWN: &str = include_str!("../../../manifests/10-towpath.conflist");

/// Anybody may read it.
const MODE: u32 = 0o644;

/// No configuration is longer.
const LONGEST: u64 = 1 << 20;

/// What was found where the configuration belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Nothing had to be done.
    AsItWas,
    /// Nothing was there.
    Missing,
    /// Another text was there.
    Other,
}

/// Puts the configuration in its place, if it is not there.
///
/// # Errors
/// One sentence.
pub(super) fn install(settings: &ConfigurationSettings) -> Result<Written, String> {
    let text = text(settings)?;
    let path = settings.path();
    let found = match fs::read(&path) {
        Ok(found) if found == text.as_bytes() => return Ok(Written::AsItWas),
        Ok(_) => Written::Other,
        Err(_) => Written::Missing,
    };
    whole_file::replace(&path, MODE, |out| out.write_all(text.as_bytes())).map_err(|error| {
        format!(
            "the CNI configuration {} cannot be written: {error}; mount that directory of the host into the pod, writable, or \
             name another by --cni-conf-dir",
            path.display()
        )
    })?;
    Ok(found)
}

/// The text that is to stand there.
fn text(settings: &ConfigurationSettings) -> Result<String, String> {
    let Some(source) = &settings.source else { return Ok(OWN.to_owned()) };
    let wrong = |why: String| {
        let fix = "correct it, or leave --cni-conf-file out; what was installed before stays";
        format!("the CNI configuration {} is not installed: {why}; {fix}", source.display())
    };
    let size = fs::metadata(source).map_err(|error| wrong(error.to_string()))?.len();
    if size > LONGEST {
        return Err(wrong(format!("it is longer than {LONGEST} octets")));
    }
    let text = fs::read_to_string(source).map_err(|error| wrong(error.to_string()))?;
    judge(&text).map_err(wrong)?;
    Ok(text)
}

/// A runtime refuses what is no network configuration list (CNI specification 1.1, section 1), and then the node is not ready.
fn judge(text: &str) -> Result<(), String> {
    let list: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let name = list.get("name").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err("it has no `name`".to_owned());
    }
    let plugins = list.get("plugins").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let typed = |plugin: &Value| plugin.get("type").is_some_and(Value::is_string);
    match plugins {
        [] => Err("it has no `plugins`".to_owned()),
        plugins if plugins.iter().all(typed) => Ok(()),
        _ => Err("one of its `plugins` has no `type`".to_owned()),
    }
}

/// Another network's configuration, which the runtime takes before ours: it takes the first by name.
pub(super) fn shadow(settings: &ConfigurationSettings) -> Option<String> {
    // What libcni takes for a configuration (its ConfFiles).
    let counts = |name: &String| [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end));
    let names = fs::read_dir(&settings.directory).ok()?;
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let first = names.filter(|name| counts(name) && *name < settings.name).min()?;
    let directory = settings.directory.display();
    Some(format!(
        "the container runtime uses the network of {directory}/{first}, which sorts before {}: remove it if that network is \
         gone, or give ours a name before it by --cni-conf-name",
        settings.name
    ))
}

/// Removes the configuration if it is the one that would be installed, or calls first what is removed with it: the operator's own
/// text is not at hand any more once its ConfigMap is gone, and a node without the plugin must not be called ready.
pub(super) fn remove(settings: &ConfigurationSettings, plugins: Option<&PluginSettings>) -> Option<String> {
    let path = settings.path();
    let shown = path.display();
    let found = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("{shown} is left: {error}")),
        Ok(found) => found,
    };
    let ours = found == OWN
        || text(settings).is_ok_and(|text| text == found)
        || plugins.is_some_and(|plugins| first_called(&found).is_some_and(|name| plugins::has(plugins, &name)));
    if !ours {
        return Some(format!("{shown} is left: it is not what towpathd installs"));
    }
    Some(removed(&path))
}

/// The plugin that a configuration calls first.
fn first_called(text: &str) -> Option<String> {
    let list: Value = serde_json::from_str(text).ok()?;
    Some(list.get("plugins")?.get(0)?.get("type")?.as_str()?.to_owned())
}

/// Removes a file; what came of it in one line.
pub(super) fn removed(path: &Path) -> String {
    match fs::remove_file(path) {
        Ok(()) => format!("{} removed", path.display()),
        Err(error) => format!("{} is left: {error}", path.display()),
    }
}
