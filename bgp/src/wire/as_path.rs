//! [`AsPath`]: through which systems a route came (RFC 4271 sections 4.3 and 5.1.2), also between speakers of two and of four
//! octets (RFC 6793).

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::reader::Reader;
use super::terms::AsWidth;

/// Stands where a number of four octets does not fit into two (RFC 6793).
pub const AS_TRANS: u16 = 23456;

/// Numbers that one segment can hold.
const SEGMENT_NUMBERS: usize = 255;

/// A path, the nearest system first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct AsPath {
    /// Its parts; none for a route that begins in our own AS.
    pub segments: Vec<Segment>,
}

/// A part of a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// AS_SET: some of these, in no order. Deprecated by RFC 9774.
    Set(Vec<u32>),
    /// AS_SEQUENCE: these, one after another.
    Sequence(Vec<u32>),
}

/// The bytes are not a path (RFC 7606 section 7.2), or hold AS 0 (RFC 7607).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedPath;

impl Segment {
    /// Its numbers.
    pub fn numbers(&self) -> &[u32] {
        match self {
            Segment::Set(numbers) | Segment::Sequence(numbers) => numbers,
        }
    }

    fn number(&self) -> u8 {
        match self {
            Segment::Set(_) => 1,
            Segment::Sequence(_) => 2,
        }
    }

    /// What it counts for in a comparison of lengths: a set is one step.
    fn length(&self) -> usize {
        match self {
            Segment::Set(_) => 1,
            Segment::Sequence(numbers) => numbers.len(),
        }
    }
}

impl AsPath {
    /// One sequence; an empty one is no segment.
    pub fn sequence(numbers: Vec<u32>) -> AsPath {
        let segments = if numbers.is_empty() { vec![] } else { vec![Segment::Sequence(numbers)] };
        AsPath { segments }
    }

    /// Reads the value of AS_PATH or AS4_PATH. A segment without numbers, one that runs past the end and one byte too many are
    /// malformed; so are segments of confederations, which this speaker is not in (RFC 5065 section 5).
    pub fn decode(value: &[u8], width: AsWidth) -> Result<AsPath, MalformedPath> {
        let mut reader = Reader::new(value);
        let mut path = AsPath::default();
        while !reader.is_empty() {
            let kind = reader.u8().map_err(|_| MalformedPath)?;
            let count = reader.u8().map_err(|_| MalformedPath)?;
            let numbers = numbers(&mut reader, count, width)?;
            path.push(match kind {
                1 => Segment::Set(numbers),
                2 => Segment::Sequence(numbers),
                _ => return Err(MalformedPath),
            });
        }
        Ok(path)
    }

    /// Appends the value. A segment of more than 255 numbers becomes several.
    pub fn encode(&self, width: AsWidth, out: &mut Vec<u8>) {
        for segment in &self.segments {
            for numbers in segment.numbers().chunks(SEGMENT_NUMBERS) {
                out.push(segment.number());
                out.push(u8::try_from(numbers.len()).unwrap_or(u8::MAX));
                for number in numbers {
                    match width {
                        AsWidth::Four => out.extend_from_slice(&number.to_be_bytes()),
                        AsWidth::Two => out.extend_from_slice(&narrow(*number).to_be_bytes()),
                    }
                }
            }
        }
    }

    /// Steps, for the comparison of paths (RFC 4271 section 9.1.2.2 a).
    pub fn length(&self) -> usize {
        self.segments.iter().map(Segment::length).sum()
    }

