//! What a node says on its own Node object.

use ipam::{Family, Stack};
use netns_harness::kubernetes::{ControlPlane, ControlPlaneOptions, NodeObject};
use serde_json::{Value, json};
use towpathd::labels::Labels;
use towpathd::store::talk::{Occurrence, Severity, Standing};
use towpathd::store::{Instructions, Published, Wish};

use crate::ground::{
    annotate, annotations, bare, condition, flannels, patch_status, published, settings, store, until, with_api,
};
use crate::node::{Node, claim, data, dual_claim, mac, name, net, public};

fn version(api: &ControlPlane, number: u16) -> Value {
    api.kubectl().json(&format!("get node {}", name(number))).unwrap()["metadata"]["resourceVersion"].clone()
}

#[test]
fn a_node_says_what_flannel_says_keeps_it_there_and_says_nothing_twice() {
    with_api("kubesay", &ControlPlaneOptions::default(), async |api| {
        api.create_nodes(&[bare(1), flannels(2)]).unwrap();
        let settings = settings(api);
        let mut node = Node::start(store(&settings, 1));
        node.until("the others", |node| node.lease_of("node-2").is_some()).await;
        assert_eq!(node.lease_of("node-1"), None, "a Node without annotations is nobody's lease");
        node.wish(Wish::Hold(claim(1)));
        node.until("the own lease, and its record", |node| node.mine.is_some() && node.leases().count() == 2).await;
        assert_eq!(node.subnet(Family::V4), net("10.244.1.0/24"));
        assert_eq!(annotations(api, 1), published(1, public(1)));
        let object = api.kubectl().json("get node node-1").unwrap();
        assert_eq!(node.lease().key.as_str(), object["metadata"]["uid"].as_str().unwrap());
        let written = version(api, 1);

        // Another life finds everything as it should be, and writes nothing.
        node.kill();
        let mut node = Node::holding(store(&settings, 1), claim(1)).await;
        node.stand(Standing::Unknown);
        node.until("the others", |node| node.leases().count() == 2).await;
        assert_eq!(version(api, 1), written);

        // Somebody edits it away.
        annotate(api, 1, "public-ip=203.0.113.9");
        until("the annotation to be ours again", || annotations(api, 1) == published(1, public(1))).await;
        annotate(api, 1, "backend-data-");
        until("the annotation to be there again", || annotations(api, 1) == published(1, public(1))).await;

        // The VTEP's MAC changes.
        let mut other = claim(1);
        other.published = other.published.map(|_, published| Published { data: data(99), ..published.clone() });
        node.wish(Wish::Hold(other));
        node.until("the new MAC", |node| node.lease().endpoints.get(Family::V4).unwrap().data == data(99)).await;
        assert!(annotations(api, 1)["backend-data"].as_str().unwrap().contains(&mac(99).to_string()));

        // And given back.
        node.wish(Wish::Release);
        node.until("no lease", |node| node.mine.is_none() && node.leases().count() == 1).await;
        assert_eq!(annotations(api, 1), json!({}));
    });
}

#[test]
fn what_an_operator_writes_is_followed_live() {
    with_api("kubeoperator", &ControlPlaneOptions::default(), async |api| {
        api.create_node(&bare(1)).unwrap();
        let mut node = Node::holding(store(&settings(api), 1), claim(1)).await;
        annotate(api, 1, "public-ip-overwrite=203.0.113.7");
        let overwritten: std::net::IpAddr = "203.0.113.7".parse().unwrap();
        node.until("the overwrite", |node| node.lease().endpoints.get(Family::V4).unwrap().public == overwritten).await;
        assert_eq!(annotations(api, 1)["public-ip"], "203.0.113.7");
        annotate(api, 1, "public-ip-overwrite-");
        node.until("the own address", |node| node.lease().endpoints.get(Family::V4).unwrap().public == public(1)).await;
        assert_eq!(node.instructions, Instructions::default());
        annotate(api, 1, "node-public-ip=192.0.2.77");
        let address: std::net::IpAddr = "192.0.2.77".parse().unwrap();
        let public = Some(Stack::V4(address));
        node.until("the instruction", |node| node.instructions.public == public).await;
        annotate(api, 1, "node-public-ip-");
        node.until("none", |node| node.instructions.public.is_none()).await;
        let label = |words: &str| api.kubectl().run(&format!("label node node-1 {words}")).map(drop).unwrap();
        label("rack=a role/spine=");
        let labels = Labels::parse("rack=a,role/spine=").unwrap();
        node.until("the labels", |node| node.instructions.labels == labels).await;
        // Without a Node object nobody says that it has none.
        api.kubectl().run("delete node node-1").unwrap();
        node.until("no Node object", |node| node.unassigned.is_some()).await;
        assert_eq!(node.instructions.labels, labels);
    });
}

