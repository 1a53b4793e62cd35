//! [`Errands`]: long plans, done by a thread of their own while the node loop works out the next: of a full table of a router's, each of the two takes
//! about as long as the other.
//!
//! One at a time. Whoever wants the kernel waits until that is done, so that nobody sees one half of it, and nothing overtakes it.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use backends::plan::Failure;
use backends::state::Scope;
use backends::{Outcome, Plan};

/// The kernel, and who may be about something in it.
pub(super) struct Errands {
    kernel: Arc<Mutex<kernel::Hand>>,
    /// The thread, once there was something for it.
    runner: Option<Runner>,
    /// What it is about.
    begun: Option<Arc<Plan>>,
    /// How the last went, until that is asked.
    outcome: Option<Outcome>,
}

struct Runner {
    errands: SyncSender<(Scope, Arc<Plan>)>,
    outcomes: Receiver<Outcome>,
}

impl Errands {
    /// Nothing is under way.
    pub fn new(kernel: kernel::Hand) -> Errands {
        Errands { kernel: Arc::new(Mutex::new(kernel)), runner: None, begun: None, outcome: None }
    }

    /// The kernel, when what is under way is done.
    pub fn kernel(&mut self) -> MutexGuard<'_, kernel::Hand> {
        self.wait();
        hold(&self.kernel)
    }

    /// Sends somebody to do this; how it went if nobody can be sent.
    pub fn begin(&mut self, scope: &Scope, plan: &Arc<Plan>) -> Option<Outcome> {
        self.wait();
        if self.runner.is_none() {
            self.runner = run(&self.kernel)
                .inspect_err(|error| tracing::debug!("learnt routes are written in place: {error}"))
                .ok();
        }
        let errand = (scope.clone(), Arc::clone(plan));
        match &self.runner {
            Some(runner) if runner.errands.send(errand).is_ok() => {
                self.begun = Some(Arc::clone(plan));
                None
            }
            _ => Some(hold(&self.kernel).apply(scope, plan)),
        }
    }

    /// How the last went that was begun.
    pub fn end(&mut self) -> Outcome {
        self.wait();
        self.outcome.take().unwrap_or_default()
    }

    fn wait(&mut self) {
        let Some(plan) = self.begun.take() else { return };
        let outcome = self.runner.as_ref().and_then(|runner| runner.outcomes.recv().ok());
        if outcome.is_none() {
            self.runner = None;
        }
        self.outcome = Some(outcome.unwrap_or_else(|| lost(&plan)));
    }
}

/// Nobody came back: what was done is not known, and the whole is to be looked at.
fn lost(plan: &Plan) -> Outcome {
    let reason = || "the thread that writes routes ended early".to_owned();
    let failures =
        plan.changes.iter().take(1).map(|change| Failure { change: change.clone(), errno: 0, reason: reason() });
    Outcome { done: 0, failures: failures.collect() }
}

fn hold(kernel: &Mutex<kernel::Hand>) -> MutexGuard<'_, kernel::Hand> {
    // A look at the kernel is what mends whatever was left half done.
    kernel.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(kernel: &Arc<Mutex<kernel::Hand>>) -> io::Result<Runner> {
    let (errands, todo) = sync_channel::<(Scope, Arc<Plan>)>(1);
    let (tell, outcomes) = sync_channel(1);
    let kernel = Arc::clone(kernel);
    let work = move || {
        while let Ok((scope, plan)) = todo.recv() {
            let outcome = hold(&kernel).apply(&scope, &plan);
            // The memory of a plan is given back to whom it was taken from.
            drop(plan);
            if tell.send(outcome).is_err() {
                return;
            }
        }
    };
    Builder::new().name("routes".into()).spawn(work)?;
    Ok(Runner { errands, outcomes })
}
