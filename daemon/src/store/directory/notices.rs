//! [`Notices`]: what inotify(7) says of the store's directory. It only ever says where to look again; what it misses (a
//! shared directory's other hosts, a full queue) the slow look finds.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::file::is_lease_name;
use super::leases::Look;

/// An inotify instance on the directory and its leases.
#[derive(Debug)]
pub struct Notices {
    inotify: AsyncFd<OwnedFd>,
    /// The watch on the leases' directory; any other is on the directory above.
    leases: Option<i32>,
}

impl Notices {
    /// An instance that watches nothing yet.
    ///
    /// # Errors
    /// inotify_init1(2)'s: `EMFILE` when `fs.inotify.max_user_instances` is reached.
    pub fn new() -> io::Result<Notices> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // `new` is deprecated because a type of one's own may close its descriptor while it is registered; an `OwnedFd`
        // cannot, which is what the unsafe `register` would have us promise.
        #[allow(deprecated)]
        let inotify = AsyncFd::new(inotify)?;
        Ok(Notices { inotify, leases: None })
    }

    /// Watches these directories as they are now. Costs nothing when they are watched already.
    ///
    /// # Errors
    /// inotify_add_watch(2)'s: `ENOSPC` when `fs.inotify.max_user_watches` is reached.
    pub fn watch(&mut self, root: &Path, leases: &Path) -> io::Result<()> {
        // A file is complete when it was linked (CREATE), renamed (MOVED_TO) or closed by an editor (CLOSE_WRITE).
        let files = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::CLOSE_WRITE;
        let own = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        inotify::add_watch(self.inotify.get_ref(), root, files | own)?;
        self.leases = Some(inotify::add_watch(self.inotify.get_ref(), leases, files | own)?);
        Ok(())
    }

    /// Waits for something to look at.
    ///
    /// # Errors
    /// read(2)'s.
    pub async fn next(&mut self) -> io::Result<Look> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let mut look = None;
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
            loop {
                match reader.next() {
                    Ok(event) => note(&mut look, &event, self.leases),
                    Err(error) if error == rustix::io::Errno::WOULDBLOCK => break ready.clear_ready(),
                    Err(error) if error == rustix::io::Errno::INTR => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if let Some(look) = look {
                return Ok(look);
            }
        }
    }
}

fn note(look: &mut Option<Look>, event: &inotify::Event<'_>, leases: Option<i32>) {
    let name = event.file_name().and_then(|name| name.to_str().ok());
    let of_leases = Some(event.wd()) == leases;
    match name {
        Some(name) if of_leases && is_lease_name(name) => look.get_or_insert_with(Look::none).add(name),
        // A draft, a note: nothing to see.
        Some(_) if of_leases => {}
        // Beside the leases, it may be net-conf.json or what that is a link to: it is read at every look.
        Some(name) if name != "leases" => _ = look.get_or_insert_with(Look::none),
        // A watch that was taken away because its directory was.
        None if event.events().contains(ReadFlags::IGNORED) => {}
        // A directory moved, removed, made anew; or the queue was full.
        _ => *look = Some(Look::All),
    }
}
