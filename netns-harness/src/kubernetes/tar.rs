//! [`Tar`]: a tar archive written from files, links and texts; as much of the format (POSIX ustar) as images need.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

const BLOCK: usize = 512;

pub(super) struct Tar {
    out: BufWriter<File>,
}

/// What an entry is, `typeflag` in ustar.
#[derive(Clone, Copy)]
enum Kind {
    File = b'0' as isize,
    Link = b'2' as isize,
    Directory = b'5' as isize,
}

struct Entry<'a> {
    name: &'a str,
    kind: Kind,
    mode: u32,
    size: u64,
    target: &'a str,
}

impl Tar {
    pub fn create(path: &Path) -> Result<Tar> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Tar { out: BufWriter::new(file) })
    }

    pub fn text(&mut self, name: &str, text: &str) -> Result<()> {
        let size = text.len() as u64;
        self.entry(&Entry { name, kind: Kind::File, mode: 0o644, size, target: "" }, text.as_bytes())
    }

    /// A file of the machine, to be executed.
    pub fn file(&mut self, name: &str, source: &Path) -> Result<()> {
        let file = File::open(source).with_context(|| format!("cannot read {}", source.display()))?;
        let size = file.metadata()?.len();
        self.entry(&Entry { name, kind: Kind::File, mode: 0o755, size, target: "" }, file)
    }

    pub fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.entry(&Entry { name, kind: Kind::Link, mode: 0o777, size: 0, target }, std::io::empty())
    }

    pub fn directory(&mut self, name: &str, mode: u32) -> Result<()> {
        self.entry(&Entry { name, kind: Kind::Directory, mode, size: 0, target: "" }, std::io::empty())
    }

    /// Two empty blocks are the end.
    pub fn finish(mut self) -> Result<()> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(Into::into)
    }

    fn entry(&mut self, entry: &Entry, content: impl Read) -> Result<()> {
        let name = entry.name.trim_start_matches('/');
        ensure!(name.len() <= 100 && entry.target.len() <= 100, "{name} is too long for a tar of the plain kind");
        let mut header = [0_u8; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, name.as_bytes());
        put(100, format!("{:07o}", entry.mode).as_bytes());
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{:011o}", entry.size).as_bytes());
        put(136, b"00000000000");
        // The sum is taken with spaces in its own place.
        put(148, b"        ");
        put(156, &[entry.kind as u8]);
        put(157, entry.target.as_bytes());
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.out.write_all(&header)?;
        let written = std::io::copy(&mut content.take(entry.size), &mut self.out)?;
        ensure!(written == entry.size, "{name} has become shorter while it was read");
        let rest = (BLOCK - usize::try_from(written % BLOCK as u64)?) % BLOCK;
        self.out.write_all(&[0; BLOCK][..rest]).map_err(Into::into)
    }
}