#[test]
fn a_node_without_a_usable_pod_cidr_waits_and_says_why() {
    with_api("kubeunassigned", &ControlPlaneOptions::default(), async |api| {
        let settings = settings(api);
        let mut node = Node::start_with(store(&settings, 1), Wish::Hold(claim(1)));
        node.until("no Node object", |node| node.unassigned.as_ref().is_some_and(|it| it.contains("no Node object")))
            .await;
        api.create_node(&NodeObject::named("node-1")).unwrap();
        node.until("no podCIDR", |node| {
            node.unassigned
                .as_ref()
                .is_some_and(|it| it.contains("--allocate-node-cidrs=true --cluster-cidr=10.244.0.0/16"))
        })
        .await;
        assert_eq!(annotations(api, 1), json!({}));
        api.kubectl()
            .words([
                "patch",
                "node",
                "node-1",
                "-p",
                r#"{"spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24"]}}"#,
            ])
            .unwrap();
        node.until("the lease", |node| node.mine.is_some()).await;
        let first = node.lease().key.clone();

        // The Node is made anew under the same name, with another podCIDR: another uid, said again.
        api.kubectl().run("delete node node-1").unwrap();
        node.until("no Node object", |node| node.unassigned.as_ref().is_some_and(|it| it.contains("no Node object")))
            .await;
        api.create_node(&bare(1).pod_cidr(net("fd00:1:0:7::/64"))).unwrap();
        node.until("the lease", |node| node.mine.as_ref().is_some_and(|mine| mine.key != first)).await;
        assert_eq!(annotations(api, 1), published(1, public(1)));
        node.kill();

        // Outside the network, and an older node's.
        api.create_nodes(&[NodeObject::named("node-3").pod_cidr(net("10.9.0.0/24")), flannels(4)]).unwrap();
        let mut third = Node::start_with(store(&settings, 3), Wish::Hold(claim(3)));
        third
            .until("the network", |node| {
                node.unassigned.as_ref().is_some_and(|it| it.contains("10.9.0.0/24") && it.contains("10.244.0.0/16"))
            })
            .await;
        // Ages are counted in seconds: until it is younger.
        let created = |number| {
            api.kubectl().json(&format!("get node {}", name(number))).unwrap()["metadata"]["creationTimestamp"].clone()
        };
        let fifth = NodeObject::named("node-5").pod_cidr(net("10.244.4.0/24"));
        until("a second to pass", || {
            api.kubectl().run("delete node node-5 --ignore-not-found").unwrap();
            api.create_node(&fifth).unwrap();
            created(5) != created(4)
        })
        .await;
        let mut fifth = Node::start_with(store(&settings, 5), Wish::Hold(claim(5)));
        fifth
            .until("the rival", |node| {
                node.unassigned.as_ref().is_some_and(|it| it.contains("node node-4, which is older"))
            })
            .await;
        api.kubectl().run("delete node node-4").unwrap();
        fifth.until("the lease", |node| node.mine.is_some()).await;
    });
}

#[test]
fn the_condition_says_how_the_node_stands_and_is_put_right_when_it_comes_back() {
    with_api("kubecondition", &ControlPlaneOptions::default(), async |api| {
        api.create_node(&bare(1)).unwrap();
        let unavailable = json!({ "status": { "conditions": [
            { "type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated", "message": "no route" },
            { "type": "Ready", "status": "True", "reason": "x", "message": "y" },
        ] } });
        patch_status(api, 1, &unavailable);
        let settings = settings(api);
        let node = Node::holding(store(&settings, 1), claim(1)).await;
        assert_eq!(condition(api, 1).unwrap()[1], "NoRouteCreated", "nothing is said before it is known");
        node.stand(Standing::Unavailable("there is no uplink".to_owned()));
        let said = |status: &str, reason: &str, message: &str| Some([status, reason, message].map(str::to_owned));
        until("the reason", || condition(api, 1) == said("True", "TowpathIsNotUp", "there is no uplink")).await;
        node.stand(Standing::Available);
        let up = said("False", "TowpathIsUp", "towpathd has programmed this node's pod network");
        until("it to be up", || condition(api, 1) == up).await;
        patch_status(api, 1, &unavailable);
        until("it to be up again", || condition(api, 1) == up).await;
        let conditions = api.kubectl().json("get node node-1").unwrap()["status"]["conditions"].clone();
        assert_eq!(conditions.as_array().unwrap().len(), 2, "others' conditions stay: {conditions}");
        node.kill();

        // Who is told to leave it alone does.
        let quiet = towpathd::config::KubernetesSettings { keeps_condition: false, ..settings };
        let mut node = Node::holding(store(&quiet, 1), claim(1)).await;
        node.stand(Standing::Unavailable("never said".to_owned()));
        annotate(api, 1, "public-ip-overwrite=203.0.113.7");
        node.until("the overwrite", |node| format!("{:?}", node.lease()).contains("203.0.113.7")).await;
        assert_eq!(condition(api, 1), up);
    });
}

