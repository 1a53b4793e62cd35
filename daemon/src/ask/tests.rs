//! What the run loop answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::fixture::{about, newborn, route, settled};
use super::*;
use crate::store::Wish;

fn planned(reconciler: &mut Reconciler, kernel: &mut impl Kernel) -> Result<String, String> {
    match answer(Question::Plan, reconciler, kernel, &about()) {
        Answer::Plan(plan) => plan.map(|plan| plan.to_string()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_settled_node_has_nothing_to_do() {
    let (mut reconciler, mut kernel) = settled();
    assert_eq!(planned(&mut reconciler, &mut kernel), Ok(String::new()));
}

#[test]
fn a_plan_says_what_a_look_would_do_and_does_nothing() {
    let (mut reconciler, mut kernel) = settled();
    kernel.state.routes.remove(&route(2));
    kernel.state.neighbours.retain(|key, _| key.address != IpAddr::from([10, 244, 2, 0]));
    let before = kernel.state.clone();
    let plan = planned(&mut reconciler, &mut kernel).unwrap();
    assert_eq!(
        plan,
        "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:04:02 dev flannel.1 nud permanent protocol 84\n\
         ip route replace 10.244.2.0/24 nhid [via 10.244.2.0 dev flannel.1 onlink proto 84] proto 84 metric 0\n"
    );
    assert_eq!(kernel.state, before);
    assert_eq!(reconciler.record.repaired, 0);
}

#[test]
fn without_network_lease_or_kernel_there_is_no_plan_but_a_reason() {
    let (mut reconciler, mut kernel) = newborn();
    let reason = planned(&mut reconciler, &mut kernel).unwrap_err();
    assert!(reason.contains("no network configuration yet"), "{reason}");
    let (mut reconciler, mut kernel) = settled();
    kernel.blind = Some("netlink: out of memory".into());
    let reason = planned(&mut reconciler, &mut kernel).unwrap_err();
    assert_eq!(reason, "the kernel's state cannot be read: netlink: out of memory");
}

#[test]
fn a_release_asks_the_store_for_it_and_leaves_the_kernel_as_it_is() {
    let (mut reconciler, mut kernel) = settled();
    let before = kernel.state.clone();
    let Answer::Release(sentence) = answer(Question::Release, &mut reconciler, &mut kernel, &about()) else { panic!() };
    assert_eq!(
        sentence,
        "node a gives its lease 10.244.1.0-24 (10.244.1.0/24 fd00:10:244:1::/64) back; restart towpathd on it to claim \
         one again"
    );
    assert_eq!(reconciler.node.wish(), Wish::Release);
    assert_eq!(kernel.state, before);
}

#[tokio::test(start_paused = true)]
async fn a_run_loop_that_is_stuck_or_gone_is_said_to_be() {
    let (asks, mut loop_end) = mpsc::channel(1);
    let stuck = ask(&asks, Question::Ready).await.unwrap_err();
    assert_eq!(stuck.to_string(), "towpathd did not answer within 5 s: see its log for what it is busy with");
    assert!(loop_end.try_recv().unwrap().answer.is_closed(), "nobody waits for it any more");
    drop(loop_end);
    assert_eq!(ask(&asks, Question::Ready).await.unwrap_err(), Unanswered::Stopping);
}
