//! What becomes of a plugin directory, whatever lies in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

struct Scene(PathBuf);

impl Scene {
    /// A directory that is not there yet, and a plugin's file of a release.
    fn new() -> Scene {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("towinst{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let scene = Scene(std::env::temp_dir().join(name));
        fs::create_dir_all(&scene.0).unwrap();
        scene
    }

    fn source(&self, release: &str, build: &str) -> PathBuf {
        let path = self.0.join("source");
        fs::write(&path, format!("ELF towpath-plugin-release:{release}; {build}")).unwrap();
        path
    }

    fn bin(&self) -> PathBuf {
        self.0.join("opt/cni/bin")
    }

    fn install(&self, source: &Path, replace: Replace) -> Vec<(String, Action)> {
        let placed = install(source, &self.bin(), &NAMES, replace).unwrap();
        placed.into_iter().map(|placed| (placed.name, placed.result.unwrap())).collect()
    }

    fn put(&self, name: &str, content: &str) {
        fs::create_dir_all(self.bin()).unwrap();
        fs::write(self.bin().join(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.bin().join(name)).unwrap()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn all(action: Action) -> Vec<(String, Action)> {
    [FILE].into_iter().chain(NAMES).map(|name| (name.to_owned(), action)).collect()
}

#[test]
fn file_and_links_are_made_and_made_again_when_they_are_wiped() {
    let scene = Scene::new();
    let source = scene.source("0.1.0", "a");
    assert_eq!(scene.install(&source, Replace::Older), all(Action::Made));
    assert_eq!(scene.install(&source, Replace::Older), all(Action::Left));
    assert_eq!(scene.read("flannel"), scene.read(FILE));
    assert_eq!(
        fs::read_link(scene.bin().join("bridge")).unwrap(),
        Path::new(FILE),
        "it holds in another mount as well"
    );
    assert_eq!(fs::metadata(scene.bin().join(FILE)).unwrap().permissions().mode() & 0o777, 0o755);

    fs::remove_file(scene.bin().join(FILE)).unwrap();
    fs::remove_file(scene.bin().join("bridge")).unwrap();
    scene.put("portmap-is-not-touched", "x");
    let again = scene.install(&source, Replace::Older);
    let made: Vec<&str> = again.iter().filter(|(_, a)| *a == Action::Made).map(|(name, _)| name.as_str()).collect();
    assert_eq!(made, [FILE, "bridge"], "the other links only pointed to nothing");
    fs::remove_dir_all(scene.bin()).unwrap();
    assert_eq!(scene.install(&source, Replace::Older), all(Action::Made));
}

#[test]
fn what_is_older_is_replaced_what_is_newer_or_foreign_is_kept_unless_forced() {
    let scene = Scene::new();
    let old = scene.source("0.1.0", "old");
    scene.install(&old, Replace::Older);
    let rebuilt = scene.source("0.1.0", "rebuilt");
    assert_eq!(scene.install(&rebuilt, Replace::Older)[0].1, Action::Replaced);
    let new = scene.source("0.2.0", "new");
    assert_eq!(scene.install(&new, Replace::Older)[0].1, Action::Replaced);
    assert!(scene.read("tuning").ends_with("new"));
    let old = scene.source("0.1.0", "old");
    let kept = scene.install(&old, Replace::Older);
    assert_eq!(kept[0].1, Action::KeptNewer(Release::parse("0.2.0").unwrap()));
    assert!(kept[1..].iter().all(|(_, action)| *action == Action::Left), "{kept:?}");

    fs::remove_file(scene.bin().join("bridge")).unwrap();
    scene.put("bridge", "the distribution's");
    let kept = scene.install(&old, Replace::Older);
    assert_eq!((kept[2].0.as_str(), kept[2].1), ("bridge", Action::KeptForeign));
    let forced = scene.install(&old, Replace::Anything);
    assert_eq!((forced[0].1, forced[2].1), (Action::Replaced, Action::Replaced));
    assert!(scene.read("bridge").ends_with("old"));
}

#[test]
fn a_copy_of_ours_under_another_name_becomes_a_link() {
    let scene = Scene::new();
    scene.put("bridge", "towpath-plugin-release:0.0.9; a copy");
    scene.put("loopback", "");
    symlink("nowhere", scene.bin().join("tuning")).unwrap();
    let placed = scene.install(&scene.source("0.1.0", "a"), Replace::Older);
    let of = |name: &str| placed.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!((of("bridge"), of("loopback"), of("tuning")), (Action::Replaced, Action::Made, Action::Made));
    let mut links = NAMES.iter().filter(|name| **name != "flannel");
    assert!(links.all(|name| fs::read_link(scene.bin().join(name)).unwrap() == Path::new(FILE)));
}

#[test]
fn flannels_installer_that_writes_through_links_leaves_our_file_as_it_is() {
    let scene = Scene::new();
    let source = scene.source("0.1.0", "a");
    // As an earlier release of ours left it.
    scene.install(&source, Replace::Older);
    fs::remove_file(scene.bin().join("flannel")).unwrap();
    symlink(FILE, scene.bin().join("flannel")).unwrap();
    assert_eq!(scene.install(&source, Replace::Older)[3], ("flannel".to_owned(), Action::Replaced));
    let ours = scene.read(FILE);
    // `cp -f`: opened as it is, and written.
    fs::write(scene.bin().join("flannel"), "flannel's own").unwrap();
    assert_eq!(scene.read("bridge"), ours);
    let kept = scene.install(&source, Replace::Older);
    assert_eq!((kept[0].1, kept[3].1), (Action::Left, Action::KeptForeign));
}

#[test]
fn nothing_is_linked_to_a_stranger_and_nothing_else_is_installed() {
    let scene = Scene::new();
    let source = scene.source("0.1.0", "a");
    scene.put(FILE, "somebody else's");
    let placed = install(&source, &scene.bin(), &NAMES, Replace::Older).unwrap();
    assert!(matches!(placed[0].result, Ok(Action::KeptForeign)));
    assert!(matches!(placed[1].result, Err(InstallError::NothingToLinkTo { .. })));
    let stranger = scene.bin().join(FILE);
    let refused = install(&stranger, &scene.bin(), &NAMES, Replace::Anything).unwrap_err();
    assert!(refused.to_string().contains("is not the plugin"), "{refused}");
}

#[test]
fn what_a_killed_install_left_is_cleared_away_and_a_directory_in_the_way_is_told() {
    let scene = Scene::new();
    let source = scene.source("0.1.0", "a");
    scene.put(".towpath-new-towpath", "half");
    fs::create_dir(scene.bin().join("bridge")).unwrap();
    let placed = install(&source, &scene.bin(), &NAMES, Replace::Anything).unwrap();
    let failed: Vec<&str> = placed.iter().filter(|p| p.result.is_err()).map(|p| p.name.as_str()).collect();
    assert_eq!(failed, ["bridge"]);
    let names = fs::read_dir(scene.bin()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let hidden: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
    assert_eq!(hidden, Vec::<String>::new(), "a link that could not get its place does not stay beside it");
}
