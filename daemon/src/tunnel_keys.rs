//! [`TunnelKeys`]: this node's WireGuard key, kept in a file as flannel keeps it, and the key that all nodes share, where it comes
//! from a file or the environment.
//!
//! The file decides how long the key lasts: on flannel's own place, /run, until the next boot. It is made when it is missing and
//! never overwritten: whatever else is in it may be the only copy of something.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use backends::wireguard::Generation;
use ipam::key::{KEY_OCTETS, KeyError};
use ipam::{PublicKey, SecretKey};
use rustix::rand::GetRandomFlags;
use x25519_dalek::{PublicKey as Point, StaticSecret};

use crate::whole_file;

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySettings {
    /// This node's private key (`--wireguard-key-file`).
    pub file: PathBuf,
    /// The key that all nodes share (`--wireguard-psk`).
    pub preshared: Option<SecretKey>,
    /// A file that holds it (`--wireguard-psk-file`); it wins.
    pub preshared_file: Option<PathBuf>,
}

impl KeySettings {
    /// The file of a generation: `wgkey`, and after the first rotation `wgkey.1`.
    fn file_of(&self, generation: Generation) -> PathBuf {
        if generation == Generation::default() {
            return self.file.clone();
        }
        let mut name = self.file.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{generation}"));
        self.file.with_file_name(name)
    }

    /// Removes the key of a generation that nothing uses any more.
    pub fn remove(&self, generation: Generation) {
        let file = self.file_of(generation);
        match fs::remove_file(&file) {
            Ok(()) => tracing::info!("the old WireGuard key was removed: {}", file.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!("the old WireGuard key {} cannot be removed: {error}", file.display()),
        }
    }
}

/// What is known of this node's keys outside of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelKeys {
    /// What peers know it by.
    pub public: PublicKey,
    /// What all nodes know; `None` where files and environment say nothing of it.
    pub preshared: Option<SecretKey>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file that cannot be read.
    #[error("the WireGuard key file {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A file that cannot be made.
    #[error("the WireGuard key file {} cannot be written: {source}; name another place with --wireguard-key-file", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Something that is no key.
    #[error("{} holds no key: {reason}; write one there, or remove it", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: KeyError,
    },
    /// No randomness.
    #[error("the kernel gives no random octets for a WireGuard key: {0}")]
    Random(#[source] io::Error),
}

impl TunnelKeys {
    /// Reads them, and makes this node's own where there is none yet. Gives its private key beside them.
    ///
    /// # Errors
    /// [`KeysError`]; a file that is there is left as it is.
    pub fn load(settings: &KeySettings, generation: Generation) -> Result<(TunnelKeys, SecretKey), KeysError> {
        let file = settings.file_of(generation);
        let private = match read_key(&file)? {
            Some(private) => private,
            None => make(&file)?,
        };
        let preshared =
            match (&settings.preshared_file, &settings.preshared) {
                (Some(path), _) => Some(read_key(path)?.ok_or_else(|| KeysError::Unreadable {
                    path: path.clone(),
                    source: io::ErrorKind::NotFound.into(),
                })?),
                (None, preshared) => *preshared,
            };
        let wrong = |reason| KeysError::Wrong { path: file.clone(), reason };
        let public = public_of(&private).map_err(wrong)?;
        Ok((TunnelKeys { public, preshared: preshared.filter(|key| !key.is_none()) }, private))
    }
}

/// The public key that belongs to a private one (RFC 7748 section 6.1). `wg pubkey`
///
/// # Errors
/// [`KeyError::LowOrder`], of a private key that nobody would draw.
pub fn public_of(private: &SecretKey) -> Result<PublicKey, KeyError> {
    PublicKey::new(Point::from(&StaticSecret::from(*private.expose())).to_bytes())
}