    /// All numbers, sets included.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.segments.iter().flat_map(Segment::numbers).copied()
    }

    /// Whether the path goes through an AS: a loop, if that is ours.
    pub fn contains(&self, asn: u32) -> bool {
        self.numbers().any(|number| number == asn)
    }

    /// The AS that sent it to us; `None` for an empty path or one that begins with a set.
    pub fn first(&self) -> Option<u32> {
        match self.segments.first() {
            Some(Segment::Sequence(numbers)) => numbers.first().copied(),
            _ => None,
        }
    }

    /// The AS in which the route begins; `None` for an empty path or one that ends in a set.
    pub fn origin(&self) -> Option<u32> {
        match self.segments.last() {
            Some(Segment::Sequence(numbers)) => numbers.last().copied(),
            _ => None,
        }
    }

    /// Whether there is an AS_SET in it.
    pub fn has_set(&self) -> bool {
        self.segments.iter().any(|segment| matches!(segment, Segment::Set(_)))
    }

    /// Puts an AS before the path, `times` times (RFC 4271 section 5.1.2).
    pub fn prepend(&mut self, asn: u32, times: u8) {
        let new = std::iter::repeat_n(asn, times.into());
        match self.segments.first_mut() {
            Some(Segment::Sequence(numbers)) => {
                numbers.splice(0..0, new);
            }
            _ if times > 0 => self.segments.insert(0, Segment::Sequence(new.collect())),
            _ => {}
        }
    }

    /// What an OLD peer's AS_PATH and AS4_PATH mean together (RFC 6793 section 4.2.3): the end is the AS4_PATH's, and what is missing
    /// at its beginning the AS_PATH's. An AS4_PATH that is longer was not made from this path and is not believed.
    pub fn with_as4_path(self, as4_path: AsPath) -> AsPath {
        let Some(mut missing) = self.length().checked_sub(as4_path.length()) else { return self };
        let mut merged = AsPath::default();
        for segment in self.segments {
            let taken = match segment {
                _ if missing == 0 => break,
                Segment::Set(numbers) => {
                    missing -= 1;
                    Segment::Set(numbers)
                }
                Segment::Sequence(mut numbers) => {
                    numbers.truncate(missing);
                    missing -= numbers.len();
                    Segment::Sequence(numbers)
                }
            };
            merged.push(taken);
        }
        as4_path.segments.into_iter().for_each(|segment| merged.push(segment));
        merged
    }

    /// Adds a segment at the end; two sequences become one.
    fn push(&mut self, segment: Segment) {
        match (self.segments.last_mut(), segment) {
            (Some(Segment::Sequence(last)), Segment::Sequence(numbers)) => last.extend(numbers),
            (_, segment) => self.segments.push(segment),
        }
    }
}

/// A text that is no path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "`{text}` is no AS path: write numbers from 1 to 4294967295 with spaces between, the neighbour's first, as in \"64601 65010\""
)]
pub struct NotAPath {
    text: String,
}

impl FromStr for AsPath {
    type Err = NotAPath;

    /// As [`fmt::Display`] prints it: `64512 64513 {64514,64515}`.
    fn from_str(text: &str) -> Result<AsPath, NotAPath> {
        let wrong = || NotAPath { text: text.to_owned() };
        let number = |word: &str| word.parse().ok().filter(|number| *number != 0);
        let mut path = AsPath::default();
        for word in text.split_ascii_whitespace() {
            let set = word.strip_prefix('{').and_then(|word| word.strip_suffix('}'));
            let segment = match set {
                Some(set) => set.split(',').map(number).collect::<Option<Vec<u32>>>().map(Segment::Set),
                None => number(word).map(|number| Segment::Sequence(vec![number])),
            };
            path.push(segment.ok_or_else(wrong)?);
        }
        Ok(path)
    }
}

/// A number as an OLD speaker sees it.
pub fn narrow(asn: u32) -> u16 {
    u16::try_from(asn).unwrap_or(AS_TRANS)
}

fn numbers(reader: &mut Reader<'_>, count: u8, width: AsWidth) -> Result<Vec<u32>, MalformedPath> {
    let octets = match width {
        AsWidth::Two => 2,
        AsWidth::Four => 4,
    };
    let bytes = reader.take(usize::from(count) * octets).map_err(|_| MalformedPath)?;
    let numbers: Vec<u32> = match width {
        AsWidth::Two => bytes.as_chunks().0.iter().map(|two| u16::from_be_bytes(*two).into()).collect(),
        AsWidth::Four => bytes.as_chunks().0.iter().map(|four| u32::from_be_bytes(*four)).collect(),
    };
    if numbers.is_empty() || numbers.contains(&0) { Err(MalformedPath) } else { Ok(numbers) }
}

impl fmt::Display for AsPath {
    /// As routers print it: `64512 64513 {64514,64515}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, segment) in self.segments.iter().enumerate() {
            let texts: Vec<String> = segment.numbers().iter().map(u32::to_string).collect();
            let space = if place == 0 { "" } else { " " };
            match segment {
                Segment::Set(_) => write!(f, "{space}{{{}}}", texts.join(","))?,
                Segment::Sequence(_) => write!(f, "{space}{}", texts.join(" "))?,
            }
        }
        Ok(())
    }
}
