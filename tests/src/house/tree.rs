//! [`Tree`]: the repository's own files, as a person who cloned it sees them. What was built is left out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::house::source::Source;

/// Directories that hold what was built, or the history.
const NOT_OURS: [&str; 3] = ["target", "dist", ".git"];

/// The repository's files, by path relative to its root.
pub struct Tree {
    root: PathBuf,
    paths: Vec<PathBuf>,
}

impl Tree {
    /// The repository that this crate lies in.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn here() -> Result<Tree> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = root.canonicalize().with_context(|| format!("{} is not a directory", root.display()))?;
        let mut paths = Vec::new();
        collect(&root, Path::new(""), &mut paths)?;
        paths.sort();
        Ok(Tree { root, paths })
    }

    /// Whether a path, relative to the root, is there: a file or a directory.
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The relative paths with this extension.
    pub fn with_extension(&self, extension: &str) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path).filter(move |path| path.extension().is_some_and(|e| e == extension))
    }

    /// All relative paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path)
    }

    /// One file's text; bytes that are not UTF-8 are shown as such and do not hide the rest.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn text(&self, path: &Path) -> Result<String> {
        let bytes = fs::read(self.root.join(path)).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// All Rust files, parsed.
    ///
    /// # Errors
    /// When one cannot be read or is not Rust.
    pub fn sources(&self) -> Result<Vec<Source>> {
        self.with_extension("rs").map(|path| Source::parse(path, self.text(path)?)).collect()
    }
}

fn collect(root: &Path, below: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let directory = root.join(below);
    for entry in fs::read_dir(&directory).with_context(|| format!("{} cannot be read", directory.display()))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() && !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
            collect(root, &path, paths)?;
        } else if kind.is_file() {
            paths.push(path);
        }
    }
    Ok(())
}
