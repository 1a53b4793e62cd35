//! What the container runtime is given: the plugin with its names, and the configuration that makes a node ready. Put there
//! when asked for (`--cni-bin-dir`, `--cni-conf-dir`), kept there while the daemon runs, left there when it ends, removed by
//! `towpathd --uninstall`.
//!
//! The configuration comes last, and not before this node can give pods a network: a runtime that sees it calls the node ready.
//! What others have put beside it is not touched (`plugins`, `conflist`).

mod conflist;
mod plugins;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::file_notices::FileNotices;
use plugins::Plugins;

/// What is to be installed, and where. Each part only where its directory is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallationSettings {
    /// The plugin's binary and names.
    pub plugins: Option<PluginSettings>,
    /// The runtime's configuration.
    pub configuration: Option<ConfigurationSettings>,
}

/// The plugin: one binary, many names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginSettings {
    /// The binary that is copied.
    pub binary: PathBuf,
    /// Where runtimes look for plugins: `/opt/cni/bin`.
    pub directory: PathBuf,
}

/// The runtime's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationSettings {
    /// Where runtimes look for it: `/etc/cni/net.d`.
    pub directory: PathBuf,
    /// The file's name there.
    pub name: String,
    /// The text; without it our own.
    pub source: Option<PathBuf>,
}

/// What stands in the way of the installation now: one sentence each.
pub type Troubles = Vec<String>;

/// How often all is looked at without a notice.
const SLOW_LOOK: Duration = Duration::from_secs(30);

/// The least time between two repairs: another program may want it otherwise, as often as we do.
const SPACING: Duration = Duration::from_secs(1);

/// Puts everything in its place and keeps it there, until nobody listens: the plugin at once, the configuration from the
/// moment on when this node is ready.
pub async fn keep(settings: InstallationSettings, mut ready: watch::Receiver<bool>, tell: watch::Sender<Troubles>) {
    let mut notices = FileNotices::new().inspect_err(|error| {
        tracing::warn!(%error, "no inotify (see fs.inotify.max_user_instances): CNI files are looked at every 30 seconds");
    });
    let mut keeper = Keeper::new(settings);
    loop {
        if let Ok(notices) = &mut notices {
            keeper.watch(notices);
        }
        let may_begin = *ready.borrow_and_update();
        let looked = spawn_blocking(move || {
            let looked = keeper.look(may_begin);
            (keeper, looked)
        });
        // The runtime is being shut down.
        let Ok((same, looked)) = looked.await else { return };
        keeper = same;
        tell.send_if_modified(|troubles| {
            let changed = *troubles != looked.troubles;
            *troubles = looked.troubles;
            changed
        });
        if looked.wrote {
            // A directory that was not there could not be watched. A node that is ready meanwhile waits for nothing.
            tokio::select! {
                () = sleep(SPACING) => {}
                changed = ready.changed() => if changed.is_err() {
                    return;
                },
            }
            continue;
        }
        let next = async {
            match &mut notices {
                Ok(notices) => notices.next().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            said = next => if let Err(error) = said {
                tracing::warn!(%error, "inotify failed: CNI files are looked at every 30 seconds");
                notices = Err(error);
            },
            changed = ready.changed() => if changed.is_err() {
                return;
            },
            () = sleep(SLOW_LOOK) => {}
            () = tell.closed() => return,
        }
    }
}

/// What came of a look.
#[derive(Debug, Default)]
struct Looked {
    troubles: Troubles,
    wrote: bool,
}

struct Keeper {
    plugins: Option<Plugins>,
    configuration: Option<ConfigurationSettings>,
    /// The configuration was put in its place: from now on whoever removes it is somebody else.
    installed: bool,
}

impl Keeper {
    fn new(InstallationSettings { plugins, configuration }: InstallationSettings) -> Keeper {
        Keeper { plugins: plugins.map(Plugins::new), configuration, installed: false }
    }

    fn watch(&self, notices: &mut FileNotices) {
        let plugins = self.plugins.iter().map(Plugins::directory);
        let configuration = self.configuration.iter().flat_map(|configuration| {
            // A ConfigMap that is mounted is swapped in its directory.
            let source = configuration.source.as_deref().and_then(Path::parent);
            [Some(configuration.directory.as_path()), source].into_iter().flatten()
        });
        for place in plugins.chain(configuration) {
            if let Err(error) = notices.watch(place) {
                tracing::debug!("{} is not watched: {error}", place.display());
            }
        }
    }

    /// Puts in its place what is not, and says what cannot be.
    fn look(&mut self, ready: bool) -> Looked {
        let mut looked = Looked::default();
        if let Some(plugins) = &mut self.plugins {
            plugins.keep(&mut looked);
        }
        if let Some(configuration) = &self.configuration
            && (ready || self.installed)
        {
            match conflist::install(configuration) {
                Ok(written) => {
                    self.say(configuration, written);
                    looked.wrote |= written != conflist::Written::AsItWas;
                    self.installed = true;
                }
                Err(sentence) => looked.troubles.push(sentence),
            }
            looked.troubles.extend(conflist::shadow(configuration));
        }
        looked
    }

    fn say(&self, configuration: &ConfigurationSettings, written: conflist::Written) {
        use conflist::Written::{AsItWas, Missing, Other};
        let path = configuration.path();
        let path = path.display();
        match (written, self.installed) {
            (AsItWas, true) => {}
            (AsItWas, false) => tracing::info!("the CNI configuration {path} is there as it should be"),
            (Missing | Other, false) => tracing::info!("this node is ready: CNI configuration {path} written"),
            (Missing, true) => tracing::warn!("somebody removed the CNI configuration {path}; put back"),
            (Other, true) => tracing::warn!("the CNI configuration {path} was not as it should be; written again"),
        }
    }
}

impl ConfigurationSettings {
    /// Where the configuration stands.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }
}

/// Removes what [`keep`] puts there and nothing else. One line for each thing removed, and for each that was left.
pub fn remove(settings: &InstallationSettings) -> Vec<String> {
    // The configuration first: without it nobody calls the plugin.
    let plugins = settings.plugins.as_ref();
    let configuration = settings.configuration.iter().flat_map(|it| conflist::remove(it, plugins));
    configuration.chain(settings.plugins.iter().flat_map(plugins::remove)).collect()
}

#[cfg(test)]
mod tests;
