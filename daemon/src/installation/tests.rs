//! What is promised of the installation.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::scratch::Scratch;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A host's directories, and a plugin beside them.
struct Host {
    scratch: Scratch,
    settings: InstallationSettings,
}

impl Host {
    fn new(name: &str) -> Host {
        let scratch = Scratch::new(name);
        let root = scratch.0.clone();
        for directory in ["bin", "net.d", "image", "config"] {
            fs::create_dir(root.join(directory)).unwrap();
        }
        fs::write(root.join("image/towpath"), PLUGIN).unwrap();
        let plugins = PluginSettings { binary: root.join("image/towpath"), directory: root.join("bin") };
        let configuration =
            ConfigurationSettings { directory: root.join("net.d"), name: "10-flannel.conflist".into(), source: None };
        let settings = InstallationSettings { plugins: Some(plugins), configuration: Some(configuration) };
        Host { scratch, settings }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.0.join(name)
    }

    fn with_source(mut self, text: &str) -> Host {
        let source = self.path("config/cni-conf.json");
        fs::write(&source, text).unwrap();
        self.settings.configuration.as_mut().unwrap().source = Some(source);
        self
    }

    fn keep(&self) -> (watch::Sender<bool>, watch::Receiver<Troubles>) {
        let (ready, is_ready) = watch::channel(false);
        let (tell, troubles) = watch::channel(Troubles::new());
        tokio::spawn(keep(self.settings.clone(), is_ready, tell));
        (ready, troubles)
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// What says of itself that it is the plugin.
const PLUGIN: &str = "a program, towpath-plugin-release:0.1.0; and more";

const FLANNELS: &str =
    r#"{"name": "cbr0", "cniVersion": "0.3.1", "plugins": [{"type": "flannel"}, {"type": "portmap"}]}"#;

/// Waits until something holds: it takes a notice, not the slow look.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within five seconds");
}

#[tokio::test]
async fn the_configuration_comes_when_the_node_is_ready_and_stays() {
    let host = Host::new("cni-ready").with_source(FLANNELS);
    let conflist = host.path("net.d/10-flannel.conflist");
    let (ready, _troubles) = host.keep();
    until("the plugin", || host.path("bin/tuning").exists()).await;
    assert!(!conflist.exists(), "before the node is ready");
    ready.send_replace(true);
    until("the configuration", || conflist.exists()).await;
    assert_eq!(fs::read_to_string(&conflist).unwrap(), FLANNELS);
    assert_eq!(fs::metadata(&conflist).unwrap().permissions().mode() & 0o777, 0o644);
    // Whatever becomes of readiness, what runs here keeps running: and what somebody wipes is put back.
    ready.send_replace(false);
    fs::remove_file(&conflist).unwrap();
    until("wiped", || conflist.exists()).await;
    fs::write(&conflist, "{}").unwrap();
    until("changed", || fs::read_to_string(&conflist).is_ok_and(|text| text == FLANNELS)).await;
    // The operator's own text is followed.
    let changed = FLANNELS.replace("0.3.1", "1.0.0");
    fs::write(host.path("config/cni-conf.json"), &changed).unwrap();
    until("another text", || fs::read_to_string(&conflist).is_ok_and(|text| text == changed)).await;
    assert_eq!(host.names("net.d"), ["10-flannel.conflist"], "no drafts");
}

#[tokio::test]
async fn the_plugin_and_its_names_are_put_back_and_others_left_alone() {
    let host = Host::new("cni-plugin");
    fs::write(host.path("bin/bridge"), "somebody else's").unwrap();
    fs::write(host.path("image/flannel"), "flannel's").unwrap();
    symlink("../image/flannel", host.path("bin/flannel")).unwrap();
    let (_ready, _troubles) = host.keep();
    until("the plugin", || host.path("bin/tuning").exists()).await;
    assert_eq!(fs::read_to_string(host.path("bin/portmap")).unwrap(), PLUGIN);
    assert_eq!(fs::read_link(host.path("bin/portmap")).unwrap(), Path::new("towpath"));
    assert_eq!(fs::metadata(host.path("bin/towpath")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_to_string(host.path("bin/bridge")).unwrap(), "somebody else's");
    assert_eq!(fs::read_link(host.path("bin/flannel")).unwrap(), Path::new("../image/flannel"));
    fs::remove_file(host.path("bin/towpath")).unwrap();
    fs::remove_file(host.path("bin/loopback")).unwrap();
    until("wiped", || fs::read(host.path("bin/loopback")).is_ok_and(|bytes| bytes == PLUGIN.as_bytes())).await;
    fs::write(host.path("bin/towpath"), "").unwrap();
    until("broken", || fs::read(host.path("bin/towpath")).is_ok_and(|bytes| bytes == PLUGIN.as_bytes())).await;
    fs::set_permissions(host.path("bin/towpath"), fs::Permissions::from_mode(0o600)).unwrap();
    let mode = || fs::metadata(host.path("bin/towpath")).unwrap().permissions().mode() & 0o777;
    until("nobody may run it", || mode() == 0o755).await;
}

#[tokio::test]
async fn directories_that_are_missing_are_made_and_made_again() {
    let host = Host::new("cni-made");
    let directories = ["bin", "net.d"].map(|name| host.path(name));
    directories.iter().for_each(|directory| fs::remove_dir(directory).unwrap());
    let (ready, _troubles) = host.keep();
    ready.send_replace(true);
    let all = ["bin/towpath", "bin/tuning", "net.d/10-flannel.conflist"].map(|name| host.path(name));
    until("all of it", || all.iter().all(|path| path.exists())).await;
    directories.iter().for_each(|directory| fs::remove_dir_all(directory).unwrap());
    until("all of it again", || all.iter().all(|path| path.exists())).await;
}

#[tokio::test]
async fn what_cannot_be_installed_and_what_stands_before_it_is_named() {
    let host = Host::new("cni-named").with_source("{\"name\": \"cbr0\"}");
    fs::write(host.path("net.d/05-other.conf"), "{}").unwrap();
    fs::write(host.path("net.d/00-readme.txt"), "").unwrap();
    fs::write(host.path("net.d/10-flannel.conflist"), FLANNELS).unwrap();
    let (ready, mut troubles) = host.keep();
    ready.send_replace(true);
    let said = troubles.wait_for(|troubles| troubles.len() == 2).await.unwrap().clone();
    assert!(said[0].contains("cni-conf.json is not installed: it has no `plugins`; correct it"), "{said:?}");
    assert!(said[1].contains("net.d/05-other.conf, which sorts before 10-flannel.conflist: remove it"), "{said:?}");
    assert_eq!(fs::read_to_string(host.path("net.d/10-flannel.conflist")).unwrap(), FLANNELS, "the last good one");
    fs::remove_file(host.path("net.d/05-other.conf")).unwrap();
    fs::write(host.path("config/cni-conf.json"), FLANNELS).unwrap();
    troubles.wait_for(Vec::is_empty).await.unwrap();
    fs::remove_file(host.path("image/towpath")).unwrap();
    fs::write(host.path("bin/look"), "again").unwrap();
    let said = troubles.wait_for(|troubles| troubles.len() == 1).await.unwrap().clone();
    assert!(
        said[0].contains("the plugin towpath cannot be installed") && said[0].contains("--cni-bin-dir"),
        "{said:?}"
    );
}

#[test]
fn what_is_no_configuration_list_is_refused_with_the_reason() {
    let host = Host::new("cni-judged");
    let installed = |text: &str| {
        let host = Host { scratch: Scratch(host.path("judged")), settings: host.settings.clone() };
        fs::create_dir_all(host.path("config")).unwrap();
        conflist::install(host.with_source(text).settings.configuration.as_ref().unwrap())
    };
    for (text, why) in [
        ("", "it is not JSON"),
        ("[]", "it has no `name`"),
        (r#"{"name": "", "plugins": []}"#, "it has no `name`"),
        (r#"{"name": "a", "plugins": []}"#, "it has no `plugins`"),
        (r#"{"name": "a", "plugins": [{"type": "flannel"}, {}]}"#, "one of its `plugins` has no `type`"),
    ] {
        let refused = installed(text).expect_err(text);
        assert!(refused.contains(why), "{refused}");
    }
    assert_eq!(installed(FLANNELS), Ok(conflist::Written::Missing));
}

#[test]
fn what_was_installed_is_removed_and_nothing_else() {
    let host = Host::new("cni-removed");
    fs::write(host.path("bin/bridge"), "somebody else's").unwrap();
    let mut keeper = Keeper::new(host.settings.clone());
    let looked = keeper.look(true);
    assert_eq!((looked.troubles, looked.wrote), (Vec::<String>::new(), true));
    assert!(!keeper.look(true).wrote, "the second time there is nothing to do");
    let own: serde_json::Value =
        serde_json::from_slice(&fs::read(host.path("net.d/10-flannel.conflist")).unwrap()).unwrap();
    assert_eq!(own["plugins"][0]["type"], "towpath");
    let said = remove(&host.settings);
    assert_eq!(said.len(), 8, "{said:?}");
    assert!(said.iter().all(|line| line.ends_with(" removed")), "{said:?}");
    assert_eq!((host.names("bin"), host.names("net.d")), (vec!["bridge".to_owned()], vec![]));
    assert_eq!(remove(&host.settings), Vec::<String>::new());
    // Another network's file under our name is not ours.
    fs::write(host.path("net.d/10-flannel.conflist"), FLANNELS).unwrap();
    let said = remove(&host.settings);
    assert!(said[0].contains("is left: it is not what towpathd installs"), "{said:?}");
}

#[test]
fn an_operators_configuration_goes_with_the_plugin_that_it_calls_when_its_source_is_gone() {
    let host = Host::new("cni-orphan").with_source(FLANNELS);
    let looked = Keeper::new(host.settings.clone()).look(true);
    assert_eq!(looked.troubles, Vec::<String>::new());
    fs::remove_file(host.path("config/cni-conf.json")).unwrap();
    let said = remove(&host.settings);
    assert!(said[0].ends_with("10-flannel.conflist removed"), "{said:?}");
    assert_eq!((host.names("bin"), host.names("net.d")), (vec![], vec![]));
    // Where flannel's own plugin has the name, it is flannel's.
    fs::write(host.path("bin/flannel"), "flannel's").unwrap();
    fs::write(host.path("net.d/10-flannel.conflist"), FLANNELS).unwrap();
    assert!(remove(&host.settings)[0].contains("is left"));
}
