//! host-gw: every peer by the direct way, and a peer that is not on the uplink's link not at all. Wire-compatible with flannel: the
//! pods' packets as they are, in the frames of the underlay.

use ipam::Endpoint;

use crate::cluster::{Cluster, Way, other_backend};

/// The name in net-conf.json and in leases.
pub const NAME: &str = "host-gw";

/// The way to one family of a peer.
pub(crate) fn way(cluster: &Cluster, peer: &Endpoint) -> Result<Way, String> {
    let theirs = peer.data.backend_type();
    if theirs != NAME {
        return Err(other_backend(theirs, NAME));
    }
    let (link, public) = (cluster.uplink.link, peer.public);
    if cluster.uplink.on_link.has(public) {
        return Ok(Way::Direct);
    }
    Err(format!(
        "its address {public} is not on the link of {link} (see `ip route get {public}`), and host-gw reaches no other; put \
         both nodes on one link, or use the backend vxlan with DirectRouting, which goes through a tunnel where it must"
    ))
}
