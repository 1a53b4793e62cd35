//! TUN devices (Documentation/networking/tuntap.rst): made to stay without a program behind them, and taken by one. Netlink
//! cannot make them (`tun_net_link_ops` has no newlink), so this is the one kind of link that an ioctl makes.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use backends::LinkName;

use crate::error::{Error, Result};

const DEVICE: &str = "/dev/net/tun";
/// `TUN_F_…`: what long packets the reader takes.
const CHECKSUM: libc::c_uint = 0x01;
const TSO4: libc::c_uint = 0x02;
/// `TUN_F_USO4` and `TUN_F_USO6` (Linux 6.2), which the kernel takes together only. IPv6 does not come through ours.
const USO: libc::c_uint = 0x20 | 0x40;

/// A TUN device, with this program behind it.
#[derive(Debug)]
pub struct Tun {
    file: File,
    /// Whether it takes long UDP packets.
    pub long_udp: bool,
}

/// Makes a device that stays when nobody is behind it. `ip tuntap add dev NAME mode tun vnet_hdr`
///
/// # Errors
/// When there is no `/dev/net/tun`, we may not use it, or another link has the name.
pub fn make(name: LinkName) -> Result<()> {
    let doing = format!("making the TUN device {name}");
    let file = take(name, &doing)?;
    // SAFETY: the descriptor is open, and TUNSETPERSIST takes a number.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST, 1) };
    if made < 0 { Err(system(&doing, io::Error::last_os_error())) } else { Ok(()) }
}

impl Tun {
    /// Takes a device that is there. Long packets are passed as they are, described by a header before each.
    ///
    /// # Errors
    /// When it is not there, is another kind, or another program has it.
    pub fn attach(name: LinkName) -> Result<Tun> {
        let doing = format!("taking the TUN device {name}");
        // TUNSETIFF would make it, and it would be gone with us.
        if !std::path::Path::new("/proc/sys/net/ipv4/conf").join(name.as_str()).exists() {
            return Err(system(&doing, io::Error::from_raw_os_error(libc::ENODEV)));
        }
        let file = take(name, &doing)?;
        let mut offers = [CHECKSUM | TSO4 | USO, CHECKSUM | TSO4, 0].into_iter();
        let taken = offers.find(|offer| {
            // SAFETY: the descriptor is open, and TUNSETOFFLOAD takes a number.
            unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, *offer) == 0 }
        });
        Ok(Tun { file, long_udp: taken.is_some_and(|taken| taken & USO != 0) })
    }

    /// Reads one packet, its header before it. `None` when there is none now.
    ///
    /// # Errors
    /// `EBADFD` when the device is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::io::read(&self.file, buffer) {
            Ok(length) => Ok(Some(length)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes one packet, given in pieces, the first of which is the header.
    ///
    /// # Errors
    /// `EIO` while the device is down, `EINVAL` for what is no packet, `EBADFD` when the device is gone.
    pub fn write(&self, pieces: &[IoSlice<'_>]) -> io::Result<()> {
        Ok(rustix::io::writev(&self.file, pieces).map(|_| ())?)
    }
}

impl Drop for Tun {
    /// Takes long packets and half-made checksums no more: the device stays and remembers what its reader took, and the next one may
    /// be a program that cannot, as flannel's.
    fn drop(&mut self) {
        // SAFETY: the descriptor is open, and TUNSETOFFLOAD takes a number. It fails where the device is gone, and that is as well.
        unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETOFFLOAD, 0) };
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn take(name: LinkName, doing: &str) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE);
    let file = opened.map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::NotFound => "it is missing: load the module tun, and in a container mount the device",
            io::ErrorKind::PermissionDenied => "the container must be privileged, or be given the device",
            _ => return system(doing, error),
        };
        system(doing, io::Error::new(error.kind(), format!("{DEVICE}: {error}; {what}")))
    })?;
    // SAFETY: all zeros is a value of this plain structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, octet) in request.ifr_name.iter_mut().zip(name.as_str().bytes()) {
        *place = octet as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `ifreq`, which lives longer than the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } < 0 {
        let error = io::Error::last_os_error();
        let what = match error.raw_os_error() {
            Some(libc::EBUSY) => "another program has it (flanneld still runs?): stop that one",
            Some(libc::EINVAL) => "another kind of link has the name: see `ip -d link`, and delete or rename it",
            _ => return Err(system(doing, error)),
        };
        return Err(system(doing, io::Error::new(error.kind(), format!("{error}; {what}"))));
    }
    Ok(file)
}

fn system(doing: &str, source: io::Error) -> Error {
    Error::System { doing: doing.to_owned(), source }
}
