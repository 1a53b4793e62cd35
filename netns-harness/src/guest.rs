//! [`Guest`]: a second Linux, with what the machine's own kernel may lack (IPIP, WireGuard, netem, dummy), that runs one
//! command as root on the machine's files and is gone. `make lab-kernel` puts the kernel there.
//!
//! It is User-Mode Linux: a program that boots in a third of a second, with one processor and no way to the machine's
//! network. The machine's tree is its root, read only; /run and /tmp are its own. Starting a process takes ten times as
//! long as outside, forwarding a packet does not.
//!
//! A test that needs it says so around its body ([`in_guest`], [`here_and_in_guest`]). It is the same function on both
//! kernels, and fails where it cannot run.

use std::io::{BufRead, BufReader, PipeReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Signal, geteuid, kill_process_group};

use crate::namespace::{child_pid, wait_exit};
use crate::spawner::{self, Life};

mod order;

use order::Order;

/// How long a test may take in a guest. One that hangs is ended then.
const TEST_LIMIT: Duration = Duration::from_secs(300);
/// Lines of the console that an error shows.
const TAIL: usize = 60;
/// Octets. It is taken from the host as it is used.
const MEMORY: &str = "mem=1G";

/// Runs a test's body in a guest: called by a test function, it starts that very function there, and only there runs the
/// body.
///
/// # Errors
/// What the test says, with the guest's output; a guest that dies, hangs or does not know the test.
pub fn in_guest<B: FnOnce() -> Result<()>>(body: B) -> Result<()> {
    match order::inside() {
        true => body(),
        false => test_there(std::any::type_name::<B>()),
    }
}

/// Runs a test's body on this machine's kernel, and then in a guest.
///
/// # Errors
/// As [`in_guest`]; on which of the two it failed.
pub fn here_and_in_guest<B: FnOnce() -> Result<()>>(body: B) -> Result<()> {
    if order::inside() {
        return body();
    }
    body().context("on this machine's kernel")?;
    test_there(std::any::type_name::<B>())
}

/// Runs the test function that has this body.
fn test_there(body: &'static str) -> Result<()> {
    // A closure's type is called `crate::module::test::{{closure}}`, its test `module::test`.
    let test = body.strip_suffix("::{{closure}}").and_then(|path| path.split_once("::"));
    let (_, test) = test.with_context(|| format!("{body} is not a closure of a test function"))?;
    let mut command = Command::new(std::env::current_exe().context("cannot find this test's own file")?);
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    let mut said = String::new();
    let status = Guest::built()?.run(&command, TEST_LIMIT, |line| said.extend([line, "\n"]))?;
    ensure!(status == 0, "{test} ended with {status} in the guest:\n{said}");
    // To libtest, a name that it does not know is no failure.
    ensure!(said.contains("test result: ok. 1 passed"), "there was no test {test} in the guest:\n{said}");
    Ok(())
}

/// A kernel for guests. Each run is a guest of its own; many may run at once.
#[derive(Clone, Debug)]
pub struct Guest {
    directory: PathBuf,
}

impl Guest {
    /// That of this state of the sources. The build itself says where it is, so that there is one answer.
    ///
    /// # Errors
    /// When it is not built: how to build it. Without root.
    pub fn built() -> Result<Guest> {
        ensure!(geteuid().is_root(), "a guest sees the machine's files as root does: run this with sudo");
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernel/build");
        let said = Command::new(&build).arg("--where").output();
        let said = said.with_context(|| format!("cannot start {}", build.display()))?;
        ensure!(said.status.success(), "{} --where: {}", build.display(), String::from_utf8_lossy(&said.stderr).trim());
        let directory = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
        ensure!(
            directory.join("linux").is_file(),
            "no kernel in {}: run `make lab-kernel` once (a second with a kernel in TOWPATH_LAB_KERNEL, else twenty minutes)",
            directory.display()
        );
        Ok(Guest { directory })
    }

    /// Boots a guest, runs a command there in this directory and with this environment, and gives its exit status. `line`
    /// gets each line of the console, which is what the command writes, as it comes.
    ///
    /// # Errors
    /// When the guest dies or the limit is over before the command has ended: the end of the console.
    pub fn run(&self, command: &Command, limit: Duration, mut line: impl FnMut(&str)) -> Result<i32> {
        let order = Order::leave(command)?;
        let (reader, child) = self.boot(&order)?;
        let pid = child_pid(&child)?;
        std::thread::scope(|scope| {
            let watch = scope.spawn(move || -> Result<bool> {
                let ended = wait_exit(pid, limit)?;
                if !ended {
                    kill_process_group(pid, Signal::KILL)?;
                }
                Ok(ended)
            });
            let read = read_console(reader, order.token(), &mut line);
            let ended = matches!(watch.join(), Ok(Ok(true)));
            let how = reap(child)?;
            let console = read?;
            match console.status {
                Some(status) => Ok(status),
                None if ended => bail!("the guest died ({how}); its console ends:\n{}", console.tail()),
                None => bail!(
                    "the guest did not end within {limit:?} and was killed; its console ends:\n{}",
                    console.tail()
                ),
            }
        })
    }

    /// The kernel is a child of the first process of a process namespace: with that process everything of the guest
    /// ends, and that process ends with ours.
    fn boot(&self, order: &Order) -> Result<(PipeReader, Child)> {
        let (reader, writer) = std::io::pipe()?;
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child=KILL", "sh", "-c", r#""$@"; exit $?"#, "guest"]);
        command.arg(self.directory.join("linux"));
        command.args([MEMORY, "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "panic=-1"]);
        command.args(["con=null", "con0=fd:0,fd:1"]).args(order.boot_words());
        command.env("LD_PRELOAD", self.directory.join("registers.so"));
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        spawner::prepare(&mut command, Life::WithOwner);
        // The command holds the pipe's other end: it goes with this function, and the guest alone has it.
        let child = command.spawn().context("cannot start unshare (package util-linux)")?;
        Ok((reader, child))
    }
}

fn reap(mut child: Child) -> Result<std::process::ExitStatus> {
    child.wait().context("the guest was lost")
}

/// What a guest has said.
#[derive(Default)]
struct Console {
    lines: Vec<String>,
    /// Of the command, once it has ended.
    status: Option<i32>,
}

impl Console {
    fn tail(&self) -> String {
        self.lines[self.lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

/// Reads to the end. What the kernel says after the command's end is nobody's business.
fn read_console(reader: PipeReader, token: &str, line: &mut impl FnMut(&str)) -> Result<Console> {
    let mut console = Console::default();
    for raw in BufReader::new(reader).split(b'\n') {
        let raw = raw.context("cannot read the guest's console")?;
        let text = String::from_utf8_lossy(&raw);
        let text = text.trim_end_matches('\r');
        if let Some(status) = text.strip_prefix(token) {
            console.status = status.trim().parse().ok();
        } else if console.status.is_none() {
            line(text);
            console.lines.push(text.to_owned());
        }
    }
    Ok(console)
}
