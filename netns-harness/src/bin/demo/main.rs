//! `make demo`: a small cluster in network namespaces, built before your eyes with Towpath's own daemon and plugin.
//!
//! It shows and checks; it ends with status 1 when anything was not as it should be. Nothing is left, unless KEEP=1.
#![forbid(unsafe_code)]

mod acts;
mod path;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use netns_harness::{Binaries, Guard, Lab, check_machine, remove_lab};

use crate::stage::Stage;

const HELP: &str = "\
Builds three nodes with two pods each in network namespaces, connects them with Towpath, and shows what happens.

  demo [--bin-dir DIRECTORY]   run it with towpathd, towpath and towpathctl from there (default: dist/bin)
  demo --remove NAME           remove a lab that KEEP=1 left
  KEEP=1 demo                  leave the lab up, and say how to look inside and how to remove it

It needs root and the package iproute2.";

/// What is to be done.
enum Order {
    Play {
        binaries: PathBuf,
    },
    Remove(String),
    /// Not for people: remove what the demo leaves when it is interrupted (see [`Guard`]).
    After,
    Help,
}

fn main() -> ExitCode {
    let stage = Stage::standard();
    match order(std::env::args().skip(1)).and_then(|order| obey(order, &stage)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} {error:#}", stage.red("demo:"));
            ExitCode::FAILURE
        }
    }
}

fn order(mut words: impl Iterator<Item = String>) -> Result<Order> {
    let mut binaries = PathBuf::from("dist/bin");
    while let Some(word) = words.next() {
        let (flag, value) = word.split_once('=').map_or((word.as_str(), None), |(flag, value)| (flag, Some(value)));
        let mut value =
            || value.map(str::to_owned).or_else(|| words.next()).with_context(|| format!("{flag} needs a value"));
        match flag {
            "--bin-dir" => binaries = value()?.into(),
            "--remove" => return Ok(Order::Remove(value()?)),
            Guard::WORD => return Ok(Order::After),
            "--help" | "-h" => return Ok(Order::Help),
            _ => bail!("`{word}` is not known\n\n{HELP}"),
        }
    }
    Ok(Order::Play { binaries })
}

fn obey(order: Order, stage: &Stage) -> Result<()> {
    match order {
        Order::Help => println!("{HELP}"),
        Order::After => Guard::wait_and_sweep()?,
        Order::Remove(id) => {
            check_machine()?;
            remove_lab(&id)?;
            println!("{id} is gone.");
        }
        Order::Play { binaries } => play(stage, &Binaries::at(binaries))?,
    }
    Ok(())
}

fn play(stage: &Stage, binaries: &Binaries) -> Result<()> {
    check_machine()?;
    ["towpathd", "towpath", "towpathctl"].iter().try_for_each(|name| binaries.find(name).map(drop))?;
    let keep = std::env::var("KEEP").is_ok_and(|keep| !["", "0", "no", "false"].contains(&keep.as_str()));
    let guard = Guard::post()?;
    let lab = if keep { Lab::to_keep("demo") } else { Lab::new("demo") }?;
    let mut cluster = acts::Cluster::new(&lab, binaries);
    let played = cluster.play(stage);
    if let Err(error) = &played {
        println!("\n{}", stage.red(&format!("This is not as it should be: {error:#}")));
        cluster.print_logs(stage);
    }
    if keep {
        acts::say_how_to_remove(&lab, stage);
    } else {
        let count = lab.namespaces()?.len();
        lab.remove()?;
        stage.line(&format!("\nThe {count} namespaces, their processes and files are gone."));
    }
    guard.dismiss()?;
    if played.is_err() {
        bail!("something was not as it should be, see above");
    }
    stage.line(&stage.green(&format!("All as it should be, in {:.1} s.", stage.elapsed().as_secs_f64())));
    Ok(())
}
