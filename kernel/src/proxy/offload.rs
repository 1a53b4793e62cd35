//! `struct virtio_net_hdr` (include/uapi/linux/virtio_net.h), which a TUN device with `IFF_VNET_HDR` puts before each packet:
//! what is still to be done to the packet — its checksum, its division into segments.

/// Octets of it.
pub(super) const LENGTH: usize = 10;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_…`
const WHOLE: u8 = 0;
const TCP4: u8 = 1;
const UDP: u8 = 5;

/// What a packet is divided into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Division {
    /// It is as long as it shall be.
    Whole,
    /// TCP over IPv4, with so much payload a segment.
    Tcp(u16),
    /// UDP over IPv4, the same.
    Udp(u16),
}

/// What is to be done to a packet, in the machine's byte order as TUN has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offload {
    /// How it is to be divided.
    pub division: Division,
    /// Where the checksum's range begins, and where in it the checksum stands; `None` when it is complete.
    pub checksum: Option<(u16, u16)>,
}

impl Offload {
    /// Nothing is to be done.
    pub const NONE: Offload = Offload { division: Division::Whole, checksum: None };

    /// Splits what was read from the device; `None` when it is too short, or to be divided in a way that was not asked for.
    pub fn read(bytes: &[u8; LENGTH]) -> Option<Offload> {
        let [flags, kind, _, _, s0, s1, b0, b1, o0, o1] = *bytes;
        let size = u16::from_ne_bytes([s0, s1]);
        let division = match kind {
            WHOLE => Division::Whole,
            TCP4 if size > 0 => Division::Tcp(size),
            UDP if size > 0 => Division::Udp(size),
            _ => return None,
        };
        let checksum = (u16::from_ne_bytes([b0, b1]), u16::from_ne_bytes([o0, o1]));
        Some(Offload { division, checksum: (flags & NEEDS_CHECKSUM != 0).then_some(checksum) })
    }

    /// As it is written before a packet whose headers have so many octets.
    pub fn written(self, headers: u16) -> [u8; LENGTH] {
        let (kind, size) = match self.division {
            Division::Whole => (WHOLE, 0),
            Division::Tcp(size) => (TCP4, size),
            Division::Udp(size) => (UDP, size),
        };
        let (begin, place) = self.checksum.unwrap_or_default();
        let [[h0, h1], [s0, s1], [b0, b1], [o0, o1]] = [headers, size, begin, place].map(u16::to_ne_bytes);
        [if self.checksum.is_some() { NEEDS_CHECKSUM } else { 0 }, kind, h0, h1, s0, s1, b0, b1, o0, o1]
    }
}
