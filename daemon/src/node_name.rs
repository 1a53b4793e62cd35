//! Which node this is, where nobody said it: the own pod knows, and while the API is away it is who we were last.

use std::time::Duration;

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
    let last =
        state_file::last_node(&settings.state_file, &settings.store.cluster_identity()).unwrap_or_else(|error| {
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
    Settings { node, ..settings }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::learn;
    use crate::config::{Invocation, Order, Settings, read};
    use crate::scratch::Scratch;
    use crate::state_file::{self, LastKnown, Owner};
    use ipam::NodeName;
    use std::path::PathBuf;

    /// A daemon in a pod that was not told its node's name, and whose API server nobody can reach.
    fn settings(scratch: &Scratch, environment: &[(&str, &str)]) -> Settings {
        let state = format!("--state-directory={}", scratch.0.display());
        let arguments = ["--kube-subnet-mgr", "--kube-api-url=http://127.0.0.1:1", &state];
        let invocation = Invocation {
            arguments: arguments.map(str::to_owned).to_vec(),
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            host_name: "host-1".to_owned(),
            directory: PathBuf::new(),
        };
        match read(&invocation) {
            Ok(Order::Run(settings)) => *settings,
            other => panic!("{other:?}"),
        }
    }

    const POD: [(&str, &str); 2] = [("POD_NAME", "kube-flannel-ds-x"), ("POD_NAMESPACE", "kube-flannel")];

    #[tokio::test]
    async fn while_the_api_is_away_it_is_who_it_was_last() {
        let scratch = Scratch::new("node-name");
        let settings = settings(&scratch, &POD);
        let owner = Owner { node: NodeName::new("worker-7").unwrap(), ..Owner::new(&settings) };
        state_file::save(&settings.state_file, &owner, &LastKnown::default()).unwrap();
        let learnt = learn(settings).await;
        assert_eq!(learnt.node.as_str(), "worker-7");
        assert_eq!(state_file::load(&learnt.state_file, &Owner::new(&learnt)).unwrap(), Some(LastKnown::default()));
    }

    #[tokio::test]
    async fn a_name_that_was_given_is_not_asked_for() {
        let scratch = Scratch::new("node-named");
        let named = [POD[0], POD[1], ("NODE_NAME", "worker-1")];
        assert_eq!(learn(settings(&scratch, &named)).await.node.as_str(), "worker-1");
        assert_eq!(learn(settings(&scratch, &[])).await.node.as_str(), "host-1", "nor where there is nobody to ask");
    }
}
