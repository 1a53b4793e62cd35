//! [`Architecture`]: what machine a program is for, and whether it needs a loader, read from its ELF header (elf(5)).

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::ImageError;

/// What machine an image is for, by the name that OCI has for it (Go's GOARCH).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

impl Architecture {
    /// `e_machine`: EM_X86_64, EM_AARCH64.
    fn elf_machine(self) -> u16 {
        match self {
            Architecture::Amd64 => 62,
            Architecture::Arm64 => 183,
        }
    }

    /// Refuses what would not start in an empty image.
    pub(crate) fn check(self, path: &Path, program: &[u8]) -> Result<(), ImageError> {
        let elf = Elf(program);
        if elf.machine() != Some(self.elf_machine()) {
            return Err(ImageError::WrongMachine { path: path.to_owned(), wanted: self });
        }
        if elf.wants_loader() { Err(ImageError::NotStatic { path: path.to_owned() }) } else { Ok(()) }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
        })
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "amd64" | "x86_64" => Ok(Architecture::Amd64),
            "arm64" | "aarch64" => Ok(Architecture::Arm64),
            _ => Err(format!("`{text}` is neither amd64 nor arm64")),
        }
    }
}

/// A 64-bit little-endian ELF file.
struct Elf<'a>(&'a [u8]);

/// `PT_INTERP`: the program names a loader.
const INTERP: u32 = 3;

impl Elf<'_> {
    fn machine(&self) -> Option<u16> {
        // ELFCLASS64, ELFDATA2LSB.
        self.0.starts_with(b"\x7fELF\x02\x01").then_some(())?;
        self.half(18)
    }

    fn wants_loader(&self) -> bool {
        let (Some(start), Some(length), Some(count)) = (self.long(32), self.half(54), self.half(56)) else {
            return false;
        };
        (0..usize::from(count)).any(|entry| {
            let place = entry.checked_mul(usize::from(length)).and_then(|offset| offset.checked_add(start));
            place.and_then(|place| self.word(place)) == Some(INTERP)
        })
    }

    fn half(&self, at: usize) -> Option<u16> {
        Some(u16::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_le_bytes(*self.0.get(at..)?.first_chunk()?))
    }

    fn long(&self, at: usize) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(*self.0.get(at..)?.first_chunk()?)).ok()
    }
}
