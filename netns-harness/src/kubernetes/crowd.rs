//! [`Crowd`]: thousands of Node objects without machines, as flannel nodes of a running cluster leave them in size and content,
//! and what they go on doing to an API server: heartbeats, and changes that concern everybody.
//!
//! Nobody answers at their addresses.

mod kubelet;
mod line;
mod object;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value, json};

use self::line::Line;
use crate::kubernetes::{ControlPlane, NodeObject};
use crate::station::Station;
use crate::stream::Pace;
use crate::wait_for;

/// So many requests are under way at once.
const LINES: u64 = 4;
const PREFIX: &str = "flannel.alpha.coreos.com";

/// Many Node objects, numbered from 1. Their subnets are /24s of [`Crowd::NETWORK`].
pub struct Crowd {
    api: ControlPlane,
    address: SocketAddr,
    size: u32,
}

/// Requests that go out at a pace. Dropping it ends them.
pub struct Requests {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    lines: Vec<JoinHandle<Result<()>>>,
}

/// One request: its method, path and body.
type Request = (&'static str, String, Value);

impl Crowd {
    /// Room for 65,536 subnets; those above number 60,000 are never the crowd's.
    pub const NETWORK: &str = "10.0.0.0/8";

    /// Nobody yet. Once for each control plane.
    ///
    /// # Errors
    /// When the API server cannot be reached.
    pub fn new(api: &ControlPlane) -> Result<Crowd> {
        Ok(Crowd { api: api.clone(), address: api.plain_http()?, size: 0 })
    }

    /// Creates those that are missing up to this number, some hundred in a second.
    ///
    /// # Errors
    /// What the API server refuses.
    pub fn grow(&mut self, size: u32) -> Result<()> {
        let first = self.size + 1;
        let count = u64::from(size.saturating_sub(self.size));
        let all = self.send(Work { per_sec: None, count }, move |n| creation(first + n as u32));
        all?.finish()?;
        self.size = size.max(self.size);
        Ok(())
    }

    /// Creates one of any number.
    ///
    /// # Errors
    /// When it is there already.
    pub fn add(&self, number: u32) -> Result<()> {
        self.line()?.ask(&creation(number))
    }

    /// Deletes one.
    ///
    /// # Errors
    /// When it is not there.
    pub fn remove(&self, number: u32) -> Result<()> {
        self.line()?.ask(&("DELETE", format!("/api/v1/nodes/{}", name(number)), Value::Null))
    }

    /// Status updates that change nothing but the times of conditions, node after node, as every kubelet sends one in five
    /// minutes: 5,000 nodes send 17 in a second.
    ///
    /// # Errors
    /// When the API server cannot be reached.
    pub fn heartbeats(&self, pace: Pace) -> Result<Requests> {
        let size = u64::from(self.size);
        self.send(Work::at(pace), move |n| {
            let number = (n % size.max(1)) as u32 + 1;
            (PATCH, format!("/api/v1/nodes/{}/status?fieldManager=kubelet", name(number)), kubelet::heartbeat(n))
        })
    }

    /// Changes that concern everybody: node after node has another public address, [`Crowd::public`] of the next generation.
    ///
    /// # Errors
    /// When the API server cannot be reached.
    pub fn moves(&self, pace: Pace) -> Result<Requests> {
        let size = u64::from(self.size);
        self.send(Work::at(pace), move |n| {
            let number = (n % size.max(1)) as u32 + 1;
            let public = Crowd::public(number, n / size.max(1) + 1);
            let body = json!({ "metadata": { "annotations": { format!("{PREFIX}/public-ip"): public } } });
            (PATCH, format!("/api/v1/nodes/{}/status?fieldManager=flanneld", name(number)), body)
        })
    }

    /// Gives each a Lease object of its own beside its Node, as towpathd does with `--peer-objects=leases`, and the Node its label.
    /// Their namespace is kube-flannel.
    ///
    /// # Errors
    /// What the API server refuses.
    pub fn keep_objects(&self) -> Result<()> {
        let count = u64::from(self.size);
        self.send(Work { per_sec: None, count }, |n| object::creation(n as u32 + 1))?.finish()?;
        self.send(Work { per_sec: None, count }, |n| object::label(n as u32 + 1))?.finish().map(drop)
    }

    /// [`Crowd::moves`], said in these objects.
    ///
    /// # Errors
    /// When the API server cannot be reached.
    pub fn object_moves(&self, pace: Pace) -> Result<Requests> {
        let size = u64::from(self.size);
        self.send(Work::at(pace), move |n| {
            let number = (n % size.max(1)) as u32 + 1;
            object::change(number, Crowd::public(number, n / size.max(1) + 1))
        })
    }

    /// The public address of a node after so many moves of its own.
    pub fn public(number: u32, generation: u64) -> Ipv4Addr {
        let half = if generation.is_multiple_of(2) { 0xc612_0000 } else { 0xc613_0000 };
        Ipv4Addr::from(half + number)
    }

    /// Waits until a node's VXLAN device sends to each of the crowd where it is after so many moves, and to nobody else.
    ///
    /// # Errors
    /// How many entries of `bridge fdb show` are wrong.
    pub fn wait_followed(&self, by: &Station, moves: u64, limit: Duration) -> Result<()> {
        let size = u64::from(self.size);
        let expected: BTreeSet<(String, String)> = self
            .numbers()
            .map(|number| {
                let behind = u64::from(u64::from(number) <= moves % size);
                (Crowd::mac(number), Crowd::public(number, moves / size + behind).to_string())
            })
            .collect();
        wait_for(&format!("{} to know where {size} nodes are", by.name()), limit, || {
            let text = by.run(["bridge", "fdb", "show", "dev", "flannel.1"])?;
            let found: BTreeSet<(String, String)> = text.lines().filter_map(entry).collect();
            let wrong = expected.symmetric_difference(&found);
            ensure!(found == expected, "{} entries differ, as {:?}", wrong.clone().count(), wrong.clone().next());
            Ok(())
        })
    }

    /// The subnet of a node.
    pub fn subnet(number: u32) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::from(0x0a00_0000 | (number << 8)), 24)
    }

    /// The address of a node's VXLAN device.
    pub fn mac(number: u32) -> String {
        let [_, a, b, c] = number.to_be_bytes();
        format!("02:54:00:{a:02x}:{b:02x}:{c:02x}")
    }

    /// The numbers of all nodes.
    pub fn numbers(&self) -> RangeInclusive<u32> {
        1..=self.size
    }

    fn line(&self) -> Result<Line> {
        Line::open(self.api.station(), self.address)
    }

    fn send(&self, work: Work, request: impl Fn(u64) -> Request + Clone + Send + 'static) -> Result<Requests> {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let begin = Instant::now();
        let lines = (0..LINES).map(|first| {
            let (mut line, request) = (self.line()?, request.clone());
            let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
            Ok(std::thread::spawn(move || {
                for number in (first..work.count).step_by(LINES as usize) {
                    work.wait(begin, number);
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    line.ask(&request(number))?;
                    answered.fetch_add(1, Ordering::AcqRel);
                }
                Ok(())
            }))
        });
        let lines = lines.collect::<Result<_>>()?;
        Ok(Requests { stop, answered, lines })
    }
}

