//! [`Objects`]: what a manifest makes, by kind and name; and the programs that render the other two forms of ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use netns_harness::kubernetes::Programs;
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The text of our manifest.
pub fn manifest() -> String {
    std::fs::read_to_string(repository("manifests/towpath.yml")).unwrap()
}

/// Objects by kind and name.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects(pub BTreeMap<(String, String), Value>);

impl Objects {
    /// Of a text with many documents.
    pub fn read(text: &str) -> Objects {
        let documents = YamlLoader::load_from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let values = documents.iter().map(json).filter(|value| !value.is_null());
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let named = values.map(|value| ((word(&value["kind"]), word(&value["metadata"]["name"])), value));
        let objects: BTreeMap<_, _> = named.collect();
        assert!(!objects.is_empty(), "nothing in\n{text}");
        Objects(objects)
    }

    /// The only one of a kind.
    pub fn only(&self, kind: &str) -> &Value {
        let mut of_kind = self.0.iter().filter(|((found, _), _)| found == kind).map(|(_, value)| value);
        let (Some(only), None) = (of_kind.next(), of_kind.next()) else { panic!("not exactly one {kind}") };
        only
    }

    /// net-conf.json, which must be JSON.
    pub fn net_conf(&self) -> Value {
        serde_json::from_str(self.only("ConfigMap")["data"]["net-conf.json"].as_str().unwrap()).unwrap()
    }

    /// With the ConfigMap's JSON as values: spaces in it mean nothing.
    pub fn parsed(mut self) -> Objects {
        for object in self.0.values_mut().filter(|object| object["kind"] == "ConfigMap") {
            for text in object["data"].as_object_mut().unwrap().values_mut() {
                *text = serde_json::from_str(text.as_str().unwrap()).unwrap();
            }
        }
        self
    }

    /// Without one kind.
    pub fn without(mut self, kind: &str) -> Objects {
        self.0.retain(|(found, _), _| found != kind);
        self
    }
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Integer(number) => Value::from(*number),
        Yaml::Boolean(truth) => Value::from(*truth),
        Yaml::Array(items) => items.iter().map(json).collect(),
        Yaml::Hash(entries) => {
            let entries = entries.iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), json(value)));
            Value::Object(entries.collect())
        }
        _ => Value::Null,
    }
}

/// `helm`, run in the chart's directory; gives what it says and whether it was content.
pub fn helm(words: &[&str]) -> Result<String, String> {
    let build = repository("tests/helm/build");
    let place = Command::new(&build).arg("--where").output().unwrap();
    let program = String::from_utf8_lossy(&place.stdout).trim().to_owned();
    assert!(Path::new(&program).is_file(), "no Helm in {program}: run `make lab-helm` once (two minutes)");
    let chart = repository("manifests/helm/towpath");
    let home = std::env::temp_dir().join("towpath-helm");
    let output = Command::new(program)
        .args(words)
        .current_dir(chart)
        .env("HELM_CACHE_HOME", &home)
        .env("HELM_CONFIG_HOME", &home)
        .env("HELM_DATA_HOME", &home)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// `helm template` in flannel's namespace, with values set.
pub fn chart(values: &[&str]) -> Result<String, String> {
    let mut words = vec!["template", "pod-network", ".", "--namespace", "kube-flannel"];
    words.extend(values.iter().flat_map(|value| ["--set-json", value]));
    helm(&words)
}

/// `kubectl kustomize` of our base.
pub fn kustomize() -> String {
    let mut command = Programs::built().unwrap().command("kubectl");
    let output = command.arg("kustomize").arg(repository("manifests")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
