//! `towpathd`: the table of contents of the process.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use towpathd::config::{self, Invocation, Order, Settings};
use towpathd::{installation, logging, run};

fn main() -> ExitCode {
    let settings = match config::read(&Invocation::of_this_process()) {
        Ok(Order::Print(text)) => return print(&text),
        Ok(Order::Check(settings)) => return check(&settings),
        Ok(Order::Uninstall(settings)) => return uninstall(&settings),
        Ok(Order::Run(settings)) => settings,
        Err(mistakes) => {
            eprintln!("{mistakes}");
            return ExitCode::from(2);
        }
    };
    logging::begin(settings.logging);
    match serve(*settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// To standard output. Whoever reads it may have seen enough (`| head`): that is no error.
fn print(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn uninstall(settings: &Settings) -> ExitCode {
    let Some(installation) = &settings.installation else {
        eprintln!("--uninstall: it is not said where; give --cni-bin-dir and --cni-conf-dir as the daemon has them");
        return ExitCode::from(2);
    };
    let lines = installation::remove(installation);
    print(&lines.into_iter().map(|line| line + "\n").collect::<String>())
}

fn check(settings: &Settings) -> ExitCode {
    match config::check(settings) {
        Ok(text) => print(&text),
        Err(mistakes) => {
            eprintln!("{mistakes}");
            ExitCode::from(2)
        }
    }
}

fn serve(settings: Settings) -> anyhow::Result<()> {
    // One thread: a lease's way from the store to the kernel crosses none.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(run::run(settings));
    // The store's task may be in a blocking call that nobody waits for any more.
    runtime.shutdown_background();
    Ok(ended?)
}