#[test]
fn what_occurs_is_an_event_on_the_node_and_repetitions_are_counted() {
    with_api("kubeevents", &ControlPlaneOptions::default(), async |api| {
        api.create_node(&bare(1)).unwrap();
        let settings = settings(api);
        let node = Node::holding(store(&settings, 1), claim(1)).await;
        let occurrence = |message: &str| Occurrence {
            severity: Severity::Warning,
            reason: "PodCidrMissing",
            message: message.to_owned(),
        };
        for _ in 0..3 {
            node.occur(occurrence("node node-1 has no podCIDR"));
        }
        node.occur(occurrence(&"é".repeat(5000)));
        let events = || api.kubectl().json("get events -n default").unwrap()["items"].as_array().unwrap().clone();
        until("two Events", || events().len() == 2).await;
        let all = events();
        let first = all.iter().find(|event| event["message"] == "node node-1 has no podCIDR").unwrap();
        assert_eq!((&first["count"], &first["type"]), (&json!(3), &json!("Warning")));
        assert_eq!(first["involvedObject"]["uid"], api.kubectl().json("get node node-1").unwrap()["metadata"]["uid"]);
        let described = api.kubectl().run("describe node node-1").unwrap();
        assert!(described.contains("PodCidrMissing"), "{described}");

        // A flood is cut short, and without the right to write them there are none, and nothing else happens.
        for number in 0..25 {
            node.occur(occurrence(&format!("number {number}")));
        }
        until("some of them", || events().len() > 5).await;
        api.kubectl().run("delete clusterrole towpath").unwrap();
        api.kubectl().apply(WITHOUT_EVENTS).unwrap();
        node.kill();
        let mut node = Node::holding(store(&settings, 1), claim(1)).await;
        node.occur(occurrence("not allowed"));
        annotate(api, 1, "public-ip-overwrite=203.0.113.7");
        node.until("the overwrite", |node| format!("{:?}", node.lease()).contains("203.0.113.7")).await;
        assert!(events().len() <= 12, "{}", events().len());
        assert!(node.trouble.is_none(), "{:?}", node.trouble);
    });
}

/// Exactly what flannel's manifest allows.
const WITHOUT_EVENTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: towpath}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get]}
- {apiGroups: [""], resources: [nodes], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [nodes/status], verbs: [patch]}
"#;

#[test]
fn both_families_stand_in_one_node_and_one_may_be_missing() {
    with_api("kubedual", &ControlPlaneOptions::default(), async |api| {
        api.create_nodes(&[bare(1).pod_cidr(net("fd00:1:0:1::/64")), bare(2)]).unwrap();
        let settings = settings(api);
        let node = Node::holding(store(&settings, 1), dual_claim(1)).await;
        assert_eq!(node.subnet(Family::V6), net("fd00:1:0:1::/64"));
        let said = annotations(api, 1);
        assert_eq!((&said["public-ipv6"], &said["backend-v6-data"]), (&json!("2001:db8::1"), &said["backend-data"]));
        let mut second = Node::holding(store(&settings, 2), dual_claim(2)).await;
        assert_eq!(second.lease().subnet(Family::V6), None);
        second
            .until("the first, in both", |node| {
                node.lease_of("node-1").is_some_and(|lease| lease.subnet(Family::V6).is_some())
            })
            .await;
        // A family that is given up is taken away.
        node.wish(Wish::Hold(claim(1)));
        second
            .until("the first, in one", |node| {
                node.lease_of("node-1").is_some_and(|lease| lease.subnet(Family::V6).is_none())
            })
            .await;
        assert_eq!(annotations(api, 1), published(1, public(1)));
    });
}
