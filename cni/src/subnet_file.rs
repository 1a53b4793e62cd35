//! [`SubnetFile`]: what the daemon (or flannel's) says of this node in `subnet.env`. Only read here.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipam::Family;
use ipam::ledger::{Range, RangeSet, RangeText};
use ipnet::IpNet;

use crate::call::Call;
use crate::document::Mistakes;
use crate::environment::Command;
use crate::error::Error;
use crate::file;
use crate::plugin::Plugin;
use crate::ranges;
use crate::wire::plan::Mode;

/// Where the daemon writes it unless told otherwise.
pub const SUBNET_FILE: &str = "/run/flannel/subnet.env";
/// No such file is longer.
const LONGEST: u64 = 64 * 1024;

/// How long ADD waits for the daemon to write it. After a boot the runtime makes pods before the daemon is up, and what
/// fails then, kubelets try again only after ten seconds and more.
const PATIENCE: Duration = Duration::from_secs(8);
const LOOK: Duration = Duration::from_millis(20);

/// For ADD: what `read` gives, once the daemon has written the file.
///
/// # Errors
/// As `read`; [`Error::NoSubnetFile`] only after eight seconds of it.
#[allow(
    clippy::disallowed_methods,
    reason = "this waits for the condition, with a deadline, and has nothing else to do"
)]
pub fn awaited<T>(read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let begin = Instant::now();
    loop {
        match read() {
            Err(Error::NoSubnetFile { .. }) if begin.elapsed() < PATIENCE => std::thread::sleep(LOOK),
            read => return read,
        }
    }
}

/// What is said of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetFile {
    /// Where it is.
    pub path: PathBuf,
    /// One set for each family, IPv4 first; the gateway is the address that the file gives.
    pub sets: Vec<RangeSet>,
    /// Octets of payload that pods' packets may have.
    pub mtu: Option<u32>,
    /// The cluster's networks.
    pub networks: Vec<IpNet>,
    /// What pods of this node hang on: ours alone, flannel's readers overlook it.
    pub mode: Mode,
    /// Whether the daemon masquerades.
    pub masquerade: Option<bool>,
}

