//! [`Probing`]: a trial of the devices' checksum offload that somebody asked for, and waiting for what comes of it ([`Probed`]).

use std::fmt;
use std::time::Duration;

use backends::offload::TxChecksum;
use serde::Serialize;
use tokio::sync::watch;

use super::About;
use crate::offloads::Report;
use crate::reconcile::Reconciler;

/// One takes some hundredths of a second where all is well, and a second for each transfer that hangs.
const PATIENCE: Duration = Duration::from_secs(12);

/// A trial that was begun.
#[derive(Debug)]
pub struct Probing {
    number: u64,
    said: TxChecksum,
    reports: watch::Receiver<Option<Report>>,
}

/// What it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probed {
    /// The backend whose devices were tried.
    pub backend: &'static str,
    /// `on` or `off`: what is right here.
    pub tx_checksum: &'static str,
    /// What net-conf.json says: `auto`, `on` or `off`.
    pub setting: &'static str,
    /// Whether it could be tried.
    pub tried: bool,
    /// One sentence.
    pub reason: String,
}

impl Probing {
    /// Has the node loop order a trial.
    pub(super) fn begin(reconciler: &mut Reconciler, about: &About) -> Result<Probing, String> {
        if !reconciler.record.settled {
            return Err("the node is not up yet, see `towpathctl status`".to_owned());
        }
        let number = reconciler.node.try_again()?;
        let said = reconciler.node.tx_checksum().map(|(_, said, _)| said).unwrap_or_default();
        let reports = about.trials.clone().ok_or("nothing is tried here")?;
        Ok(Probing { number, said, reports })
    }

    /// Waits for it.
    ///
    /// # Errors
    /// One sentence, when it does not come.
    pub async fn wait(mut self) -> Result<Probed, String> {
        let number = self.number;
        let ended = self.reports.wait_for(|report| report.as_ref().is_some_and(|report| report.number >= number));
        match tokio::time::timeout(PATIENCE, ended).await {
            Ok(Ok(report)) => report.as_ref().map(|report| Probed::new(report, self.said)),
            Ok(Err(_)) => return Err("towpathd is stopping".to_owned()),
            Err(_) => None,
        }
        .ok_or_else(|| format!("the trial has not ended within {} s; `towpathctl status` will say", PATIENCE.as_secs()))
    }
}

impl Probed {
    fn new(report: &Report, said: TxChecksum) -> Probed {
        let verdict = &report.verdict;
        Probed {
            backend: report.backend,
            tx_checksum: verdict.offload.as_str(),
            setting: said.as_str(),
            tried: verdict.tried,
            reason: verdict.reason.clone(),
        }
    }
}

impl fmt::Display for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "checksum offload of {}: {}; {}", self.backend, self.tx_checksum, self.reason)?;
        match self.setting {
            "auto" => Ok(()),
            said => writeln!(f, "net-conf.json says {said} (TxChecksum), and that counts"),
        }
    }
}
