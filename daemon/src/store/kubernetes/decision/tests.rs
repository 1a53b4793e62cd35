//! What is decided, case by case.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::Arc;

use ipam::{BackendData, Mac, Pool};

use super::super::object::Condition;
use super::*;
use crate::config::PeerObjects;
use crate::config::kube::AnnotationPrefix;
use crate::store::Published;

fn settings() -> KubernetesSettings {
    KubernetesSettings {
        api_url: None,
        service: None,
        kubeconfig: Some(PathBuf::from("k")),
        annotations: AnnotationPrefix::default(),
        keeps_condition: true,
        peers: PeerObjects::Nodes,
        own_pod: None,
    }
}

fn claim() -> Claim {
    let net = |text: &str| text.parse().unwrap();
    let data = BackendData::Vxlan { vni: 1, mac: Mac([2, 0, 0, 0, 0, 1]) };
    let pool =
        Pool { network: net("10.244.0.0/16"), length: 24, first: net("10.244.1.0/24"), last: net("10.244.255.0/24") };
    Claim {
        node: NodeName::new("worker").unwrap(),
        pools: Stack::V4(pool),
        published: Stack::V4(Published { public: "192.0.2.1".parse().unwrap(), data }),
        previous: None,
        rollout: None,
    }
}

fn sight(cidrs: &[&str]) -> Sight {
    let mut node = Object::default();
    (node.metadata.name, node.metadata.uid) = ("worker".into(), "u-1".into());
    node.spec.pod_cidrs = cidrs.iter().map(|text| (*text).into()).collect();
    Sight { complete: true, node: Some(Arc::new(node)), ..Sight::default() }
}

fn decided(sight: &Sight, wish: &Wish, standing: &Standing) -> Decision {
    decide(sight, (wish, standing), (&settings(), &claim().node))
}

fn sentence(sight: &Sight) -> String {
    let decision = decided(sight, &Wish::Hold(claim()), &Standing::Unknown);
    assert!(decision.patch.is_none(), "{decision:?}");
    match decision.outcome {
        Outcome::Unassigned(sentence) => sentence,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_usable_subnet_nothing_is_written_and_the_fix_is_named() {
    let absent = Sight { complete: true, ..Sight::default() };
    for (sight, fix) in [
        (&absent, "NODE_NAME"),
        (&sight(&[]), "--allocate-node-cidrs=true --cluster-cidr=10.244.0.0/16"),
        (&sight(&["x"]), "`x` is not a subnet"),
        (&sight(&["10.9.0.0/24"]), "--cluster-cidr the same"),
        (&sight(&["10.0.0.0/8"]), "--cluster-cidr the same"),
        (&sight(&["fd00::/64"]), "--cluster-cidr the same"),
        (
            &Sight {
                rival: Some(Rival { name: "elder".into(), subnet: "10.244.1.0/25".parse().unwrap() }),
                ..sight(&["10.244.1.0/24"])
            },
            "elder",
        ),
    ] {
        let said = sentence(sight);
        assert!(said.contains(fix) && said.contains("worker"), "{said}");
    }
}

#[test]
fn nothing_is_decided_before_all_nodes_were_seen() {
    let early = Sight { complete: false, ..sight(&["10.244.1.0/24"]) };
    let decision = decided(&early, &Wish::Hold(claim()), &Standing::Unknown);
    assert_eq!((decision.patch, decision.outcome), (None, Outcome::Nothing));
    let nobody = decided(&Sight::default(), &Wish::Hold(claim()), &Standing::Unknown);
    assert_eq!(nobody.outcome, Outcome::Nothing);
}

#[test]
fn a_rival_outside_the_network_is_none() {
    let rival = Some(Rival { name: "elder".into(), subnet: "10.0.0.0/8".parse().unwrap() });
    let decision = decided(&Sight { rival, ..sight(&["10.244.1.0/24"]) }, &Wish::Hold(claim()), &Standing::Unknown);
    assert!(matches!(decision.outcome, Outcome::Held(_)));
}

#[test]
fn annotations_and_condition_go_in_one_patch_for_this_very_node() {
    let decision = decided(&sight(&["10.244.1.0/24"]), &Wish::Hold(claim()), &Standing::Available);
    let body: Value = serde_json::from_str(&decision.patch.unwrap().body()).unwrap();
    assert_eq!(body["metadata"]["uid"], "u-1");
    assert_eq!(body["metadata"]["annotations"]["flannel.alpha.coreos.com/public-ip"], "192.0.2.1");
    assert_eq!(body["status"]["conditions"][0]["status"], "False");
    assert!(matches!(decision.outcome, Outcome::Held(lease) if lease.key.as_str() == "u-1"));
}

#[test]
fn a_condition_that_says_so_already_is_left_alone_and_its_time_is_kept_when_only_the_words_change() {
    let mut here = sight(&["10.244.1.0/24"]);
    let mut node = here.node.as_deref().unwrap().clone();
    let message = Some("towpathd has programmed this node's pod network".into());
    let said =
        Condition { kind: CONDITION.into(), status: "False".into(), reason: Some("TowpathIsUp".into()), message };
    node.status = Some(said.clone());
    here.node = Some(Arc::new(node.clone()));
    assert_eq!(decided(&here, &Wish::Watch, &Standing::Available).patch, None);
    assert_eq!(decided(&here, &Wish::Watch, &Standing::Unknown).patch, None);
    node.status = Some(Condition { reason: Some("FlannelIsUp".into()), ..said });
    here.node = Some(Arc::new(node));
    let adopted = decided(&here, &Wish::Watch, &Standing::Available).patch.unwrap().body();
    assert!(adopted.contains("TowpathIsUp") && !adopted.contains("lastTransitionTime"), "{adopted}");
    let down = decided(&here, &Wish::Watch, &Standing::Unavailable("why".into())).patch.unwrap().body();
    assert!(down.contains("lastTransitionTime") && down.contains("\"why\""), "{down}");
    let quiet = KubernetesSettings { keeps_condition: false, ..settings() };
    let decision = decide(&here, (&Wish::Watch, &Standing::Available), (&quiet, &claim().node));
    assert_eq!(decision.patch, None);
}
