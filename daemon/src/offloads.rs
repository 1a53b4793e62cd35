//! Which checksum offload the tunnel devices get where net-conf.json leaves it to the node (`TxChecksum: auto`): a trial by a thread of
//! its own ([`start`]), beside the node loop and once that has brought the node up, and what follows from it ([`Verdict`]).
//!
//! A trial is made anew at each start: it takes some hundredths of a second, and a kernel, or what is loaded into it, may be another.

use std::time::{Duration, Instant};

use backends::Backend;
use backends::offload::Offload;
use kernel::trial::{self, Measure, OCTETS, SLOWER, TrialError};
use tokio::sync::{oneshot, watch};

/// What is to be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// On whose devices.
    pub backend: Backend,
    /// Octets that the uplink carries.
    pub mtu: u32,
    /// The how manieth trial of this daemon's: another number is another trial.
    pub number: u64,
}

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The order's number.
    pub number: u64,
    /// The backend's name.
    pub backend: &'static str,
    /// What follows.
    pub verdict: Verdict,
}

/// Which setting is right here, and how that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The setting.
    pub offload: Offload,
    /// Whether a trial says so; else it is what is safe.
    pub tried: bool,
    /// One sentence.
    pub reason: String,
}

/// Linux before this computes wrong checksums for what goes through VXLAN and is then given another source port (upstream commit
/// ea64d8d6c675, "netfilter: nat: never update the UDP checksum when it's 0").
const MENDED: (u32, u32) = (5, 7);

impl Verdict {
    /// From what was tried on a kernel of this release.
    pub fn of(found: &Result<[Measure; 2], TrialError>, release: &str) -> Verdict {
        let [on, off] = match found {
            Ok(found) => found,
            Err(error) => return Verdict::safe(release, &error.to_string()),
        };
        let (worked, software) = (well(on), well(off));
        let verdict = |offload, reason| Verdict { offload, tried: true, reason };
        match (worked, software) {
            (Some(with), Some(without)) if with <= without.saturating_mul(SLOWER) => {
                let reason = format!(
                    "it works on Linux {release}: {} MiB through a pair of devices took {} ms with it and {} ms without",
                    on.arrived.min(off.arrived) >> 20,
                    with.as_millis(),
                    without.as_millis()
                );
                verdict(Offload::On, reason)
            }
            (Some(with), Some(without)) => {
                let (with, without) = (with.as_millis(), without.as_millis());
                verdict(Offload::Off, format!("it is slow on Linux {release}: {with} ms with it, {without} ms without"))
            }
            (None, Some(_)) => verdict(Offload::Off, format!("it is broken on Linux {release}: {}", failure(on))),
            (_, None) => Verdict::safe(release, &format!("even without it TCP does not get through: {}", failure(off))),
        }
    }

    /// Where nothing was found out.
    fn safe(release: &str, why: &str) -> Verdict {
        let (offload, because) = match numbers(release) {
            Some(numbers) if numbers < MENDED => {
                (Offload::Off, "is older than 5.7, which was the first without the known fault")
            }
            _ => (Offload::On, "has no known fault with it"),
        };
        Verdict { offload, tried: false, reason: format!("it could not be tried: {why}; Linux {release} {because}") }
    }
}

/// How long it took, if all went well.
fn well(measure: &Measure) -> Option<Duration> {
    measure.took.filter(|_| measure.bad_checksums == 0)
}

fn failure(measure: &Measure) -> String {
    let Measure { arrived, bad_checksums, .. } = measure;
    let missing = if measure.took.is_some() { "all" } else { "not all" };
    format!(
        "{bad_checksums} packets came with a bad checksum, and {missing} octets arrived ({arrived}, in transfers of {OCTETS})"
    )
}

/// The first two numbers of a release.
fn numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Begins the task: what it is told to try, and what came of it last.
pub fn start() -> (watch::Sender<Option<Order>>, watch::Receiver<Option<Report>>) {
    let ((order, orders), (tell, report)) = (watch::channel(None), watch::channel(None));
    tokio::spawn(keep(orders, tell));
    (order, report)
}

async fn keep(mut orders: watch::Receiver<Option<Order>>, tell: watch::Sender<Option<Report>>) {
    while orders.changed().await.is_ok() {
        let Some(order) = orders.borrow_and_update().clone() else { continue };
        let report = carry_out(order).await;
        tell.send_replace(report);
    }
}

