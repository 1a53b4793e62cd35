//! [`Lines`]: a watch's body cut into lines. A half line is kept until its rest comes; what is left at the end is dropped, for the
//! server sends it again.

use memchr::memchr;

use super::failure::Failure;

/// The longest line that is taken: an object of etcd has at most 1.5 MiB, and JSON may need six letters for one.
const LONGEST: usize = 16 << 20;
/// Memory that is kept for the next line.
const KEPT: usize = 128 << 10;

/// What came and is not a whole line yet.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: Vec<u8>,
    /// How much of it was looked through without finding an end.
    searched: usize,
}

impl Lines {
    /// Takes a piece in and gives every line that is whole now to `take`.
    ///
    /// # Errors
    /// What `take` says, or that a line never ends.
    pub fn push(&mut self, piece: &[u8], mut take: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        self.buffer.extend_from_slice(piece);
        let mut start = 0;
        while let Some(end) = self.buffer.get(self.searched..).and_then(|rest| memchr(b'\n', rest)) {
            let line = self.buffer.get(start..self.searched + end).unwrap_or_default();
            if !line.iter().all(u8::is_ascii_whitespace) {
                take(line)?;
            }
            self.searched += end + 1;
            start = self.searched;
        }
        self.buffer.drain(..start);
        if self.buffer.len() > LONGEST {
            return Err(Failure::Unreadable(format!("a line of the watch is longer than {LONGEST} bytes")));
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer.shrink_to(KEPT);
        }
        self.searched = self.buffer.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_are_cut(
            lines in prop::collection::vec("[a-z{}\"é]{1,20}", 0..10),
            half in "[a-z]{0,5}",
            cuts in prop::collection::vec(0_usize..300, 0..20),
        ) {
            let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>() + &half;
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let (mut reader, mut seen) = (Lines::default(), Vec::new());
            for pair in cuts.windows(2) {
                reader
                    .push(&bytes[pair[0]..pair[1]], |line| {
                        seen.push(String::from_utf8(line.to_vec()).unwrap());
                        Ok(())
                    })
                    .unwrap();
            }
            prop_assert_eq!(seen, lines);
            prop_assert_eq!(reader.buffer, half.as_bytes());
        }
    }

    #[test]
    fn a_line_without_end_is_given_up_and_a_long_one_leaves_no_memory_behind() {
        let mut reader = Lines::default();
        let piece = vec![b'x'; 1 << 20];
        let given_up = (0..20).find(|_| reader.push(&piece, |_| Ok(())).is_err());
        assert_eq!(given_up, Some(16));
        let mut reader = Lines::default();
        reader.push(&piece, |_| Ok(())).unwrap();
        reader
            .push(b"\n", |line| {
                assert_eq!(line.len(), 1 << 20);
                Ok(())
            })
            .unwrap();
        assert!(reader.buffer.capacity() <= 2 * KEPT, "{}", reader.buffer.capacity());
    }
}
