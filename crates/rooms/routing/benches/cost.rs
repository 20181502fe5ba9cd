//! What routing costs a recipient: `cargo bench -p routing`.

use divan::Bencher;
use message::{Address, Agent};
use routing::{Declared, Plan, Router};
use std::sync::Arc;

fn main() {
    divan::main();
}

struct AllByMx(Address);

impl Plan for AllByMx {
    fn hostname(&self) -> &str {
        "mx1.example.org"
    }

    fn postmaster(&self) -> &Address {
        &self.0
    }

    fn declared(&self, _domain: &str) -> Declared {
        Declared { agent: Agent::Mx, port: 25, by: "*".into(), binding: "default".into() }
    }
}

/// A domain that was seen lately, among so many.
#[divan::bench(args = [1, 100, 5000])]
fn known(bencher: Bencher, domains: usize) {
    let mut router = Router::new(Arc::new(AllByMx(Address::new("root", "example.org").expect("an address"))));
    let addresses: Vec<_> =
        (0..domains).map(|n| Address::new("somebody", &format!("mail{n}.example.com")).expect("an address")).collect();
    for address in &addresses {
        router.route(address);
    }
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        router.route(&addresses[n * 7919 % domains])
    });
}

/// A domain that was never seen.
#[divan::bench]
fn unknown(bencher: Bencher) {
    let mut router = Router::new(Arc::new(AllByMx(Address::new("root", "example.org").expect("an address"))));
    let mut n = 0;
    bencher
        .with_inputs(|| {
            n += 1;
            Address::new("somebody", &format!("mail{n}.example.com")).expect("an address")
        })
        .bench_local_values(|address| router.route(&address));
}