impl SubnetFile {
    /// The file, when addresses are to come from it because no ranges are written. `towpath` needs it then; `host-local` by
    /// its own name takes it if it is there.
    ///
    /// # Errors
    /// As [`SubnetFile::read`].
    pub fn asked_for(call: &Call<'_>) -> Result<Option<SubnetFile>, Error> {
        let (root, mut mistakes) = (call.document.root(), Mistakes::default());
        let path =
            root.absolute_path("subnetFile", &mut mistakes).map_or_else(|| PathBuf::from(SUBNET_FILE), PathBuf::from);
        let ipam = root.object("ipam", &mut mistakes);
        let kind = ipam.and_then(|ipam| ipam.text("type", &mut mistakes)).unwrap_or_default();
        let written = ranges::are_written(&root, &mut mistakes);
        mistakes.none_or(())?;
        match (call.plugin, kind) {
            _ if written => Ok(None),
            (Plugin::Towpath, "" | "host-local") if call.command == Command::Add => {
                awaited(|| SubnetFile::read(&path)).map(Some)
            }
            (Plugin::Towpath, "" | "host-local") => SubnetFile::read(&path).map(Some),
            (Plugin::Bridge | Plugin::HostLocal, "host-local") => match SubnetFile::read(&path) {
                Err(Error::NoSubnetFile { .. }) => Ok(None),
                read => read.map(Some),
            },
            _ => Ok(None),
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::NoSubnetFile`] when it is not there (yet); otherwise what is wrong with it.
    pub fn read(path: &Path) -> Result<SubnetFile, Error> {
        match file::read(path, LONGEST) {
            Ok(octets) => SubnetFile::parse(path, &String::from_utf8_lossy(&octets))
                .map_err(|what| Error::SubnetFile { path: path.to_owned(), what }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::NoSubnetFile { path: path.to_owned() }),
            Err(source) => Err(Error::File { path: path.to_owned(), source }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<SubnetFile, String> {
        let mut file = SubnetFile {
            path: path.to_owned(),
            sets: Vec::new(),
            mtu: None,
            networks: Vec::new(),
            mode: Mode::default(),
            masquerade: None,
        };
        let mut subnets = [None, None];
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim();
            let wrong = |expected| format!("{} is `{value}`, expected {expected}", key.trim());
            match key.trim() {
                "FLANNEL_SUBNET" => {
                    subnets[0] = Some(set(Family::V4, value).ok_or_else(|| wrong("an IPv4 subnet's first address"))?);
                }
                "FLANNEL_IPV6_SUBNET" => {
                    subnets[1] = Some(set(Family::V6, value).ok_or_else(|| wrong("an IPv6 subnet's first address"))?);
                }
                "FLANNEL_MTU" => file.mtu = Some(value.parse().map_err(|_| wrong("a number of octets"))?),
                "FLANNEL_IPMASQ" => file.masquerade = Some(value == "true"),
                "TOWPATH_POD_MODE" => file.mode = value.parse().map_err(|()| wrong("`bridge` or `routed`"))?,
                // flannel's readers take a list.
                "FLANNEL_NETWORK" | "FLANNEL_IPV6_NETWORK" => {
                    for network in value.split(',').filter(|network| !network.is_empty()) {
                        file.networks.push(network.trim().parse().map_err(|_| wrong("networks"))?);
                    }
                }
                _ => {}
            }
        }
        file.sets = subnets.into_iter().flatten().collect();
        if file.sets.is_empty() {
            return Err("it has neither FLANNEL_SUBNET nor FLANNEL_IPV6_SUBNET".to_owned());
        }
        Ok(file)
    }
}

/// `10.1.2.1/24`: the subnet 10.1.2.0/24 and its gateway.
fn set(family: Family, value: &str) -> Option<RangeSet> {
    let net: IpNet = value.parse().ok().filter(|net| Family::of_net(net) == family)?;
    let gateway = (net.addr() != net.network()).then(|| net.addr());
    let range = Range::new(RangeText { subnet: net.trunc(), start: None, end: None, gateway }).ok()?;
    RangeSet::new(vec![range]).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn flannels_file_gives_subnets_gateways_and_mtu() {
        let file = SubnetFile::parse(
            Path::new("/s"),
            "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_IPV6_NETWORK=fd00::/48\n\
             FLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
        )
        .unwrap();
        assert_eq!(file.sets[0].to_string(), "10.244.1.1-10.244.1.254");
        assert_eq!(file.sets[0].ranges()[0].gateway().to_string(), "10.244.1.1");
        assert_eq!(file.sets[1].ranges()[0].subnet().to_string(), "fd00:0:0:1::/64");
        assert_eq!((file.mtu, file.networks.len(), file.masquerade), (Some(1450), 2, Some(true)));
    }

    #[test]
    fn what_is_wrong_with_the_file_is_said() {
        for (text, what) in [
            ("", "it has neither FLANNEL_SUBNET nor FLANNEL_IPV6_SUBNET"),
            ("FLANNEL_SUBNET=10.1.1.1", "FLANNEL_SUBNET is `10.1.1.1`, expected an IPv4 subnet's first address"),
            (
                "FLANNEL_IPV6_SUBNET=10.1.1.1/24",
                "FLANNEL_IPV6_SUBNET is `10.1.1.1/24`, expected an IPv6 subnet's first address",
            ),
            ("FLANNEL_SUBNET=10.1.1.1/24\nFLANNEL_MTU=big", "FLANNEL_MTU is `big`, expected a number of octets"),
        ] {
            assert_eq!(SubnetFile::parse(Path::new("/s"), text).unwrap_err(), what);
        }
    }
}
