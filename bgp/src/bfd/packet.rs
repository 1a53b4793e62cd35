//! [`Packet`]: a control packet to bytes and back (RFC 5880 section 4.1), with the checks of section 6.8.6 that need no session.

use crate::wire::reader::Reader;

use super::discard::Discard;
use super::state::{Diagnostic, State};

/// Bytes of a packet without authentication.
pub const BYTES: usize = 24;
/// The version of the protocol.
const VERSION: u8 = 1;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const INDEPENDENT: u8 = 0x08;
const AUTHENTICATED: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// A control packet. Intervals are in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Packet {
    /// Diag: why the sender was last not up.
    pub diagnostic: Diagnostic,
    /// Sta: the sender's state.
    pub state: State,
    /// P: an answer with F is wanted.
    pub poll: bool,
    /// F: it is that answer.
    pub is_final: bool,
    /// C: the sender's BFD lives on when its control plane restarts.
    pub independent: bool,
    /// D: the sender wants no packets while both are up.
    pub demand: bool,
    /// Detect Mult.
    pub multiplier: u8,
    /// My Discriminator, never 0.
    pub my_discriminator: u32,
    /// Your Discriminator, 0 when the sender knows none.
    pub your_discriminator: u32,
    /// Desired Min TX Interval.
    pub transmit_us: u32,
    /// Required Min RX Interval.
    pub receive_us: u32,
    /// Required Min Echo RX Interval.
    pub echo_us: u32,
}

impl Packet {
    /// Reads a packet: the payload of one datagram.
    ///
    /// # Errors
    /// When it is to be discarded, in the order of section 6.8.6.
    pub fn decode(bytes: &[u8]) -> Result<Packet, Discard> {
        let mut reader = Reader::new(bytes);
        let [first, flags, multiplier, length] = reader.array().map_err(|_| Discard::Length)?;
        if first >> 5 != VERSION {
            return Err(Discard::Version);
        }
        // At least 24, 26 with authentication, and no more than the datagram has.
        let authenticated = flags & AUTHENTICATED != 0;
        let least = if authenticated { BYTES + 2 } else { BYTES };
        if usize::from(length) < least || usize::from(length) > bytes.len() {
            return Err(Discard::Length);
        }
        if multiplier == 0 {
            return Err(Discard::Multiplier);
        }
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        let mut number = || reader.u32().map_err(|_| Discard::Length);
        let (my_discriminator, your_discriminator) = (number()?, number()?);
        let (transmit_us, receive_us, echo_us) = (number()?, number()?, number()?);
        if my_discriminator == 0 {
            return Err(Discard::NoDiscriminator);
        }
        let state = State::of_bits(flags >> 6);
        if your_discriminator == 0 && matches!(state, State::Init | State::Up) {
            return Err(Discard::Unaddressed);
        }
        // "If the A bit is set and no authentication is in use, the packet MUST be discarded."
        if authenticated {
            return Err(Discard::Authentication);
        }
        Ok(Packet {
            diagnostic: Diagnostic(first & 0x1f),
            state,
            poll: flags & POLL != 0,
            is_final: flags & FINAL != 0,
            independent: flags & INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            multiplier,
            my_discriminator,
            your_discriminator,
            transmit_us,
            receive_us,
            echo_us,
        })
    }

    /// The payload of a datagram.
    pub fn encode(&self) -> [u8; BYTES] {
        let bit = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = ((self.state as u8) << 6)
            | bit(self.poll, POLL)
            | bit(self.is_final, FINAL)
            | bit(self.independent, INDEPENDENT)
            | bit(self.demand, DEMAND);
        let head = [(VERSION << 5) | (self.diagnostic.0 & 0x1f), flags, self.multiplier, BYTES as u8];
        let numbers = [self.my_discriminator, self.your_discriminator, self.transmit_us, self.receive_us, self.echo_us];
        let mut bytes = [0; BYTES];
        let words = std::iter::once(head).chain(numbers.map(u32::to_be_bytes));
        for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *place = word;
        }
        bytes
    }
}
