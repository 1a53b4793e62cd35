//! [`Order`]: what a guest finds when it boots: what to run, which directories to see, how to say that it is done.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

/// Set in a guest.
const INSIDE: &str = "TOWPATH_LAB_GUEST";
/// What a guest has of its own: the host's is hidden there.
const HIDDEN: [&str; 2] = ["/run", "/tmp"];

/// Whether this process runs in a guest.
pub(super) fn inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// A directory with the order, removed on drop.
pub(super) struct Order {
    directory: PathBuf,
    token: String,
}

impl Order {
    /// Writes it down. Everything that the command needs is where it is on the host: its own directory, the repository,
    /// the binaries that tests take.
    pub(super) fn leave(command: &Command) -> Result<Order> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let token = format!("towpath-guest-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(&token);
        std::fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let order = Order { directory, token };
        order.write("init", include_bytes!("init.sh"))?;
        order.write("mounts", include_bytes!("mounts"))?;
        order.write("command", &script(command)?)?;
        order.write("seen", &seen(command)?)?;
        Ok(order)
    }

    /// What the line begins with that says how the command ended.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Words for the kernel's command line: its own settings, and what the first process finds in its environment.
    pub(super) fn boot_words(&self) -> [String; 4] {
        let here = self.directory.display();
        [
            format!("uml_dir={here}"),
            format!("init={here}/init"),
            format!("ORDER={here}"),
            format!("TOKEN={}", self.token),
        ]
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.directory.join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&path);
        let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, content));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

/// The command for a shell, with this process' environment.
fn script(command: &Command) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for (name, value) in std::env::vars_os().filter(|(name, _)| is_name(name)) {
        lines.push([b"export ", name.as_bytes(), b"=", &quoted(&value)].concat());
    }
    // Where a test of ours would make its files is the host's, which is read only.
    lines.push(format!("export TMPDIR=/tmp {INSIDE}=1").into_bytes());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => lines.push([b"export ", name.as_bytes(), b"=", &quoted(value)].concat()),
            None => lines.push([b"unset ", name.as_bytes()].concat()),
        }
    }
    let directory = std::env::current_dir().context("this process has no directory to be in")?;
    lines.push([b"cd ", quoted(directory.as_os_str()).as_slice()].concat());
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    lines.push(words.map(quoted).collect::<Vec<_>>().join(&b' '));
    Ok([lines.join(&b'\n'), b"\n".to_vec()].concat())
}

/// What a shell can export.
fn is_name(name: &OsStr) -> bool {
    let word = name.as_bytes();
    !word.first().is_none_or(u8::is_ascii_digit)
        && word.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'_')
}

/// A word that a shell takes as it is.
fn quoted(word: impl AsRef<OsStr>) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for octet in word.as_ref().as_bytes() {
        match octet {
            b'\'' => quoted.extend_from_slice(br"'\''"),
            other => quoted.push(*other),
        }
    }
    quoted.push(b'\'');
    quoted
}

/// The directories below those that are hidden in a guest and must not be, one per line, none below another.
fn seen(command: &Command) -> Result<Vec<u8>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned);
    let program = Path::new(command.get_program()).parent().map(Path::to_owned);
    let binaries = std::env::var_os("TOWPATH_BIN_DIR").map(PathBuf::from);
    let here = std::env::current_dir().ok();
    let mut all: Vec<PathBuf> = [repository, program, binaries, here].into_iter().flatten().collect();
    all.retain(|path| {
        path.is_dir() && HIDDEN.iter().any(|hidden| path.starts_with(hidden) && path != Path::new(hidden))
    });
    all.sort();
    let mut seen: Vec<PathBuf> = Vec::new();
    for path in all {
        if !seen.last().is_some_and(|above| path.starts_with(above)) {
            seen.push(path);
        }
    }
    let mut lines = OsString::new();
    for path in &seen {
        ensure!(!path.as_os_str().as_bytes().contains(&b'\n'), "{} cannot be shown to a guest", path.display());
        lines.push(path);
        lines.push("\n");
    }
    Ok(lines.as_bytes().to_vec())
}
