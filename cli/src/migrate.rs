//! `towpathctl migrate`: flannel's DaemonSet becomes ours, or flannel's again, one node after another.
//!
//! It is one DaemonSet all the time: its pod template is exchanged, with `OnDelete` as its strategy, so that nothing happens
//! until a node's pod is deleted. Where the work stands is read from the cluster: whoever is interrupted starts again.
//! Flannel's own template is kept in an annotation of the DaemonSet, for the way back.

mod checks;
mod survey;
mod template;
mod walk;

use std::fmt::Write;

use crate::arguments::Direction;
use crate::cluster::{Cluster, ClusterError};
use crate::consent::{self, Consent, ConsentError};
use crate::install::manifest::ManifestError;
use checks::{Finding, Weight};
use survey::{Daemon, Survey};
use template::Templates;
use walk::Walk;

/// Why it was not done, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The cluster cannot be asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Our own manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Nobody to ask.
    #[error(transparent)]
    Consent(#[from] ConsentError),
    /// No DaemonSet.
    #[error(
        "no DaemonSet of this cluster runs flannel: `towpathctl install` is for a new cluster. (k3s and RKE2 have flannel \
        inside their own program: docs/migrate-from-flannel.md)"
    )]
    NoFlannel,
    /// More than one.
    #[error("several DaemonSets run flannel: {0}. Which of them a node belongs to cannot be told; leave one")]
    Several(String),
    /// It was never flannel's, or somebody removed the annotation.
    #[error(
        "the DaemonSet does not say what flannel's pods were like (annotation {annotation}): apply flannel's own \
        manifest instead, with updateStrategy OnDelete if you want to go node by node"
    )]
    NoWayBack {
        /// Where it would stand.
        annotation: &'static str,
    },
    /// Nodes that do not exist.
    #[error("no such node here: {0}")]
    Nodes(String),
    /// A node did not come back.
    #[error(
        "{node}: {reason}. Nothing more is done; the nodes after it are as they were. See `kubectl -n {namespace} logs {pod}`. \
        Then run this again to go on, or `towpathctl migrate {back}` to go back"
    )]
    Gate {
        /// Which node.
        node: String,
        /// What is wrong.
        reason: String,
        /// Where its pod is.
        namespace: String,
        /// Its pod, or what to look for.
        pod: String,
        /// The other direction.
        back: &'static str,
    },
}

/// Does what is wished; gives the exit status.
///
/// # Errors
/// [`MigrateError`].
pub fn run(direction: &Direction, say: &mut dyn FnMut(&str)) -> Result<u8, MigrateError> {
    let (to, wish) = match direction {
        Direction::FromFlannel(wish) => (Daemon::Towpath, wish),
        Direction::ToFlannel(wish) => (Daemon::Flannel, wish),
    };
    let cluster = Cluster::open(&wish.cluster.choice())?;
    let survey = Survey::take(&cluster)?;
    let templates = Templates::of(&survey.daemonset, wish.image.as_deref())?;
    if to == Daemon::Flannel && templates.flannel.is_none() {
        return Err(MigrateError::NoWayBack { annotation: template::KEPT });
    }
    let nodes = chosen(&survey, &wish.nodes)?;
    let findings = match to {
        Daemon::Towpath => checks::check(&survey),
        Daemon::Flannel => checks::check_back(&survey),
    };
    say(&report(&survey, &findings, (&nodes, to)));
    if findings.iter().any(|finding| finding.weight == Weight::Refusal) {
        return Ok(1);
    }
    let work = survey.template_of(to) != Some(true) || nodes.iter().any(|node| survey.runs(node) != Some(to));
    if !work || wish.dry_run {
        say(if work { "\nNothing was changed.\n" } else { "\nThere is nothing to do.\n" });
        return Ok(u8::from(work && wish.dry_run));
    }
    if !wish.yes && consent::ask(QUESTION)? == Consent::Refused {
        return Ok(1);
    }
    let walk = Walk { cluster: &cluster, survey: &survey, to, wish };
    walk.prepare(&templates)?;
    for node in &nodes {
        walk.node(node, say)?;
    }
    say(&walk.finish()?);
    Ok(0)
}

const QUESTION: &str = "\nGo on, node by node, and stop at the first that is not well afterwards?";

/// The nodes that are to be done, in the order of their names or as given.
fn chosen(survey: &Survey, wished: &[String]) -> Result<Vec<String>, MigrateError> {
    let there = |name: &&String| survey.nodes.iter().any(|node| node.name == **name && node.pod.is_some());
    let unknown: Vec<&str> = wished.iter().filter(|name| !there(name)).map(String::as_str).collect();
    if !unknown.is_empty() {
        return Err(MigrateError::Nodes(unknown.join(", ")));
    }
    if !wished.is_empty() {
        return Ok(wished.to_vec());
    }
    Ok(survey.nodes.iter().filter(|node| node.pod.is_some()).map(|node| node.name.clone()).collect())
}

/// What was found and what would happen.
fn report(survey: &Survey, findings: &[Finding], (nodes, to): (&[String], Daemon)) -> String {
    let mut text = format!(
        "Kubernetes {}, {} nodes, DaemonSet {}/{}\n",
        survey.version,
        survey.nodes.len(),
        survey.namespace(),
        survey.name()
    );
    for Finding { weight, sentence } in findings {
        // Writing to a String does not fail.
        writeln!(text, "{weight:8} {sentence}").ok();
    }
    if findings.iter().any(|finding| finding.weight == Weight::Refusal) {
        text += "\nThis cannot be done with the cluster as it is: see above.\n";
        return text;
    }
    text += "\n";
    for name in nodes {
        let Some(node) = survey.nodes.iter().find(|node| node.name == *name) else { continue };
        let step = match (survey.runs(name), to) {
            (Some(now), to) if now == to => format!("runs {to} already: nothing to do"),
            (Some(_), Daemon::Towpath) => {
                "flanneld stops, towpathd starts: same subnet, same device and MAC; pods keep \
                running"
                    .to_owned()
            }
            _ => "towpathd stops, flanneld starts: same subnet, same device and MAC; pods keep running".to_owned(),
        };
        writeln!(text, "{name} ({}): {step}", node.pod_cidrs.join(", ")).ok();
    }
    text
}