const PATCH: &str = "PATCH";

/// How many requests, and how fast.
#[derive(Clone, Copy)]
struct Work {
    /// `None`: as fast as they are answered.
    per_sec: Option<u32>,
    count: u64,
}

impl Work {
    fn at(pace: Pace) -> Work {
        let count = (pace.at_most.as_secs_f64() * f64::from(pace.per_sec)) as u64;
        Work { per_sec: Some(pace.per_sec), count }
    }

    #[allow(clippy::disallowed_methods, reason = "pacing: each request has its time")]
    fn wait(self, begin: Instant, number: u64) {
        if let Some(per_sec) = self.per_sec {
            let due = begin + Duration::from_secs_f64(number as f64 / f64::from(per_sec));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

impl Requests {
    /// How many were answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// Waits until all are answered, and says how many.
    ///
    /// # Errors
    /// What was refused.
    pub fn finish(mut self) -> Result<u64> {
        self.end()?;
        Ok(self.answered())
    }

    /// Sends no more, waits for the answers to those under way, and says how many were answered.
    ///
    /// # Errors
    /// What was refused.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        self.finish()
    }

    fn end(&mut self) -> Result<()> {
        let ends = self.lines.drain(..).map(JoinHandle::join);
        let ends: Vec<Result<()>> =
            ends.map(|end| end.unwrap_or_else(|_| Err(anyhow!("a thread that sends requests panicked")))).collect();
        ends.into_iter().collect()
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Nobody wants to know any more.
        self.end().unwrap_or_default();
    }
}

/// `MAC dst ADDRESS …`.
fn entry(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    let mac = words.next()?;
    Some((mac.to_owned(), words.skip_while(|word| *word != "dst").nth(1)?.to_owned()))
}

fn name(number: u32) -> String {
    format!("crowd-{number:05}.example.internal")
}

fn creation(number: u32) -> Request {
    let public = Crowd::public(number, 0);
    let key = |name: &str| format!("{PREFIX}/{name}");
    let node = NodeObject { addresses: vec![public.into()], ..NodeObject::named(&name(number)) }
        .pod_cidr(IpNet::V4(Crowd::subnet(number)))
        .annotation(key("kube-subnet-manager"), "true")
        .annotation(key("backend-type"), "vxlan")
        .annotation(key("backend-data"), format!(r#"{{"VNI":1,"VtepMAC":"{}"}}"#, Crowd::mac(number)))
        .annotation(key("public-ip"), public.to_string());
    ("POST", "/api/v1/nodes?fieldManager=kubelet".to_owned(), kubelet::filled(&node))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_node_of_the_crowd_is_as_long_as_a_real_one_and_has_what_flannel_writes() {
        let (_, _, node) = creation(258);
        let length = node.to_string().len();
        assert!((8_000..16_000).contains(&length), "{length} without managedFields");
        assert_eq!(node["spec"]["podCIDRs"][0], "10.1.2.0/24");
        let said = node["metadata"]["annotations"]["flannel.alpha.coreos.com/backend-data"].as_str().unwrap();
        assert_eq!(said, r#"{"VNI":1,"VtepMAC":"02:54:00:00:01:02"}"#);
        assert_ne!(Crowd::public(258, 0), Crowd::public(258, 1));
        assert!(kubelet::heartbeat(1) != kubelet::heartbeat(2));
    }
}
