//! `cargo xtask test-vm`: the transports that need kernel modules which this machine may lack (`vsock:` between a
//! host and itself, `rdma:` over an adapter in software), tested in a guest.
//!
//! A Debian kernel boots under QEMU, from an initial RAM file system made here: busybox, the modules, the verbs library, the test program with its libraries, and
//! `vm/init.sh`. The guest has no disk and no network. It reports the program's exit code on its serial console and
//! switches itself off; a guest that does not is stopped at the time limit. The processor is emulated, always: KVM
//! inside a virtual machine may be there and yet hang, and the guest boots within six seconds without it.

mod cpio;
mod modules;
mod packages;

use crate::run::{output, root};
use cpio::Archive;
use modules::Modules;
use packages::Packages;
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How long a guest may run. `timeout` keeps it, whatever becomes of this process.
const LIMIT_SECONDS: &str = "1200";

/// Loaded in the guest, with all that they need.
const MODULES: &[&str] = &["vsock_loopback", "crc32_generic", "ib_uverbs", "rdma_rxe", "dummy"];

/// What the conformance suite is asked to test there, in turn.
const SCHEMES: &[&str] = &["vsock", "rdma"];

/// The line with which `vm/init.sh` reports.
const MARKER: &str = "test-vm: exit ";

/// One program that runs in the guest.
struct Run<'a> {
    program: PathBuf,
    arguments: Vec<&'a str>,
}

/// `test-vm` runs the tests of `fabric-rdma` that need an adapter and the conformance suite over both transports, `test-vm SCHEME…` the suite over
/// these, `test-vm -- PROGRAM [ARGUMENT…]` any program.
pub(crate) fn test_vm(args: &[&str]) -> Result<(), String> {
    match args {
        ["--", program, arguments @ ..] => boot(&[Run { program: program.into(), arguments: arguments.to_vec() }]),
        ["--"] => Err("test-vm: name the program to run".into()),
        schemes => {
            let mut runs = Vec::new();
            if schemes.is_empty() {
                let tests = built(&["test", "--no-run", "--package", "fabric-rdma", "--features", "adapter"])?;
                runs.extend(tests.into_iter().map(|program| Run { program, arguments: Vec::new() }));
            }
            let suite = built(&["build", "--release", "--all-features", "--package", "fabric-conformance"])?;
            let suite = suite.last().ok_or("fabric-conformance has no program")?;
            let schemes = if schemes.is_empty() { SCHEMES } else { schemes };
            runs.extend(
                schemes.iter().map(|scheme| Run { program: suite.clone(), arguments: vec!["--scheme", scheme] }),
            );
            boot(&runs)
        }
    }
}

/// Does all runs in one guest, one after the other; fails when one of them failed.
fn boot(runs: &[Run<'_>]) -> Result<(), String> {
    let packages = Packages::install()?;
    let folder = root().join("target/vm");
    let image = folder.join("initramfs");
    std::fs::write(&image, image_of(&packages, runs)?).map_err(|error| format!("{}: {error}", image.display()))?;
    watch(&packages.kernel()?, &image)
}

/// The programs that a cargo command builds.
fn built(command: &[&str]) -> Result<Vec<PathBuf>, String> {
    eprintln!("$ cargo {}", command.join(" "));
    let messages = output("cargo", &[command, &["--quiet", "--message-format=json"]].concat())?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect())
}

