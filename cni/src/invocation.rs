//! What a person types: `towpath --help`, `--version`, `--install DIR [--force]`. A runtime never gives arguments.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use towpath_install::install::{self, Action, MARK, Placed, Replace};

use crate::version::Version;

/// What is asked on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// Nothing: the environment says what to do.
    Plugin,
    /// `--help`
    Help,
    /// `--version`
    Release,
    /// `--install DIR`
    Install {
        /// Where to.
        directory: PathBuf,
        /// Whether by force.
        replace: Replace,
    },
    /// Nothing that can be done, and why.
    Wrong(String),
}

impl Invocation {
    /// Reads the arguments behind the program's name.
    pub fn read(arguments: impl Iterator<Item = OsString>) -> Invocation {
        let (mut directory, mut replace, mut install) = (None, Replace::Older, false);
        for argument in arguments {
            match argument.to_str() {
                Some("--help" | "-h" | "help") => return Invocation::Help,
                Some("--version" | "-V") => return Invocation::Release,
                Some("--install") => install = true,
                Some("--force") => replace = Replace::Anything,
                Some(text) if text.starts_with("--install=") => {
                    install = true;
                    directory = Some(PathBuf::from(&text["--install=".len()..]));
                }
                Some(text) if text.starts_with('-') => return Invocation::Wrong(format!("there is no option {text}")),
                _ if install && directory.is_none() => directory = Some(PathBuf::from(argument)),
                _ => return Invocation::Wrong(format!("{} is not expected here", argument.to_string_lossy())),
            }
        }
        match (install, directory) {
            (true, Some(directory)) if !directory.as_os_str().is_empty() => Invocation::Install { directory, replace },
            (true, _) => Invocation::Wrong("--install needs the directory, as in --install /opt/cni/bin".to_owned()),
            (false, _) if replace == Replace::Anything => Invocation::Wrong("--force belongs to --install".to_owned()),
            (false, _) => Invocation::Plugin,
        }
    }
}

/// `--help`.
pub fn help() -> String {
    format!(
        "\
towpath {release}: a CNI plugin. Container runtimes start it once for each pod and verb; it connects the pod to the
node's bridge or routes it, gives it an address, and maps its host ports. Nothing is to be typed for that: the file lies in
/opt/cni/bin, and a configuration in /etc/cni/net.d names it:

    {{ \"cniVersion\": \"1.1.0\", \"name\": \"cbr0\", \"plugins\": [{{ \"type\": \"towpath\" }}] }}

It answers ADD, DEL, CHECK, GC, STATUS and VERSION of the CNI specification {versions}, and as {names}
when it is called by these names.

    towpath --install DIR            puts this file and links by the usual names into DIR, atomically; keeps what is
                                     newer or not ours
    towpath --install DIR --force    replaces that too
    towpath --version                says which release this is
    towpath --help                   says this

To ask it by hand what a runtime would:

    CNI_COMMAND=STATUS towpath < configuration.json
",
        release = release(),
        versions = Version::ALL.map(Version::as_str).join(", "),
        names = install::NAMES.join(", "),
    )
}

/// `--version`: what `--install` finds in the file as well.
pub fn release() -> &'static str {
    MARK.trim_end_matches(';').rsplit(':').next().unwrap_or(MARK)
}

/// `--install`: a line for each name. Whether all went well.
///
/// # Errors
/// A sentence, when nothing could be done.
pub fn install(directory: &Path, replace: Replace) -> Result<(String, bool), String> {
    let source = Path::new("/proc/self/exe");
    let placed = install::install(source, directory, &install::NAMES, replace).map_err(|error| error.to_string())?;
    let good = placed.iter().all(|placed| placed.result.is_ok());
    Ok((placed.iter().map(|placed| line(directory, placed)).collect(), good))
}

fn line(directory: &Path, placed: &Placed) -> String {
    let path = directory.join(&placed.name);
    let what = match &placed.result {
        Ok(Action::Left) => "is right".to_owned(),
        Ok(Action::Made) => "made".to_owned(),
        Ok(Action::Replaced) => "replaced".to_owned(),
        Ok(Action::KeptNewer(release)) => format!("kept: it is {release}, newer than this ({})", self::release()),
        Ok(Action::KeptForeign) => "kept: it is not ours (--force replaces it)".to_owned(),
        Err(error) => format!("not done: {error}"),
    };
    format!("{}: {what}\n", path.display())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn read(words: &[&str]) -> Invocation {
        Invocation::read(words.iter().map(OsString::from))
    }

    #[test]
    fn what_people_type_is_understood_or_explained() {
        let install = |replace| Invocation::Install { directory: "/opt/cni/bin".into(), replace };
        assert_eq!(read(&[]), Invocation::Plugin);
        assert_eq!(read(&["--install", "/opt/cni/bin"]), install(Replace::Older));
        assert_eq!(read(&["--force", "--install=/opt/cni/bin"]), install(Replace::Anything));
        assert_eq!((read(&["-h"]), read(&["--version"])), (Invocation::Help, Invocation::Release));
        for words in [&["--install"][..], &["--force"], &["x"], &["--instal", "x"], &["--install", "a", "b"]] {
            assert!(matches!(read(words), Invocation::Wrong(_)), "{words:?}");
        }
    }

    #[test]
    fn every_name_that_is_linked_is_one_that_is_answered_to() {
        use crate::plugin::Plugin;
        let mut names: Vec<&str> = Plugin::ALL.map(Plugin::name).to_vec();
        names.retain(|name| *name != install::FILE);
        names.sort_unstable();
        assert_eq!(names, install::NAMES);
        assert!(help().contains("tuning") && help().contains(release()));
    }
}
