//! `--print-config`: every setting and where it comes from, secrets hidden.

use backends::instance::COMMON_TABLE;

use super::flags::Shape;
use super::meant::StoreKind;
use super::settings::Settings;
use super::written::{Entry, Written};

/// One line for each setting: `name = value`, and where it comes from.
pub(super) fn text(written: &Written, settings: &Settings, store: (StoreKind, Option<&Entry>)) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    for entry in &written.entries {
        let implied = match entry.flag.name {
            "store" if entry.values.is_empty() => Some(implied_store(store)),
            "log-level" if entry.values.is_empty() => {
                Some((settings.logging.level.to_string(), "follows from --v".to_owned()))
            }
            _ => None,
        };
        let shown = entry.flag.shape != Shape::Command && (!entry.flag.shape.is_quiet() || entry.is_given());
        if shown {
            let (value, origin) = implied.unwrap_or_else(|| (value(entry), entry.origin.to_string()));
            lines.push((format!("{} = {value}", entry.flag.name), origin));
        }
    }
    let follows = "follows from --subnet-file";
    lines.push((format!("(alias of links) = {}", settings.instance.alias), follows.to_owned()));
    lines.push((
        format!("(nftables table) = inet {COMMON_TABLE}, or inet {} beside another instance", settings.instance.table),
        follows.to_owned(),
    ));
    let origin = "follows from --state-directory, --node-name, --subnet-file and the store";
    lines.push((format!("(state file) = {}", settings.state_file.display()), origin.to_owned()));
    let width =
        lines.iter().map(|(setting, _)| setting.chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
    lines.iter().map(|(setting, origin)| format!("{setting:<width$}  # {origin}\n")).collect()
}

fn value(entry: &Entry) -> String {
    match entry.flag.shape {
        Shape::Secret(_) if !entry.values.is_empty() => "(hidden)".to_owned(),
        _ => entry.values.join(" "),
    }
}

fn implied_store((kind, by): (StoreKind, Option<&Entry>)) -> (String, String) {
    let kind = match kind {
        StoreKind::Kubernetes => "kubernetes",
        StoreKind::Etcd => "etcd",
        StoreKind::Directory => "directory",
    };
    let origin = by.map_or("default".to_owned(), |entry| format!("follows from --{}", entry.flag.name));
    (kind.to_owned(), origin)
}
