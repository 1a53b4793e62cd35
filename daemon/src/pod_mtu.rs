//! The MTU of pods that run follows `subnet.env`: [`kernel::pod::mtu`] does it, on a thread that may enter pods' namespaces and
//! that nobody waits for; this says when, and what came of it.
//!
//! It follows every change, looks again soon after it for pods that were being started with the MTU before, and then slowly.
//! A pod that sets its own MTU is not fought with: it is said and left.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use kernel::pod::NotFound;
use kernel::pod::mtu::{Followed, Left, Reason, follow};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::path_probe::{self, Errand};

/// Longer than a pod's start takes, from the reading of `subnet.env` to its wire.
const SOON: Duration = Duration::from_secs(3);

/// How often it is looked at without a reason.
const SELDOM: Duration = Duration::from_secs(60);

/// What is to be done about the size of packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The MTU of pods, octets, once it is known.
    pub mtu: Option<u32>,
    /// The paths to measure, where that is asked for.
    pub paths: Option<Errand>,
}

/// What came of it: one sentence each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Pods that are left with another MTU, for each reason.
    pub pods: Vec<String>,
    /// Paths that carry less than is sent.
    pub paths: Vec<String>,
}

impl Notes {
    /// All of them.
    pub fn all(&self) -> Vec<String> {
        [self.pods.as_slice(), self.paths.as_slice()].concat()
    }
}

/// Starts the tasks: what to do goes in, what came of it comes out.
pub fn start(subnet_file: PathBuf) -> (watch::Sender<Order>, watch::Receiver<Notes>) {
    let (tell, orders) = watch::channel(Order::default());
    let (say, notes) = watch::channel(Notes::default());
    tokio::spawn(path_probe::keep(orders.clone(), say.clone()));
    tokio::spawn(keep(subnet_file, orders, say));
    (tell, notes)
}

/// Replaces some notes; new ones are worth a line in the log.
pub fn note(say: &watch::Sender<Notes>, of: fn(&mut Notes) -> &mut Vec<String>, now: Vec<String>) {
    say.send_if_modified(|said| {
        let said = of(said);
        now.iter().filter(|note| !said.contains(note)).for_each(|note| tracing::warn!("{note}"));
        std::mem::replace(said, now) != *said
    });
}

/// It ends with the node loop.
async fn keep(subnet_file: PathBuf, mut orders: watch::Receiver<Order>, say: watch::Sender<Notes>) {
    let (mut pause, mut before) = (SELDOM, None);
    loop {
        if let Ok(Err(_)) = timeout(pause, orders.changed()).await {
            return;
        }
        let Some(mtu) = orders.borrow_and_update().mtu else { continue };
        let anew = before.replace(mtu) != Some(mtu);
        let path = subnet_file.clone();
        let done = tokio::task::spawn_blocking(move || follow(&path, mtu)).await;
        let done = done.map_err(|error| error.to_string()).and_then(|done| done.map_err(|error| error.to_string()));
        let changed = done.as_ref().is_ok_and(|followed| followed.changed > 0);
        pause = if anew || changed || done.is_err() { SOON } else { SELDOM };
        note(&say, |notes| &mut notes.pods, left_over(mtu, done));
    }
}

fn left_over(mtu: u32, done: Result<Followed, String>) -> Vec<String> {
    let followed = match done {
        Ok(followed) => followed,
        Err(error) => {
            return vec![format!("pods that run may have another MTU than {mtu}, it is tried again: {error}")];
        }
    };
    if followed.changed > 0 {
        tracing::info!("MTU: pods that run have {mtu} now; {} links changed", followed.changed);
    }
    let mut reasons: BTreeMap<String, Vec<&Left>> = BTreeMap::new();
    for left in &followed.left {
        reasons.entry(why(&left.reason)).or_default().push(left);
    }
    reasons.iter().filter_map(|(why, left)| Some(sentence(mtu, why, left.first()?, left.len()))).collect()
}

fn sentence(mtu: u32, why: &str, first: &Left, count: usize) -> String {
    let has = first.mtu.map_or_else(String::new, |mtu| format!(" with {mtu}"));
    let owner = &first.owner;
    format!("{count} running pods have another MTU than {mtu} inside, the first is {owner}{has}: {why}")
}

fn why(reason: &Reason) -> String {
    let told = "until then the node tells them by ICMP what is too large";
    match reason {
        Reason::SetInside => "somebody set it there, and it is left alone".to_owned(),
        Reason::NotFound(NotFound::NothingToSee) => format!(
            "this daemon sees no network namespaces of pods; start them anew, or give its container the node's /run/netns \
             (hostPath, mountPropagation: HostToContainer) and CAP_SYS_ADMIN; {told}"
        ),
        Reason::NotFound(NotFound::AmongOthers) => {
            format!("their network namespaces are neither in /run/netns nor any process's; start them anew; {told}")
        }
        Reason::Refused(refused) => {
            format!("{refused}; start them anew, or give the daemon CAP_SYS_ADMIN; {told}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_that_are_left_are_said_once_for_each_reason_with_the_fix() {
        let left = |owner: &str, mtu, reason| Left { owner: owner.to_owned(), mtu: Some(mtu), reason };
        let missing = || Reason::NotFound(NotFound::NothingToSee);
        let followed = Followed {
            changed: 0,
            left: vec![
                left("a/eth0", 1450, missing()),
                left("b/eth0", 1450, missing()),
                left("c/eth0", 900, Reason::SetInside),
            ],
        };
        let notes = left_over(1350, Ok(followed));
        assert_eq!(
            notes[0],
            "1 running pods have another MTU than 1350 inside, the first is c/eth0 with 900: somebody set it there, and it is left alone"
        );
        assert!(notes[1].starts_with("2 running pods have") && notes[1].contains("CAP_SYS_ADMIN"), "{notes:?}");
    }
}
