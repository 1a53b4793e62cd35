//! [`Reader`]: a cursor over bytes that cannot read past their end. Everything the codec takes from a peer goes through it.

/// The bytes ended before the field did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short;

/// What is still to be read of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A cursor at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left, without reading it.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Short> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, Short> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// The next two bytes, in network order.
    pub fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next four bytes, in network order.
    pub fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_be_bytes)
    }

    /// A part that says its length in one byte before it.
    pub fn part_u8(&mut self) -> Result<Reader<'a>, Short> {
        let length = self.u8()?;
        self.take(length.into()).map(Reader::new)
    }

    /// A part that says its length in two bytes before it.
    pub fn part_u16(&mut self) -> Result<Reader<'a>, Short> {
        let length = self.u16()?;
        self.take(length.into()).map(Reader::new)
    }
}

/// The value of an attribute or capability that consists of items of `N` bytes each, at least one: `None` when it does not.
pub fn items<const N: usize>(bytes: &[u8]) -> Option<impl ExactSizeIterator<Item = [u8; N]> + '_> {
    let (chunks, rest) = bytes.as_chunks::<N>();
    (rest.is_empty() && !chunks.is_empty()).then(|| chunks.iter().copied())
}
