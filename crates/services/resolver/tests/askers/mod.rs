//! Event loops that ask: threads, each with a runtime of its own, as the server has them.

#![expect(clippy::unwrap_used, reason = "a failed set-up fails the test")]

use std::thread::{self, JoinHandle};

use policy::DnsName;
use resolver::{Driver, Resolver, ResolverOptions, SequenceKey};
use tokio::runtime::{Builder, Runtime};

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

/// Runs the driver on a loop of its own until the last handle is gone.
pub(crate) fn drive(driver: Driver) -> JoinHandle<()> {
    thread::spawn(move || runtime().block_on(driver.run()))
}

/// A resolver whose driver runs.
pub(crate) fn resolver(options: ResolverOptions) -> Resolver {
    let (resolver, driver) = Resolver::new(options, SequenceKey([0x5eed, 0x0dd5]));
    drive(driver);
    resolver
}

/// Runs `ask` on a loop, for the tests that need only one.
pub(crate) fn on_loop<F: Future>(ask: F) -> F::Output {
    runtime().block_on(ask)
}

/// `each` askers on each of `loops` event loops, all at the same time; gives what they got.
pub(crate) fn ask_from_loops<T, F>(loops: usize, each: usize, ask: impl Fn() -> F + Send + Clone + 'static) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let threads: Vec<_> = (0..loops)
        .map(|_| {
            let ask = ask.clone();
            thread::spawn(move || {
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime(), async {
                    let asking: Vec<_> = (0..each).map(|_| tokio::task::spawn_local(ask())).collect();
                    let mut got = Vec::new();
                    for asker in asking {
                        got.push(asker.await.unwrap());
                    }
                    got
                })
            })
        })
        .collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}
