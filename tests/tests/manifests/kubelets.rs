//! [`Kubelets`]: what kubelets do to a DaemonSet's pods, and nothing else: one that is there becomes ready, one that is to
//! go goes. The API server, its controllers and its scheduler are real.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use netns_harness::kubernetes::Kubectl;
use serde_json::{Value, json};

/// Kubelets of all nodes; they stop when dropped.
pub struct Kubelets {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Pods of this node never become ready.
pub const SICK: &str = "sick";

impl Kubelets {
    /// Starts them.
    pub fn start(kubectl: Kubectl) -> Kubelets {
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || work(&kubectl, &stopped));
        Kubelets { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn work(kubectl: &Kubectl, stopped: &Receiver<()>) {
    while stopped.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
        // The API server may be busy: the next look is the retry.
        let Ok(pods) = kubectl.json("get pods -n kube-flannel") else { continue };
        for pod in pods["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                kubectl.run(&format!("delete pod -n kube-flannel {name} --force --grace-period=0")).ok();
            } else if is_to_become_ready(pod) {
                let ready = json!({ "type": "Ready", "status": "True" });
                let patch = json!({ "status": { "phase": "Running", "conditions": [ready] } }).to_string();
                let words = ["patch", "pod", "-n", "kube-flannel", name, "--subresource=status", "-p", &patch];
                kubectl.words(words).ok();
            }
        }
    }
}

fn is_to_become_ready(pod: &Value) -> bool {
    let node = pod["spec"]["nodeName"].as_str();
    // On the sick node flannel is well and what comes after it is not.
    let command = pod["spec"]["containers"][0]["command"][0].as_str().unwrap_or_default();
    let well = node != Some(SICK) || command.ends_with("flanneld");
    node.is_some() && well && pod["status"]["phase"] != "Running"
}
