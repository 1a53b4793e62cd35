//! The metrics page, as it is served.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::ask::fixture::{newborn, noon, route, settled, tell};
use crate::store::Event;
use backends::state::PeerKey;
use kernel::wireguard::Session;

const PROCESS: Process = Process { cpu: Duration::from_millis(1250), resident: Some(9_437_184), open_files: Some(17) };

fn page(reconciler: &Reconciler) -> String {
    Figures::new(reconciler, &noon()).page(PROCESS).unwrap()
}

/// The values alone, without help texts and types.
fn values(page: &str) -> Vec<&str> {
    page.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn a_node_that_is_well() {
    let (reconciler, _) = settled();
    assert_eq!(
        values(&page(&reconciler)),
        [
            concat!("towpath_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "towpath_node_info{node=\"a\",backend=\"vxlan\"} 1",
            "towpath_own_lease{subnet=\"10.244.1.0/24\",family=\"ipv4\"} 1",
            "towpath_own_lease{subnet=\"fd00:10:244:1::/64\",family=\"ipv6\"} 1",
            "towpath_leases 3",
            "towpath_peers 2",
            "towpath_lease_faults 0",
            "towpath_ready 1",
            "towpath_converged 1",
            "towpath_kernel_changes_total 27",
            "towpath_kernel_refusals_total 0",
            "towpath_kernel_failing 0",
            "towpath_repairs_total 0",
            "towpath_looks_total 1",
            "towpath_last_look_timestamp_seconds 1795262390.0",
            "towpath_rollout_active 0",
            "towpath_rollout_duration_seconds 0.0",
            "towpath_store_up 1",
            "towpath_store_trouble_seconds 0.0",
            "process_start_time_seconds 1795258800.0",
            "process_cpu_seconds_total 1.25",
            "process_resident_memory_bytes 9437184",
            "process_open_fds 17",
        ]
    );
}

#[test]
fn trouble_is_counted() {
    let (mut reconciler, mut kernel) = settled();
    tell(&mut reconciler, Event::Trouble("etcd does not answer".into()));
    kernel.state.routes.remove(&route(2));
    reconciler.look_again();
    reconciler.turn(&mut kernel, noon().now - Duration::from_secs(2));
    kernel.state.ruleset = None;
    kernel.refused = Some("nft");
    reconciler.look_again();
    reconciler.turn(&mut kernel, noon().now - Duration::from_secs(1));
    let page = page(&reconciler);
    for line in [
        "towpath_ready 0",
        "towpath_converged 0",
        "towpath_repairs_total 1",
        "towpath_kernel_refusals_total 1",
        "towpath_kernel_failing 1",
        "towpath_looks_total 3",
        "towpath_store_up 0",
        "towpath_store_trouble_seconds 600.0",
    ] {
        assert!(values(&page).contains(&line), "{line} is not in\n{page}");
    }
}

/// OpenMetrics 1.0: every metric has its type and help text before it, and the page ends in `# EOF`.
#[test]
fn the_page_is_whole_from_the_first_moment() {
    let (reconciler, _) = newborn();
    let page = page(&reconciler);
    assert!(page.ends_with("# EOF\n"), "{page}");
    for value in values(&page) {
        let name = value.split(['{', ' ']).next().unwrap();
        let family = name.trim_end_matches("_total").trim_end_matches("_info");
        assert!(page.contains(&format!("# TYPE {family} ")), "{name}");
        assert!(page.contains(&format!("# HELP {family} ")), "{name}");
    }
}

#[test]
fn bgp_peers_are_told_of_one_by_one() {
    let (mut reconciler, _) = settled();
    let peer = PeerView {
        name: "tor\"1".into(),
        asn: Some(64601),
        state: "Active".into(),
        flaps: 3,
        prefixes_in: 12,
        prefixes_out: 4,
        queued_bytes: 99,
        malformed: 5,
        messages_in: [("update".to_owned(), 7)].into(),
        required: true,
        trouble: Some("no answer from 10.0.0.1:179: connection refused; is BGP enabled there?".into()),
        ..PeerView::default()
    };
    reconciler.record.bfd = Some(Default::default());
    let figures = Figures { peers_of_bgp: vec![peer], ..Figures::new(&reconciler, &noon()) };
    let page = figures.page(PROCESS).unwrap();
    for line in [
        r#"towpath_bgp_peer_up{peer="tor\"1",asn="64601"} 0"#,
        r#"towpath_bgp_peer_required{peer="tor\"1",asn="64601"} 1"#,
        r#"towpath_bgp_peer_state{peer="tor\"1",asn="64601",state="Active"} 1"#,
        r#"towpath_bgp_peer_flaps_total{peer="tor\"1",asn="64601"} 3"#,
        r#"towpath_bgp_peer_messages_total{peer="tor\"1",asn="64601",direction="in",type="update"} 7"#,
        r#"towpath_bgp_peer_malformed_updates_total{peer="tor\"1",asn="64601"} 5"#,
        r#"towpath_bgp_peer_prefixes{peer="tor\"1",asn="64601",direction="in"} 12"#,
        r#"towpath_bgp_peer_prefixes{peer="tor\"1",asn="64601",direction="out"} 4"#,
        r#"towpath_bgp_peer_queue_bytes{peer="tor\"1",asn="64601"} 99"#,
        "towpath_bfd_packets_received_total 0",
        r#"towpath_bfd_packets_discarded_total{reason="hop-limit"} 0"#,
        r#"towpath_bgp_peer_stale{peer="tor\"1",asn="64601"} 0"#,
    ] {
        assert!(values(&page).contains(&line), "{line} is not in\n{page}");
    }
    assert!(page.contains("is BGP enabled there?\"} 1"), "{page}");
}

#[test]
fn sessions_are_told_by_the_peers_names_and_the_missing_ones_are_counted() {
    let (reconciler, _) = settled();
    let key = |octet: u8| PeerKey {
        link: backends::LinkName::new("flannel-wg").unwrap(),
        key: ipam::PublicKey::new([octet; 32]).unwrap(),
    };
    let session = |octet: u8, handshake: Option<u64>| Session {
        peer: key(octet),
        remote: None,
        handshake: handshake.map(Duration::from_secs),
        received: 148,
        sent: 296,
    };
    let sessions = vec![session(9, Some(10)), session(8, None)];
    let mut figures = Figures::new(&reconciler, &noon());
    figures.tunnels = Some(Tunnels::new(sessions, &[key(7), key(8), key(9)].into(), reconciler.node.table()));
    let page = figures.page(PROCESS).unwrap();
    let named = key(9).key.to_string();
    for line in [
        "towpath_wireguard_sessions_missing 2".to_owned(),
        format!("towpath_wireguard_handshake_timestamp_seconds{{peer=\"{named}\",link=\"flannel-wg\"}} 1795262390"),
        format!("towpath_wireguard_received_bytes_total{{peer=\"{named}\",link=\"flannel-wg\"}} 148"),
        format!("towpath_wireguard_sent_bytes_total{{peer=\"{named}\",link=\"flannel-wg\"}} 296"),
    ] {
        assert!(values(&page).contains(&line.as_str()), "{line} is not in\n{page}");
    }
    assert_eq!(values(&page).iter().filter(|line| line.contains("handshake_timestamp")).count(), 1, "{page}");
}