/// Everything that the guest has.
fn image_of(packages: &Packages, runs: &[Run<'_>]) -> Result<Vec<u8>, String> {
    let mut archive = Archive::new();
    archive.file("init", include_bytes!("vm/init.sh"));
    archive.copy("bin/busybox", &packages.file("busybox-static", "bin/busybox")?)?;
    archive.link("bin/sh", "busybox");

    let mut order = String::new();
    for (name, content) in Modules::of(&packages.linux()?)?.in_order(MODULES)? {
        archive.file(&format!("modules/{name}.ko"), &content);
        order += &format!("{name}.ko\n");
    }
    archive.file("modules/order", order.as_bytes());

    let libraries = "usr/lib/x86_64-linux-gnu";
    let verbs = packages.file("libibverbs1", &format!("{libraries}/libibverbs.so.1"))?;
    let driver = format!("{libraries}/libibverbs/librxe-rdmav34.so");
    let driver_file = packages.file("ibverbs-providers", &driver)?;
    archive.file("etc/libibverbs.d/rxe.driver", b"driver rxe\n");
    archive.copy(&driver, &driver_file)?;
    archive.copy(&format!("{libraries}/libibverbs.so.1"), &verbs)?;
    let mut programs = vec![
        ("usr/bin/ibv_devices".to_owned(), packages.file("ibverbs-utils", "usr/bin/ibv_devices")?),
        ("usr/bin/rdma".to_owned(), packages.file("iproute2", "usr/bin/rdma")?),
    ];
    programs.extend(runs.iter().map(|run| (name_of(&run.program), run.program.clone())));
    let mut linked = vec![verbs, driver_file];
    for (name, file) in programs {
        archive.copy(&name, &file)?;
        linked.push(file);
    }
    for file in &linked {
        for (name, library) in packages.libraries(file)? {
            archive.copy(&name, &library)?;
        }
    }
    archive.file("command", command(runs).as_bytes());
    Ok(archive.finish())
}

/// Where a program lies in the guest; one that is run twice lies there once.
fn name_of(program: &Path) -> String {
    format!("tests/{}", program.file_name().unwrap_or(program.as_os_str()).to_string_lossy())
}

/// The script that does the runs; its exit code is the last that was not 0.
fn command(runs: &[Run<'_>]) -> String {
    let quote = |text: &str| format!(" '{}'", text.replace('\'', r"'\''"));
    let mut script = String::from("#!/bin/sh\nfailed=0\n");
    for run in runs {
        let line =
            format!("/{}", name_of(&run.program)) + &run.arguments.iter().map(|text| quote(text)).collect::<String>();
        script += &format!("echo test-vm: running {line}\n{line} || failed=$?\n");
    }
    script + "exit $failed\n"
}

/// Starts the guest, passes on what it prints, and judges by the marker.
fn watch(kernel: &Path, image: &Path) -> Result<(), String> {
    let (kernel, image) = (kernel.to_string_lossy(), image.to_string_lossy());
    let arguments: Vec<&str> = "--signal=KILL --foreground"
        .split(' ')
        .chain([LIMIT_SECONDS, "qemu-system-x86_64", "-kernel", &kernel, "-initrd", &image])
        .chain("-accel tcg,thread=multi -cpu max -smp 2 -m 1024".split(' '))
        .chain("-nodefaults -no-user-config -display none -serial stdio -no-reboot -append".split(' '))
        .chain(["console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off"])
        .collect();
    eprintln!("$ timeout {}", arguments.join(" "));
    let mut guest = Command::new("timeout")
        .args(&arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("timeout could not be started: {error}"))?;
    let console = guest.stdout.take().ok_or("the guest has no console")?;
    let mut code = None;
    for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        let mut screen = std::io::stdout().lock();
        // A reader who has gone away is no reason to leave the guest alone.
        let _ = writeln!(screen, "{line}").and_then(|()| screen.flush());
        if let Some(text) = line.strip_prefix(MARKER) {
            code = text.parse::<i32>().ok();
        }
    }
    let status = guest.wait().map_err(|error| error.to_string())?;
    match code {
        Some(0) => Ok(()),
        Some(code) => Err(format!("the test ended in the guest with code {code}")),
        None => Err(format!("the guest ended with {status} before the test did, or at the limit of {LIMIT_SECONDS} s")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_quotes_and_remembers_a_failure() {
        let run = |arguments| Run { program: "target/debug/suite".into(), arguments };
        let script = command(&[run(vec!["--scheme", "it's"]), run(vec![])]);
        assert!(script.contains(r"/tests/suite '--scheme' 'it'\''s' || failed=$?"), "{script}");
        assert!(script.ends_with("/tests/suite || failed=$?\nexit $failed\n"), "{script}");
    }
}
