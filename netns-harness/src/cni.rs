//! [`Plugin`]: a CNI plugin's binary with its configuration, called as a container runtime calls it (CNI 1.1.0, section 2).
//!
//! It is called in the node's network namespace, where it would run on a machine of its own.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ipam::{Family, Stack};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::node::Node;
use crate::station::Station;

/// A plugin and the network configuration that it is given on standard input.
#[derive(Clone, Debug)]
pub struct Plugin {
    binary: PathBuf,
    configuration: Value,
}

/// What a plugin is asked to do: `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Connect the container.
    Add,
    /// Disconnect it.
    Del,
    /// Look whether it is still connected as it was.
    Check,
    /// Say which versions of CNI are spoken.
    Version,
}

/// What a container's connection is called: `CNI_CONTAINERID`, `CNI_NETNS`, `CNI_IFNAME`, `CNI_ARGS`.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// The container's id, of letters, digits, `.`, `-`, `_`.
    pub container: String,
    /// The namespace's file; DEL may come without.
    pub namespace: Option<PathBuf>,
    /// The interface's name in the container.
    pub interface: String,
    /// More, `KEY=value` separated by semicolons.
    pub arguments: String,
    /// `prevResult` in the configuration: for CHECK and DEL.
    pub previous: Option<Value>,
}

/// What a plugin answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its exit status was 0.
    pub success: bool,
    /// Its standard output: a result, an error object, or null when it said nothing.
    pub said: Value,
    /// Its standard error.
    pub complaint: String,
}

impl Plugin {
    /// A plugin's binary and its configuration (`cniVersion`, `name`, `type`, …).
    pub fn new(binary: impl Into<PathBuf>, configuration: Value) -> Plugin {
        Plugin { binary: binary.into(), configuration }
    }

    /// The configuration.
    pub fn configuration(&self) -> &Value {
        &self.configuration
    }

    /// Calls the plugin and expects success.
    ///
    /// # Errors
    /// The plugin's error object in words, and its standard error.
    pub fn call(&self, node: &Node, verb: Verb, attachment: &Attachment) -> Result<Value> {
        let answer = self.ask(node, verb, attachment)?;
        if answer.success {
            return Ok(answer.said);
        }
        let Answer { said, complaint, .. } = answer;
        let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
        let (code, message, details) = (&said["code"], text("msg"), text("details"));
        bail!(
            "{verb:?} of {} on {} failed: code {code}, {message} {details} {complaint}",
            attachment.container,
            node.name()
        )
    }

    /// Calls the plugin; whatever it answers is the answer.
    ///
    /// # Errors
    /// When it cannot be started, hangs, or answers with something that is not JSON.
    pub fn ask(&self, node: &Node, verb: Verb, attachment: &Attachment) -> Result<Answer> {
        let mut configuration = self.configuration.clone();
        if let (Some(previous), Some(object)) = (&attachment.previous, configuration.as_object_mut()) {
            object.insert("prevResult".to_owned(), previous.clone());
        }
        let Output { status, stdout, stderr } =
            node.output(self.command(verb, attachment), &configuration.to_string())?;
        let text = String::from_utf8_lossy(&stdout);
        let said = match text.trim() {
            "" => Value::Null,
            text => serde_json::from_str(text).with_context(|| format!("the plugin's answer is not JSON: {text}"))?,
        };
        Ok(Answer { success: status.success(), said, complaint: String::from_utf8_lossy(&stderr).trim().to_owned() })
    }

    fn command(&self, verb: Verb, attachment: &Attachment) -> Command {
        let mut command = Command::new(&self.binary);
        let name = match verb {
            Verb::Add => "ADD",
            Verb::Del => "DEL",
            Verb::Check => "CHECK",
            Verb::Version => "VERSION",
        };
        command.env("CNI_COMMAND", name).env("CNI_PATH", self.binary.parent().unwrap_or(&self.binary));
        command.env("CNI_CONTAINERID", &attachment.container).env("CNI_IFNAME", &attachment.interface);
        command.env("CNI_NETNS", attachment.namespace.as_deref().unwrap_or_else(|| "".as_ref()));
        command.env("CNI_ARGS", &attachment.arguments);
        command
    }
}

impl Attachment {
    /// `eth0` in a station, with the arguments that a Kubernetes runtime gives.
    pub fn new(station: &Station, pod: &str) -> Attachment {
        Attachment {
            container: station.namespace().name().to_owned(),
            namespace: Some(station.namespace().path().to_owned()),
            interface: "eth0".to_owned(),
            arguments: format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=lab;K8S_POD_NAME={pod}"),
            previous: None,
        }
    }

    /// The same with an earlier result.
    pub fn with_previous(&self, result: &Value) -> Attachment {
        Attachment { previous: Some(result.clone()), ..self.clone() }
    }
}

/// The pod's addresses in a result (`ips[].address`, CNI 0.3.0 and later); the first of each family.
pub(crate) fn addresses_in(result: &Value) -> Result<Option<Stack<IpAddr>>> {
    let ips = result["ips"].as_array().ok_or_else(|| anyhow!("the plugin's result has no `ips`: {result}"))?;
    let nets = ips.iter().map(|ip| {
        let text = ip["address"].as_str().with_context(|| format!("an `ips` entry without an address: {ip}"))?;
        text.parse::<IpNet>().with_context(|| format!("not an address with its length: {text}"))
    });
    let nets: Vec<IpNet> = nets.collect::<Result<_>>()?;
    let first = |family| nets.iter().find(|net| Family::of_net(net) == family).map(IpNet::addr);
    ensure!(!nets.is_empty(), "the plugin gave no address: {result}");
    Ok(Stack::from_options(first(Family::V4), first(Family::V6)))
}

/// The configuration of a network of the project's own plugin: where it finds the node's subnets and keeps its ledger.
pub(crate) fn towpath_configuration(subnet_file: &std::path::Path, ledger: &std::path::Path) -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "lab",
        "type": "towpath",
        "subnetFile": subnet_file,
        "dataDir": ledger,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::addresses_in;
    use serde_json::json;

    #[test]
    fn the_first_address_of_each_family_is_the_pod_s() {
        let result =
            json!({"ips": [{"address": "fd00::2/64"}, {"address": "10.1.0.2/24"}, {"address": "10.1.0.3/24"}]});
        assert_eq!(addresses_in(&result).unwrap().unwrap().to_string(), "10.1.0.2 fd00::2");
        for wrong in [json!({}), json!({"ips": []}), json!({"ips": [{"address": "10.1.0.2"}]})] {
            assert!(addresses_in(&wrong).is_err(), "{wrong}");
        }
    }
}
