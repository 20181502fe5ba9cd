//! Every scenario over every transport that this machine has: one test for each. (`vsock:` and `rdma:` have theirs in the guest of
//! `cargo xtask test-vm`.)

use std::time::Duration;

use fabric_conformance::{Options, find, run};

/// Runs a scenario; fails with all that it printed.
fn perform(scheme: &str, scenario: &str) {
    let options = Options {
        program: env!("CARGO_BIN_EXE_fabric-conformance").into(),
        scheme: scheme.parse().expect("it is right"),
        rounds: None,
        seed: 1,
        limit: Duration::from_secs(120),
    };
    let scenario = find(scenario).expect("it is there");
    assert!(options.scheme.has(scenario.need).expect("there is a provider"), "{scheme} is not for {scenario:?}");
    let report = run(&options, &scenario).expect("a process can be started");
    println!("{}", report.output);
    if let Some(why) = report.failure {
        panic!("{scheme} {}: {why}\n{}", scenario.name, report.output);
    }
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            super::perform(SCHEME, stringify!($name));
        })*
    };
}

mod inproc {
    const SCHEME: &str = "inproc";
    fabric_conformance::everywhere!(tests);
    fabric_conformance::sharing_memory!(tests);
}

mod ipc {
    const SCHEME: &str = "ipc";
    fabric_conformance::everywhere!(tests);
    fabric_conformance::sharing_memory!(tests);
    fabric_conformance::between_processes!(tests);
    fabric_conformance::sharing_memory_of_processes!(tests);
}

mod tcp_epoll {
    const SCHEME: &str = "tcp?via=epoll";
    fabric_conformance::everywhere!(tests);
    fabric_conformance::between_processes!(tests);
}

mod tcp_uring {
    const SCHEME: &str = "tcp?via=uring";
    fabric_conformance::everywhere!(tests);
    fabric_conformance::between_processes!(tests);
}