/// A trial, by a thread that nobody waits for when the daemon ends.
async fn carry_out(order: Order) -> Option<Report> {
    let (done, report) = oneshot::channel();
    let (number, backend) = (order.number, order.backend.name());
    let work = move || {
        let began = Instant::now();
        let found = trial::run(&order.backend, order.mtu);
        tracing::debug!("the trial of checksum offload took {} ms", began.elapsed().as_millis());
        // Nobody listens any more when the daemon ends.
        done.send(Verdict::of(&found, &release())).ok();
    };
    let verdict = match std::thread::Builder::new().name("offloads".to_owned()).spawn(work) {
        Ok(_) => report.await.unwrap_or_else(|_| Verdict::safe(&release(), "the trial ended without a result")),
        Err(error) => Verdict::safe(&release(), &format!("there is no thread for it: {error}")),
    };
    Some(Report { number, backend, verdict })
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const RELEASE: &str = "6.18.44-some-vendor";

    fn measure(millis: Option<u64>, bad_checksums: u64) -> Measure {
        let arrived = if millis.is_some() { 2 * OCTETS } else { 70_000 };
        Measure { arrived, took: millis.map(Duration::from_millis), bad_checksums }
    }

    #[test]
    fn offload_stays_on_unless_it_is_what_breaks() {
        for (on, off, chosen, said) in [
            (measure(Some(3), 0), measure(Some(11), 0), Offload::On, "it works on Linux 6.18.44-some-vendor: 8 MiB"),
            (measure(Some(40), 0), measure(Some(11), 0), Offload::On, "took 40 ms with it and 11 ms without"),
            (
                measure(Some(550), 0),
                measure(Some(11), 0),
                Offload::Off,
                "slow on Linux 6.18.44-some-vendor: 550 ms with it",
            ),
            (
                measure(None, 0),
                measure(Some(11), 0),
                Offload::Off,
                "not all octets arrived (70000, in transfers of 4194304)",
            ),
            (measure(None, 77), measure(Some(11), 0), Offload::Off, "77 packets came with a bad checksum, and not all"),
            (measure(Some(9), 1), measure(Some(11), 0), Offload::Off, "1 packets came with a bad checksum, and all"),
        ] {
            let verdict = Verdict::of(&Ok([on, off]), RELEASE);
            assert!(verdict.tried && verdict.offload == chosen && verdict.reason.contains(said), "{verdict:?}");
        }
    }

    #[test]
    fn where_it_cannot_be_tried_the_kernels_age_says_what_is_safe() {
        let denied = || Err(TrialError::Namespace(std::io::Error::from_raw_os_error(1)));
        for (release, chosen) in [
            ("6.18.44", Offload::On),
            ("5.7.0-rc1", Offload::On),
            ("5.6.19-300.fc32", Offload::Off),
            ("4.18.0-553.el8", Offload::Off),
            ("what is this", Offload::On),
        ] {
            let verdict = Verdict::of(&denied(), release);
            assert!(!verdict.tried && verdict.offload == chosen, "{release}: {verdict:?}");
            assert!(verdict.reason.contains("CAP_SYS_ADMIN") && verdict.reason.contains(release), "{verdict:?}");
        }
        let neither = Verdict::of(&Ok([measure(None, 3), measure(None, 4)]), RELEASE);
        assert!(!neither.tried && neither.offload == Offload::On, "{neither:?}");
        assert!(neither.reason.contains("even without it TCP does not get through: 4 packets"), "{neither:?}");
    }

    #[tokio::test]
    async fn an_order_is_carried_out_once() {
        let (orders, mut reports) = start();
        let network: ipnet::IpNet = "10.0.0.0/8".parse().unwrap();
        let settings = backends::vxlan::VxlanSettings::new(1, &ipam::Stack::V4(network)).unwrap();
        let order = Order { backend: Backend::Vxlan(settings), mtu: 1500, number: 7 };
        orders.send_replace(Some(order));
        reports.changed().await.unwrap();
        let report = reports.borrow_and_update().clone().unwrap();
        // Whether it may be tried here depends on who runs this.
        assert_eq!((report.number, report.backend, report.verdict.offload), (7, "vxlan", Offload::On), "{report:?}");
        assert!(!reports.has_changed().unwrap());
    }
}
