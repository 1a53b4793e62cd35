//! Starting programs inside a network namespace, so that they die with the process that started them.
//!
//! A child inherits the namespaces of the *thread* that forks it, and `PR_SET_PDEATHSIG` fires when that *thread* ends
//! (prctl(2)). So one thread, which lives as long as the process, starts everything: it enters the namespace, forks
//! and goes home. This file holds the only `unsafe` of the crate.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// How long something lives, compared with the process that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// It ends when that process ends, in whatever way.
    WithOwner,
    /// It goes on.
    BeyondOwner,
}

/// Makes a command obey `life`, and its own process group, so that a terminal's Ctrl-C does not reach it and all that
/// it starts can be ended together. To be called once per command.
pub(crate) fn prepare(command: &mut Command, life: Life) {
    command.process_group(0);
    if life == Life::BeyondOwner {
        return;
    }
    let parent = getpid();
    // SAFETY: the closure runs in the child between fork and exec, where only async-signal-safe calls are allowed: it
    // makes two system calls (prctl, getppid), allocates nothing, takes no lock and captures one `Copy` value.
    unsafe {
        command.pre_exec(move || die_with(parent));
    }
}

/// Asks the kernel to kill this process with its parent, and looks whether the parent is already gone.
fn die_with(parent: Pid) -> std::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    match getppid() == Some(parent) {
        true => Ok(()),
        false => Err(std::io::ErrorKind::BrokenPipe.into()),
    }
}

/// Starts a prepared command in the namespace at `path`. The command comes back for the next time.
///
/// # Errors
/// When the namespace is gone or the program cannot be executed.
pub(crate) fn spawn(path: &Path, command: Command) -> Result<(Command, Child)> {
    let (reply, answer) = channel();
    let order = Order { path: path.to_owned(), command, reply };
    orders().send(order).map_err(|_| anyhow!("the thread that starts programs has ended"))?;
    let (command, child) = answer.recv().context("the thread that starts programs has ended")?;
    let child = child.with_context(|| format!("cannot start {}", words(&command)))?;
    Ok((command, child))
}

/// A command as a person would type it.
pub(crate) fn words(command: &Command) -> String {
    let program = command.get_program().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|word| word.to_string_lossy().into_owned());
    std::iter::once(program).chain(arguments).collect::<Vec<_>>().join(" ")
}

struct Order {
    path: PathBuf,
    command: Command,
    reply: Sender<(Command, Result<Child>)>,
}

/// The way to the thread, started at first use.
fn orders() -> &'static Sender<Order> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    ORDERS.get_or_init(|| {
        let (sender, receiver) = channel();
        std::thread::spawn(move || serve(receiver));
        sender
    })
}

fn serve(orders: Receiver<Order>) {
    for mut order in orders {
        let child = spawn_there(&order.path, &mut order.command);
        // Whoever asked may have given up waiting (a panic); its child is then dropped, and dies with this process.
        drop(order.reply.send((order.command, child)));
    }
}

fn spawn_there(path: &Path, command: &mut Command) -> Result<Child> {
    let home = open_namespace(Path::new("/proc/thread-self/ns/net"))?;
    enter(&open_namespace(path)?)?;
    let child = command.spawn();
    // Back home even when nothing was started: this thread must not keep a removed namespace alive.
    enter(&home)?;
    Ok(child?)
}

/// Opens a namespace's file.
///
/// # Errors
/// When it does not exist.
pub(crate) fn open_namespace(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("no network namespace at {}", path.display()))
}

/// Moves the calling thread into a network namespace. `nsenter --net=FILE`.
///
/// # Errors
/// Without `CAP_SYS_ADMIN`.
pub(crate) fn enter(namespace: &File) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("cannot enter a network namespace")
}
