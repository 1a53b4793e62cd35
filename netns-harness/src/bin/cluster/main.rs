//! `cluster`: a Kubernetes to try things on by hand, until Ctrl-C: nodes as machines in namespaces, set up by the lab or by
//! kubeadm, without a pod network unless a manifest brings one.
#![forbid(unsafe_code)]

mod order;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use netns_harness::kubernetes::{Cluster, Programs};
use netns_harness::{Guard, Lab, check_machine};

use crate::order::{HELP, Order, Wish};

/// For what a manifest brings.
const LIMIT: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    match Order::read(std::env::args().skip(1)).and_then(obey) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey(order: Order) -> Result<()> {
    match order {
        Order::Help => println!("{HELP}"),
        Order::After => Guard::wait_and_sweep()?,
        Order::Start(wish) => start(&wish)?,
    }
    Ok(())
}

fn start(wish: &Wish) -> Result<()> {
    check_machine()?;
    let manifests = wish
        .manifests
        .iter()
        .map(|path| std::fs::read_to_string(path).with_context(|| format!("no manifest at {}", path.display())));
    let manifests = manifests.collect::<Result<Vec<_>>>()?;
    let begin = Instant::now();
    // It removes the lab when this process is interrupted, which is how it ends.
    let guard = Guard::post()?;
    let lab = Lab::new("cluster")?;
    let cluster = lab.cluster(&wish.options)?;
    println!("{} nodes are registered after {:.1} s", wish.options.nodes, begin.elapsed().as_secs_f64());
    let wrappers = wrappers(&lab, &cluster)?;
    for manifest in &manifests {
        println!("{}", cluster.apply(manifest)?.trim_end());
    }
    if !manifests.is_empty() {
        match cluster.wait_nodes_ready(LIMIT) {
            Ok(()) => println!("all nodes are Ready after {:.1} s", begin.elapsed().as_secs_f64()),
            // It stays up, to be looked into.
            Err(error) => eprintln!("cluster: {error:#}"),
        }
    }
    println!("\n{}\n{wrappers}\nCtrl-C removes everything.", cluster.kubectl().run("get nodes,pods -A -o wide")?);
    guard.wait()
}

/// Short commands for long ones, in the lab's directory; gives what to tell.
fn wrappers(lab: &Lab, cluster: &Cluster) -> Result<String> {
    let directory = lab.directory();
    let kubectl = format!(
        "nsenter --net={} {} --kubeconfig {} --cache-dir {}",
        lab.switch().namespace().path().display(),
        Programs::built()?.path("kubectl").display(),
        cluster.kubectl().kubeconfig().display(),
        directory.join("kubectl-cache").display(),
    );
    let mut commands = vec![("kubectl".to_owned(), kubectl, "get pods -A")];
    for machine in cluster.machines() {
        let inside = machine.command([] as [&str; 0]);
        let words = inside.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ");
        commands.push((machine.name().to_owned(), format!("nsenter {words}"), "ip route"));
    }
    let mut text = format!("Logs and files: {}\n", directory.display());
    std::fs::create_dir(directory.join("do"))?;
    for (name, command, example) in commands {
        let path = directory.join("do").join(&name);
        std::fs::write(&path, format!("#!/bin/sh\nexec {command} \"$@\"\n"))?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        text += &format!("  {} {example}\n", path.display());
    }
    Ok(text)
}
