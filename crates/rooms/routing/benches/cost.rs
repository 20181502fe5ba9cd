//! What routing costs a recipient: `cargo bench -p routing`.

use divan::Bencher;
use message::{Address, Agent};
use routing::{Declared, Egress, EgressId, Plan, Router};
use std::sync::Arc;

fn main() {
    divan::main();
}

struct AllByMx;

impl Plan for AllByMx {
    fn hostname(&self) -> &str {
        "mx1.example.org"
    }

    fn postmaster(&self) -> Option<Address> {
        None
    }

    fn declared(&self, _domain: &str, _egress: &Egress) -> Declared {
        Declared { agent: Agent::Mx, port: 25, by: "*".into() }
    }
}

/// A domain that was seen lately, among so many.
#[divan::bench(args = [1, 100, 5000])]
fn known(bencher: Bencher, domains: usize) {
    let mut router = Router::new(Arc::new(AllByMx));
    let addresses: Vec<_> =
        (0..domains).map(|n| Address::new("somebody", &format!("mail{n}.example.com")).expect("an address")).collect();
    for address in &addresses {
        router.route(address, EgressId::default());
    }
    let mut n = 0;
    bencher.bench_local(|| {
        n += 1;
        router.route(&addresses[n * 7919 % domains], EgressId::default())
    });
}

/// A domain that was never seen.
#[divan::bench]
fn unknown(bencher: Bencher) {
    let mut router = Router::new(Arc::new(AllByMx));
    let mut n = 0;
    bencher
        .with_inputs(|| {
            n += 1;
            Address::new("somebody", &format!("mail{n}.example.com")).expect("an address")
        })
        .bench_local_values(|address| router.route(&address, EgressId::default()));
}

/// As `unknown`, asking the configuration as it is built in.
#[divan::bench]
fn unknown_by_configuration(bencher: Bencher) {
    let mut router = Router::new(Arc::new(config::Config::parse("none", "").expect("an empty configuration")));
    let mut n = 0;
    bencher
        .with_inputs(|| {
            n += 1;
            Address::new("somebody", &format!("mail{n}.example.com")).expect("an address")
        })
        .bench_local_values(|address| router.route(&address, EgressId::default()));
}
