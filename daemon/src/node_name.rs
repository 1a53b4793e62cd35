//! Which node this is, where nobody said it: the own pod knows, and while the API is away it is who we were last.

use std::time::Duration;

use ipam::NodeName;
use tokio::time::sleep;

use crate::config::{Settings, StoreSettings};
use crate::state_file;
use crate::store::kubernetes;

/// How long until the API is asked again.
const RETRY: Duration = Duration::from_secs(2);

/// The settings with the node's name, learnt where it was not given (`--node-name`, `NODE_NAME`).
pub async fn learn(settings: Settings) -> Settings {
    let StoreSettings::Kubernetes(kubernetes) = &settings.store else { return settings };
    if kubernetes.own_pod.is_none() {
        return settings;
    }
    let last = state_file::last_node(&settings.state_file, &settings.store.identity()).unwrap_or_else(|error| {
        tracing::warn!("{error}");
        None
    });
    let node = loop {
        let why = match kubernetes::node_name(kubernetes).await {
            Ok(node) => break node,
            Err(error) => error,
        };
        if let Some(last) = last {
            tracing::warn!("{why}; it was {last} when this daemon ran last, and that is taken");
            break last;
        }
        tracing::error!("{why}; it is tried again");
        sleep(RETRY).await;
    };
    named(settings, node)
}

fn named(settings: Settings, node: NodeName) -> Settings {
    Settings { node, ..settings }
}
