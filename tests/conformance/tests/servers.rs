//! Runs every case on the API in memory and on a real kube-apiserver with etcd: `memory::…` and `real::…`; and on the
//! latter through a fault proxy that breaks nothing: `proxied::…`.
//!
//! `cargo test -p conformance`, with a part of a name to choose. Without Go all but the first are skipped, and says so.

#![allow(clippy::unwrap_used, reason = "a test's own tools may end the test")]

use std::process::ExitCode;

use anyhow::Result;
use conformance::bench::{Server, Way};
use conformance::{Case, cases};
use libtest_mimic::{Arguments, Trial};
use playground::cache::Cache;
use playground::ports::Ports;
use playground::process::Spawner;
use playground::real_api::program::{self, Found};
use playground::run_dir::{Afterwards, RunDir};
use playground::{Guard, RealApi, Timeline};
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let wanted = real_is_wanted(&arguments);
    let ground = wanted.then(|| runtime().block_on(Ground::set_up()).unwrap());
    let mut trials = Vec::new();
    for case in cases() {
        trials.push(trial("memory", case, move || {
            Box::pin(async move {
                let server = Server::in_memory().await.unwrap();
                server.run(case, Way::Direct).await;
            })
        }));
        let server = ground.as_ref().and_then(|ground| ground.server.clone());
        for (name, way) in [("real", Way::Direct), ("proxied", Way::Proxied)] {
            let skipped = wanted && server.is_none();
            let server = server.clone();
            let real = trial(name, case, move || {
                Box::pin(async move { server.unwrap().run(case, way).await })
            });
            trials.push(real.with_ignored_flag(skipped));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The servers end here, not with the process.
    drop(ground);
    conclusion.exit_code()
}

type Running = std::pin::Pin<Box<dyn Future<Output = ()>>>;

fn trial(server: &str, case: Case, run: impl FnOnce() -> Running + Send + 'static) -> Trial {
    let name = format!("{server}::{}::{}", case.module, case.name);
    Trial::test(name, move || {
        runtime().block_on(run());
        Ok(())
    })
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Whether the word on the command line leaves a case of the real server. No name of a case holds "memory::".
fn real_is_wanted(arguments: &Arguments) -> bool {
    let filter = arguments.filter.as_deref().unwrap_or_default();
    !arguments.list && !filter.starts_with("memory::")
}

/// The real server, in the order in which things end. None where it cannot be built.
struct Ground {
    server: Option<Server>,
    _run: RunDir,
}

impl Ground {
    async fn set_up() -> Result<Self> {
        let cache = Cache::of_user()?;
        let spawner = Spawner::new(Guard::for_tests())?;
        let run = RunDir::create(Afterwards::Remove)?;
        let timeline = Timeline::new(Box::new(std::io::stderr()));
        let server = match program::get(&cache, &spawner, &timeline).await? {
            Found::Program(program) => {
                let ports = Ports::new(&cache)?.block()?;
                let api = RealApi::start(&program, run.path(), ports, &spawner).await?;
                Some(Server::real(api))
            }
            Found::NoGo(reason) => {
                timeline.say("SKIPPED real::*", reason);
                None
            }
        };
        Ok(Self { server, _run: run })
    }
}
