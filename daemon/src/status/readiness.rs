//! [`Readiness`]: whether a pod that starts on this node now would get an address and reach its peers; and if not, why.

use serde::Serialize;

use crate::ask::Clock;
use crate::node::Node;
use crate::reconcile::Reconciler;
use crate::record::{LocalFile, Record};
use crate::store::Wish;

/// Yes or no, with the reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether nothing is missing.
    pub ready: bool,
    /// What is missing: one sentence each. Empty when ready.
    pub reasons: Vec<String>,
    /// What is wrong and harms no pod yet: one sentence each.
    pub degraded: Vec<String>,
}

/// How many of the kernel's refusals are spelt out: one reason tends to refuse all that is like it.
const SHOWN: usize = 8;

impl Readiness {
    /// As it is now.
    pub fn of(reconciler: &Reconciler, clock: &Clock) -> Readiness {
        let (node, record) = (&reconciler.node, &reconciler.record);
        let mut readiness = Readiness::default();
        readiness.weigh_network(node);
        readiness.weigh_uplink(node);
        readiness.weigh_leases(node, clock);
        readiness.weigh_assignment(node);
        readiness.reasons.extend(node.unprepared());
        readiness.weigh_kernel(record);
        readiness.weigh_files(record);
        readiness.reasons.extend(record.missing_peers.iter().cloned());
        readiness.ready = readiness.reasons.is_empty();
        readiness
    }

    fn weigh_network(&mut self, node: &Node) {
        let trouble = node.network_trouble.as_ref().map(|trouble| trouble.reason.clone());
        match (node.network(), trouble) {
            (Some(_), None) => {}
            (Some(_), Some(trouble)) => self.degraded.push(format!("{trouble}; the last good one is used")),
            (None, Some(trouble)) => self.reasons.push(trouble),
            (None, None) => {
                let place = if node.assigned() { "the ConfigMap that is mounted" } else { "the store" };
                self.reasons.push(format!("no network configuration yet: put net-conf.json into {place}"));
            }
        }
    }

    fn weigh_uplink(&mut self, node: &Node) {
        match (node.uplink(), &node.uplink_trouble) {
            (Some(_), None) => {}
            (_, Some(trouble)) => match node.lame_uplink() {
                Some(sentence) => self.degraded.push(sentence),
                None => self.reasons.push(format!("uplink: {}", trouble.reason)),
            },
            // Which one it is depends on the network's families: it is looked for once they are known.
            (None, None) => self.reasons.push("uplink: it is looked for once the network is known".to_owned()),
        }
    }

    fn weigh_leases(&mut self, node: &Node, clock: &Clock) {
        let store = node.store_trouble.as_ref().map(|trouble| trouble.reason.as_str());
        if node.own().is_none() {
            self.reasons.push(match (node.wish(), store) {
                (Wish::Release, _) => "the lease was given back: restart towpathd to claim one again".to_owned(),
                (_, Some(trouble)) => format!("no lease held: the store cannot be used: {trouble}"),
                (Wish::Watch, None) => "no lease held: none is claimed before network and uplink are known".to_owned(),
                // The reason is the assignment's.
                (Wish::Hold(_), None) if node.unassigned.is_some() => "no lease held".to_owned(),
                (Wish::Hold(_), None) => "no lease held yet: the store has been asked for one".to_owned(),
            });
        }
        self.reasons.extend(node.keys_trouble.iter().map(|trouble| trouble.reason.clone()));
        if !node.peers_known() {
            self.reasons.push("the peers are not known yet: the store has not told its leases".to_owned());
        }
        if let (Some(_), Some(trouble)) = (node.own(), &node.store_trouble) {
            let since = clock.time_of(trouble.since);
            let what = match (node.assigned(), node.store_refuses) {
                (true, true) => format!("API refuses since {since}"),
                (true, false) => format!("API unreachable since {since}"),
                (false, _) => "the store cannot be used".into(),
            };
            self.degraded.push(format!("{what}, what it said last is kept: {}", trouble.reason));
        }
    }

    fn weigh_assignment(&mut self, node: &Node) {
        self.reasons.extend(node.unassigned.iter().map(|trouble| match node.own() {
            Some(own) => format!("{}; pods that run keep {}", trouble.reason, own.subnets()),
            None => trouble.reason.clone(),
        }));
        self.degraded.extend(node.reflectors_missing().map(str::to_owned));
        self.degraded.extend(node.moved.iter().chain(&node.clock_trouble).map(|trouble| trouble.reason.clone()));
        if let (Some(network), Some(own), true) = (node.network(), node.own(), node.assigned()) {
            let lacking = network.networks.iter().filter(|(family, _)| !own.endpoints.has(*family));
            self.degraded.extend(lacking.map(|(family, net)| {
                format!(
                    "pods get no {family} address: the network has {net}, and node {} no {family} podCIDR or address; give \
                     kube-controller-manager a --cluster-cidr of both families",
                    node.name()
                )
            }));
        }
    }

    fn weigh_files(&mut self, record: &Record) {
        for (file, sentence) in &record.unwritten {
            match file {
                LocalFile::Subnet => self.reasons.push(sentence.clone()),
                LocalFile::State => self.degraded.push(sentence.clone()),
            }
        }
        self.degraded.extend(record.installation.iter().cloned());
    }

    fn weigh_kernel(&mut self, record: &Record) {
        if let Some(reason) = &record.blind {
            self.reasons.push(format!("the kernel's state cannot be read: {reason}"));
        }
        let half = record.half_refused.map_or_else(String::new, |family| format!(" for {family} alone"));
        let mut refused: Vec<String> =
            record.failures.iter().take(SHOWN).map(|it| format!("the kernel refuses{half}: {it}")).collect();
        if record.failures.len() > SHOWN {
            refused.push(format!("the kernel refuses {} more changes", record.failures.len() - SHOWN));
        }
        // The other family goes on.
        let harm = if record.half_refused.is_some() { &mut self.degraded } else { &mut self.reasons };
        harm.append(&mut refused);
        self.degraded.extend(record.gates.iter().chain(&record.missed_settings).cloned());
        self.degraded.extend(record.unguarded.iter().map(|sentence| format!("a guard is missing: {sentence}")));
        if !record.settled && record.failures.is_empty() && record.blind.is_none() {
            self.reasons.push("the kernel has not been brought to what is desired yet".to_owned());
        }
    }
}