/// Writes a new private key into a file that is not there yet. `wg genkey`
fn make(path: &Path) -> Result<SecretKey, KeysError> {
    let mut octets = [0; KEY_OCTETS];
    // Waits, after a boot, until the kernel has gathered enough (getrandom(2)).
    let drawn = rustix::rand::getrandom(&mut octets, GetRandomFlags::empty());
    if drawn.map_err(|error| KeysError::Random(error.into()))? != KEY_OCTETS {
        return Err(KeysError::Random(io::ErrorKind::UnexpectedEof.into()));
    }
    // As the kernel itself would change it (RFC 7748 section 5), so that what is read back is the same.
    octets[0] &= 0xf8;
    octets[KEY_OCTETS - 1] = octets[KEY_OCTETS - 1] & 0x7f | 0x40;
    let private = SecretKey::new(octets);
    let written = whole_file::replace(path, 0o400, |out| writeln!(out, "{}", private.expose_base64()));
    written.map_err(|source| KeysError::Unwritable { path: path.to_owned(), source })?;
    tracing::info!("a new WireGuard key was made: {}", path.display());
    Ok(private)
}

/// The key in a file; `None` when there is no file.
fn read_key(path: &Path) -> Result<Option<SecretKey>, KeysError> {
    // A key has 44 octets and an end of line; what is longer is something else.
    const LONGEST: u64 = 256;
    let mut text = String::new();
    let read = fs::File::open(path).and_then(|file| {
        let mode = file.metadata()?.permissions().mode();
        file.take(LONGEST).read_to_string(&mut text)?;
        Ok(mode)
    });
    match read {
        Ok(mode) if mode & 0o077 != 0 => {
            let (path, mode) = (path.display(), mode & 0o777);
            tracing::warn!("others may read the WireGuard key file {path} (mode {mode:o}): chmod 0400 {path}");
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(KeysError::Unreadable { path: path.to_owned(), source }),
    }
    let wrong = |reason| KeysError::Wrong { path: path.to_owned(), reason };
    text.trim().parse().map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::scratch::Scratch;

    fn settings(file: PathBuf) -> KeySettings {
        KeySettings { file, preshared: None, preshared_file: None }
    }

    #[test]
    fn the_public_key_is_the_one_of_rfc_7748() {
        // Section 6.1: Alice's.
        let private = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=".parse().unwrap();
        assert_eq!(public_of(&private).unwrap().to_string(), "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=");
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_found_again() {
        let scratch = Scratch::new("tunnel-keys");
        let settings = settings(scratch.0.join("run/wgkey"));
        let (keys, private) = TunnelKeys::load(&settings, Generation::default()).unwrap();
        assert_eq!(TunnelKeys::load(&settings, Generation::default()).unwrap(), (keys, private));
        assert_eq!(fs::metadata(&settings.file).unwrap().permissions().mode() & 0o777, 0o400);
        assert_eq!(fs::read_to_string(&settings.file).unwrap(), private.expose_base64() + "\n");
        let octets = private.expose();
        assert!(octets[0] & 7 == 0 && octets[31] & 0xc0 == 0x40);
    }

    #[test]
    fn what_is_no_key_is_left_as_it_is_and_not_told() {
        let scratch = Scratch::new("tunnel-keys-wrong");
        let settings = settings(scratch.0.join("wgkey"));
        fs::write(&settings.file, "half a secret").unwrap();
        let error = TunnelKeys::load(&settings, Generation::default()).unwrap_err().to_string();
        assert!(error.contains("wgkey holds no key") && !error.contains("half"), "{error}");
        assert_eq!(fs::read_to_string(&settings.file).unwrap(), "half a secret");
    }

    #[test]
    fn the_shared_key_comes_from_a_file_before_the_environment() {
        let scratch = Scratch::new("tunnel-keys-shared");
        let shared = |octet| SecretKey::new([octet; 32]);
        let (path, file) = (scratch.0.join("psk"), scratch.0.join("wgkey"));
        let mut settings = settings(file);
        settings.preshared = Some(shared(1));
        assert_eq!(TunnelKeys::load(&settings, Generation::default()).unwrap().0.preshared, Some(shared(1)));
        settings.preshared_file = Some(path.clone());
        assert!(
            TunnelKeys::load(&settings, Generation::default()).is_err(),
            "a file that was named and is not there is no empty wish"
        );
        fs::write(&path, shared(2).expose_base64()).unwrap();
        assert_eq!(TunnelKeys::load(&settings, Generation::default()).unwrap().0.preshared, Some(shared(2)));
    }
}
