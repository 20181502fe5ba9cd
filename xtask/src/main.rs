//! The project's own chores, run as `cargo xtask NAME`.
//!
//! Everything that a developer or CI does beyond plain cargo is here, in one language, without a shell.

mod bench;
mod check;
mod docs;
mod imports;
mod instructions;
mod lengths;
mod packages;
mod pauses;
mod run;
mod test;
mod vm;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask check              format, lints, import table, lengths, docs, licences
cargo xtask test [FILTER…]     installs what the tests need, then runs every test (or those that match)
cargo xtask test-vm [SCHEME…]  the transports vsock: and rdma: in an emulated guest (`-- PROGRAM [ARGUMENT…]`: that program)
cargo xtask pauses [RATE…]     the fabric's conformance suite with pauses at random between its statements
cargo xtask docs               writes the pages that come from tables in the code
cargo xtask instructions       instructions of a message in the fabric, against the allowed figures
cargo xtask bench list         the benchmarks
cargo xtask bench NAME [--json]
cargo xtask fuzz [SECONDS]     every fuzz target for that long, with the nightly toolchain";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["check"] => check::check(),
        ["test", filters @ ..] => test::test(filters),
        ["test-vm", rest @ ..] => vm::test_vm(rest),
        ["pauses", rates @ ..] => pauses::pauses(rates),
        ["docs"] => docs::write(),
        ["instructions"] => instructions::instructions(),
        ["bench", rest @ ..] => bench::bench(rest),
        ["fuzz"] => test::fuzz(30),
        ["fuzz", seconds] => match seconds.parse() {
            Ok(seconds) => test::fuzz(seconds),
            Err(_) => Err(format!("fuzz: `{seconds}` is not a number of seconds")),
        },
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}
