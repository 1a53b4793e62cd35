//! [`Walk`]: the work itself. Before anything is deleted everything is prepared; after each node a gate; at the end the
//! DaemonSet rolls out by itself again.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::MigrateError;
use super::survey::{Daemon, NodeView, Survey};
use super::template::{KEPT, Templates, settled};
use crate::arguments::Migrate;
use crate::cluster::{Cluster, ClusterError};
use crate::install::manifest::{self, documents};
use crate::install::path_of;

/// A migration under way.
pub struct Walk<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// As it was at the beginning.
    pub survey: &'a Survey,
    /// Which daemon is wanted.
    pub to: Daemon,
    /// How.
    pub wish: &'a Migrate,
}

/// How often a node is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Walk<'_> {
    /// Rights for our daemon, and the new template: nothing happens on any node yet.
    pub fn prepare(&self, templates: &Templates) -> Result<(), MigrateError> {
        let wanted = match self.to {
            Daemon::Towpath => {
                self.grant()?;
                &templates.towpath
            }
            Daemon::Flannel => templates.flannel.as_ref().ok_or(MigrateError::NoWayBack { annotation: KEPT })?,
        };
        self.cluster.replace(&self.path(), wanted)?;
        Ok(())
    }

    /// Our roles, for the account that flannel's pods have. Flannel's own role stays.
    fn grant(&self) -> Result<(), MigrateError> {
        let account = &self.survey.daemonset["spec"]["template"]["spec"]["serviceAccountName"];
        for mut document in documents(manifest::TEXT)? {
            match document["kind"].as_str() {
                Some("ClusterRole" | "Role") => {}
                Some("ClusterRoleBinding" | "RoleBinding") => {
                    document["subjects"][0]["name"] = account.clone();
                    document["subjects"][0]["namespace"] = Value::from(self.survey.namespace());
                }
                _ => continue,
            }
            self.cluster.apply(&path_of(&document)?, &document)?;
        }
        Ok(())
    }

    /// One node: its pod goes, the next one comes, and all is as it was.
    pub fn node(&self, name: &str, say: &mut dyn FnMut(&str)) -> Result<(), MigrateError> {
        let Some(before) = self.survey.look_at(self.cluster, name)? else {
            say(&format!("{name}: gone meanwhile\n"));
            return Ok(());
        };
        let Some(pod) = before.pod.as_ref().filter(|pod| pod.daemon != self.to) else {
            return Ok(());
        };
        say(&format!("{name}: {} → {} …\n", pod.daemon, self.to));
        let begin = Instant::now();
        self.cluster.delete(&format!("/api/v1/namespaces/{}/pods/{}", self.survey.namespace(), pod.name))?;
        self.gate(&before, begin + Duration::from_secs(self.wish.patience))?;
        say(&format!("{name}: {} is ready after {:.1} s\n", self.to, begin.elapsed().as_secs_f32()));
        self.watch(&before)
    }

    /// Waits until the node is well; the API server may be away for a while in between.
    fn gate(&self, before: &NodeView, deadline: Instant) -> Result<(), MigrateError> {
        loop {
            let reason = match self.survey.look_at(self.cluster, &before.name) {
                Ok(now) => match self.unwell(before, now.as_ref()) {
                    None => return Ok(()),
                    Some(reason) => reason,
                },
                Err(error @ ClusterError::Unreachable { .. }) => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            if Instant::now() >= deadline {
                return Err(self.stopped(before, reason));
            }
            rest();
        }
    }

    /// Looks on for the pause: one that is ready and then is not has failed too.
    fn watch(&self, before: &NodeView) -> Result<(), MigrateError> {
        let until = Instant::now() + Duration::from_secs(self.wish.pause);
        while Instant::now() < until {
            rest();
            let now = match self.survey.look_at(self.cluster, &before.name) {
                Err(ClusterError::Unreachable { .. }) => continue,
                now => now?,
            };
            if let Some(reason) = self.unwell(before, now.as_ref()) {
                return Err(self.stopped(before, reason));
            }
        }
        Ok(())
    }

    /// What is not as it should be on a node after the change.
    fn unwell(&self, before: &NodeView, now: Option<&NodeView>) -> Option<String> {
        let Some(now) = now else { return Some("the node is gone".to_owned()) };
        let Some(pod) = &now.pod else { return Some("no new pod yet".to_owned()) };
        if pod.daemon != self.to || before.pod.as_ref().is_some_and(|old| old.uid == pod.uid) {
            return Some(format!("pod {} still runs {}", pod.name, pod.daemon));
        }
        if !pod.ready {
            return Some(format!("pod {} is not ready", pod.name));
        }
        if before.ready && !now.ready {
            return Some("the node is not ready any more".to_owned());
        }
        // What peers send to. Another address or MAC would cut them off until they have read it.
        let published = ["backend-type", "backend-data", "backend-v6-data", "public-ip", "public-ipv6"];
        let value = |node: &NodeView, key: &str| node.annotations[self.survey.annotation(key).as_str()].clone();
        let changed = published.into_iter().find(|key| value(before, key) != value(now, key))?;
        let (was, is) = (value(before, changed), value(now, changed));
        Some(format!("its annotation {} was {was} and is {is}", self.survey.annotation(changed)))
    }

    /// The end: the DaemonSet rolls out by itself again, if all nodes are done.
    pub fn finish(&self) -> Result<String, MigrateError> {
        let nodes = self.survey.look(self.cluster)?;
        let left: Vec<_> =
            nodes.iter().filter(|node| node.pod.as_ref().is_some_and(|pod| pod.daemon != self.to)).collect();
        if !left.is_empty() {
            return Ok(format!("\n{} nodes are still to be done: run this again without --nodes.\n", left.len()));
        }
        let Some(current) = self.cluster.find(&self.path())? else { return Ok("\nThe DaemonSet is gone.\n".into()) };
        self.cluster.replace(&self.path(), &settled(current)?)?;
        Ok(format!("\nAll nodes run {}.\n", self.to))
    }

    fn path(&self) -> String {
        format!("/apis/apps/v1/namespaces/{}/daemonsets/{}", self.survey.namespace(), self.survey.name())
    }

    fn stopped(&self, before: &NodeView, reason: String) -> MigrateError {
        let now = self.survey.look_at(self.cluster, &before.name).ok().flatten();
        let pod = now.and_then(|now| now.pod).map_or("POD".to_owned(), |pod| pod.name);
        let back = if self.to == Daemon::Towpath { "to-flannel" } else { "from-flannel" };
        let namespace = self.survey.namespace().to_owned();
        MigrateError::Gate { node: before.name.clone(), reason, namespace, pod, back }
    }
}

#[allow(clippy::disallowed_methods, reason = "between two looks at the API, within a deadline")]
fn rest() {
    std::thread::sleep(LOOK_EVERY);
}
