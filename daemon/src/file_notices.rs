//! [`FileNotices`]: what inotify(7) says of a few files and directories. It only ever says "look again"; what it misses (a full
//! queue, another host's doing) whoever looks finds when it looks without a reason.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// How long changes are gathered: a file that is written in place is not whole at the first notice.
const GATHERING: Duration = Duration::from_millis(20);

/// An inotify instance.
#[derive(Debug)]
pub struct FileNotices(AsyncFd<OwnedFd>);

impl FileNotices {
    /// An instance that watches nothing yet.
    ///
    /// # Errors
    /// inotify_init1(2)'s: `EMFILE` when `fs.inotify.max_user_instances` is reached.
    pub fn new() -> io::Result<FileNotices> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        // `new` is deprecated because a type of one's own may close its descriptor while it is registered; an `OwnedFd`
        // cannot, which is what the unsafe `register` would have us promise.
        #[allow(deprecated)]
        let inotify = AsyncFd::new(inotify)?;
        Ok(FileNotices(inotify))
    }

    /// Watches a file, or what comes into and goes from a directory; as it is now, not what later has its name. Costs
    /// nothing when it is watched already.
    ///
    /// # Errors
    /// inotify_add_watch(2)'s: `ENOENT`, and `ENOSPC` when `fs.inotify.max_user_watches` is reached.
    pub fn watch(&mut self, path: &Path) -> io::Result<()> {
        let content = WatchFlags::CREATE | WatchFlags::MOVE | WatchFlags::DELETE | WatchFlags::CLOSE_WRITE;
        // A mode that was changed is a change too: a plugin that nobody may run is none.
        let own = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ATTRIB;
        inotify::add_watch(self.0.get_ref(), path, content | own)?;
        Ok(())
    }

    /// Waits until something changed; whatever comes with it is one change.
    ///
    /// # Errors
    /// read(2)'s.
    pub async fn next(&mut self) -> io::Result<()> {
        self.wait().await?;
        sleep(GATHERING).await;
        self.take().map(drop)
    }

    async fn wait(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            if self.take()? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// All that was said so far; whether anything was.
    fn take(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.0.get_ref(), &mut buffer);
        let mut any = false;
        loop {
            match reader.next() {
                // A watch that was taken away because what it was on is gone: that was said already.
                Ok(event) => any |= !event.events().contains(ReadFlags::IGNORED),
                Err(error) if error == rustix::io::Errno::WOULDBLOCK => return Ok(any),
                Err(error) if error == rustix::io::Errno::INTR => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
