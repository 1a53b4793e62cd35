//! Transmit checksum offload on the real kernel, with `ethtool` as the independent observer: set with the device, read back, put
//! back when somebody changes it; and the trial of it, which leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod overlay;
mod sandbox;

use std::time::Duration;

use backends::Backend;
use backends::diff::diff;
use backends::ipip::IpipSettings;
use backends::offload::Offload;
use backends::plan::Change;
use backends::vxlan::VxlanSettings;
use ipam::{Family, Stack};
use kernel::notices::{Notice, Notices};
use kernel::trial::{self, OCTETS};
use kernel::{Hand, offload};
use netns_harness::{here_and_in_guest, in_guest};
use overlay::{alone, link, node, scope, settle};
use sandbox::needs;

const DEVICE: &str = "flannel.7";

/// Both families, or one.
fn families(wanted: &[Family]) -> Stack<()> {
    let of = |family| wanted.contains(&family).then_some(());
    Stack::from_options(of(Family::V4), of(Family::V6)).unwrap()
}

fn vxlan(wanted: &[Family]) -> Backend {
    Backend::Vxlan(VxlanSettings::new(1, &families(wanted)).unwrap())
}

#[test]
fn a_device_computes_checksums_where_that_is_desired_and_no_longer_where_not() -> anyhow::Result<()> {
    needs("ethtool", "ethtool");
    here_and_in_guest(|| {
        let node = node();
        node.run(|| {
            let tx = |device: &str| node.sh(&format!("ethtool -k {device} | grep ^tx-checksumming")).trim().to_owned();
            let mut hand = Hand::open().unwrap();
            let mut wanted = alone();
            wanted.software_checksums.insert(link(DEVICE));
            settle(&mut hand, &wanted);
            assert_eq!(
                (tx(DEVICE).as_str(), tx("flannel-v6.7").as_str()),
                ("tx-checksumming: off", "tx-checksumming: on")
            );
            let mut notices = Notices::open(&hand, &scope().alias, &scope().table).unwrap();
            node.sh(&format!("ethtool -K {DEVICE} tx on; ethtool -K flannel-v6.7 tx off"));
            let mut seen = Vec::new();
            while seen.len() < 2 {
                seen.extend(notices.wait(Duration::from_secs(10)).unwrap());
            }
            let told = |name: &str, now| Notice::Offload { link: link(name), now: Some(now) };
            assert_eq!(seen, [told(DEVICE, Offload::On), told("flannel-v6.7", Offload::Off)]);
            assert!(
                seen.iter().all(|notice| !notice.agrees(&wanted))
                    && seen.iter().all(|it| it.agrees(&Default::default()))
            );
            let plan = settle(&mut hand, &wanted);
            let set = |name: &str, offload| Change::OffloadSet(link(name), offload);
            assert_eq!(plan.changes, [set("flannel-v6.7", Offload::On), set(DEVICE, Offload::Off)]);
            // What we did ourselves is as desired.
            let ours = notices.wait(Duration::from_secs(10)).unwrap();
            assert!(!ours.is_empty() && ours.iter().all(|notice| notice.agrees(&wanted)), "{ours:?}");
            let plan = settle(&mut hand, &alone());
            assert_eq!(plan.changes, [set(DEVICE, Offload::On)]);
            assert_eq!(tx(DEVICE), "tx-checksumming: on");
            assert_eq!(offload::of_link(link("absent")), None);
        });
        Ok(())
    })
}

#[test]
fn a_device_that_is_made_anew_gets_it_again() {
    let node = node();
    node.run(|| {
        let mut hand = Hand::open().unwrap();
        let mut wanted = alone();
        wanted.software_checksums.insert(link(DEVICE));
        settle(&mut hand, &wanted);
        node.sh(&format!("ip link delete {DEVICE}"));
        let plan = diff(&hand.observe(&scope()).unwrap(), &wanted);
        assert!(plan.to_string().contains("ethtool -K flannel.7 tx off"), "{plan}");
        settle(&mut hand, &wanted);
    });
}

#[test]
fn the_trial_of_vxlan_finds_both_settings_right_and_leaves_nothing() -> anyhow::Result<()> {
    here_and_in_guest(|| {
        let node = node();
        let before = node.sh("ip link; cat /proc/sys/net/core/somaxconn");
        for wanted in [&[Family::V4][..], &[Family::V6], &Family::ALL] {
            let found = node.run(|| trial::run(&vxlan(wanted), 1500)).unwrap();
            for measure in found {
                assert_eq!(measure.bad_checksums, 0, "{found:?}");
                assert!(measure.took.is_some() && measure.arrived >= OCTETS, "{found:?}");
            }
        }
        assert_eq!(node.sh("ip link; cat /proc/sys/net/core/somaxconn"), before);
        Ok(())
    })
}

#[test]
fn the_trial_of_ipip_in_both_families() -> anyhow::Result<()> {
    in_guest(|| {
        let found = trial::run(&Backend::Ipip(IpipSettings::new(&families(&Family::ALL))), 1500).unwrap();
        assert!(found.iter().all(|measure| measure.took.is_some() && measure.bad_checksums == 0), "{found:?}");
        Ok(())
    })
}

#[test]
fn what_the_kernel_lacks_is_named_by_the_trial() {
    // Smaller than IPv6 may be: the kernel refuses the device's address.
    let error = trial::run(&vxlan(&[Family::V6]), 1300).unwrap_err();
    assert!(error.to_string().contains("flannel-v6.1"), "{error}");
}
