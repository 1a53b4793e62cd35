//! The manifest, `manifests/towpath.yml`, with a cluster's own values in it. The text is edited, not generated: its comments
//! stay, and there is one source.

use clap::Args;
use ipnet::IpNet;
use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// As it is in the repository, with the defaults.
pub const TEXT: &str = include_str!("../../../manifests/towpath.yml");

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Two of one family, or none.
    #[error("--pod-cidr takes one network of a family, at most two: {0}")]
    Cidrs(String),
    /// Not JSON.
    #[error("net-conf.json of the cluster is not JSON: {0}")]
    NetConf(serde_json::Error),
    /// Something that would break the file.
    #[error("`{0}` cannot stand in a manifest: it has characters that are none of an image's or a flag's")]
    Word(String),
    /// Not YAML.
    #[error("not YAML: {0}")]
    Yaml(String),
    /// The manifest has a kind that this program does not know where to put.
    #[error("nobody says where a {0} lives in the API")]
    Kind(String),
}

/// What VXLAN is told; what is not said is left to the daemon's own defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct VxlanOptions {
    /// VXLAN network identifier.
    #[arg(help = "VXLAN network identifier; the same on all nodes [1]", long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..1 << 24))]
    pub vni: Option<u32>,
    /// UDP port.
    #[arg(help = "UDP port; the same on all nodes [8472]", long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Octets that the network between the nodes carries [the interface's]
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u32).range(576..=65535))]
    pub mtu: Option<u32>,
}

/// The text of net-conf.json.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConf(String);

impl NetConf {
    /// A new one, for the networks of the cluster; `None` when none are given.
    ///
    /// # Errors
    /// [`ManifestError::Cidrs`].
    pub fn of_cidrs(cidrs: &[IpNet], backend: &VxlanOptions) -> Result<Option<NetConf>, ManifestError> {
        let (v4, v6): (Vec<_>, Vec<_>) = cidrs.iter().map(IpNet::trunc).partition(|cidr| matches!(cidr, IpNet::V4(_)));
        if v4.len() > 1 || v6.len() > 1 {
            let said: Vec<_> = cidrs.iter().map(IpNet::to_string).collect();
            return Err(ManifestError::Cidrs(said.join(",")));
        }
        let mut text = "{\n".to_owned();
        match (v4.first(), v6.first()) {
            (None, None) => return Ok(None),
            (Some(v4), None) => text += &format!("  \"Network\": \"{v4}\",\n"),
            (None, Some(v6)) => text += &format!("  \"EnableIPv4\": false,\n{}", ipv6(v6)),
            (Some(v4), Some(v6)) => text += &format!("  \"Network\": \"{v4}\",\n{}", ipv6(v6)),
        }
        text += "  \"Backend\": {\n";
        let options = [("VNI", backend.vni), ("Port", backend.port.map(u32::from)), ("MTU", backend.mtu)];
        for (key, value) in options.iter().filter_map(|(key, value)| Some((key, (*value)?))) {
            text += &format!("    \"{key}\": {value},\n");
        }
        Ok(Some(NetConf(text + "    \"Type\": \"vxlan\"\n  }\n}")))
    }

    /// One that a cluster has, as it is.
    ///
    /// # Errors
    /// [`ManifestError::NetConf`].
    pub fn of_text(text: &str) -> Result<NetConf, ManifestError> {
        serde_json::from_str::<Map<String, Value>>(text).map_err(ManifestError::NetConf)?;
        Ok(NetConf(text.trim_end().to_owned()))
    }
}

fn ipv6(cidr: &IpNet) -> String {
    format!("  \"IPv6Network\": \"{cidr}\",\n  \"EnableIPv6\": true,\n")
}

/// What is this cluster's own in the manifest.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// The network.
    pub net_conf: NetConf,
    /// The image, where it is not the manifest's.
    pub image: Option<String>,
    /// More flags for the daemon.
    pub arguments: Vec<String>,
}

/// The manifest's text.
///
/// # Errors
/// [`ManifestError::Word`].
pub fn render(wishes: &Wishes) -> Result<String, ManifestError> {
    let mut text = String::with_capacity(TEXT.len() + 512);
    let mut inside_net_conf = false;
    for line in TEXT.lines() {
        if inside_net_conf && line != "---" {
            continue;
        }
        inside_net_conf = false;
        let indent = &line[..line.len() - line.trim_start().len()];
        match (line.trim_start(), &wishes.image) {
            ("net-conf.json: |", _) => {
                inside_net_conf = true;
                text += &format!("{line}\n");
                wishes.net_conf.0.lines().for_each(|line| text += &format!("    {line}\n"));
            }
            (found, Some(image)) if found.starts_with("image: ") => {
                text += &format!("{indent}image: {}\n", word(image)?)
            }
            (LAST_ARGUMENT, _) => {
                text += &format!("{line}\n");
                for argument in &wishes.arguments {
                    text += &format!("{indent}- {}\n", quoted(argument));
                }
            }
            _ => text += &format!("{line}\n"),
        }
    }
    Ok(text)
}

/// After it come a cluster's own.
const LAST_ARGUMENT: &str = "- --healthz-port=8081";

/// A text that YAML takes as it is.
fn word(text: &str) -> Result<&str, ManifestError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    let sound =
        text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) && !text.ends_with(':');
    if sound { Ok(text) } else { Err(ManifestError::Word(text.to_owned())) }
}

/// A double-quoted scalar: JSON's strings are YAML's (YAML 1.2 section 1.3).
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// The documents of a YAML text as JSON.
///
/// # Errors
/// [`ManifestError::Yaml`].
pub fn documents(text: &str) -> Result<Vec<Value>, ManifestError> {
    let documents = YamlLoader::load_from_str(text).map_err(|error| ManifestError::Yaml(error.to_string()))?;
    Ok(documents.iter().map(json).filter(|document| !document.is_null()).collect())
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Integer(number) => Value::from(*number),
        Yaml::Real(text) => text.parse::<f64>().map_or(Value::Null, Value::from),
        Yaml::Boolean(truth) => Value::from(*truth),
        Yaml::Array(items) => items.iter().map(json).collect(),
        Yaml::Hash(entries) => {
            let entries = entries.iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), json(value))));
            Value::Object(entries.collect())
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests;
