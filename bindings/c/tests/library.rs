//! Programs in C against the header and the libraries: the examples as two processes, what the header promises, and that header and library name the
//! same functions.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// Which library a program is linked with.
#[derive(Clone, Copy)]
enum Library {
    Shared,
    Static,
}

/// A directory that vanishes, and what was compiled into it.
struct Workshop(PathBuf);

impl Workshop {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("fabric-c-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// Compiles a file of this crate.
    fn compile(&self, source: &str, library: Library, flags: &[&str]) -> PathBuf {
        let program = self.0.join(Path::new(source).file_stem().unwrap());
        let (here, built) = (Path::new(env!("CARGO_MANIFEST_DIR")), built());
        let mut command = Command::new("gcc");
        command.args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-O1", "-g", "-I"]);
        command.arg(here.join("include")).arg(here.join(source)).arg("-o").arg(&program);
        command.args(flags);
        match library {
            Library::Shared => {
                command.arg("-L").arg(&built).arg("-lphfabric").arg(format!("-Wl,-rpath,{}", built.display()));
            }
            Library::Static => {
                command.arg("-Wl,--whole-archive").arg(built.join("libphfabric.a"));
                command.args(["-Wl,--no-whole-archive", "-lpthread", "-ldl", "-lm"]);
            }
        }
        let output = command.output().expect("gcc is there");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        program
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where cargo puts the libraries of the crate whose test this is: beside the test.
fn built() -> PathBuf {
    let dir = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    assert!(dir.join("libphfabric.so").exists() && dir.join("libphfabric.a").exists(), "not in {}", dir.display());
    dir
}

/// A child that does not outlive a test that fails.
struct Running(Option<Child>);

impl Running {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let child = Command::new(program).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self(Some(child.unwrap()))
    }

    fn finish(mut self) -> Output {
        self.0.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn said(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn run_examples(name: &str, library: Library, uri: &str) {
    let workshop = Workshop::new(name);
    let (sender, receiver) =
        (workshop.compile("example/sender.c", library, &[]), workshop.compile("example/receiver.c", library, &[]));
    let uri = uri.replace("DIR", &workshop.0.display().to_string());
    // The sender first, since the order is free.
    let sender = Running::start(&sender, &[&uri, "20000"]);
    let receiver = Running::start(&receiver, &[&uri, "20000"]);
    let (sent, received) = (sender.finish(), receiver.finish());
    assert_eq!(said(&sent), "sent 20002, counted 20002, released 1\n", "{}", String::from_utf8_lossy(&received.stderr));
    let expected = "numbers 20000, wrong 0\n\
                    kind 1 correlation 4711 timestamp 99 payload 1012\n\
                    frame 0 schema 7 length 6 begins copied\n\
                    frame 1 schema 0 length 6 begins static\n\
                    frame 2 schema 0 length 1000 begins xxxxxx\n\
                    window 200000, wrong 0\n\
                    end 3, in doubt ";
    // The answer was read, and over a network the word of that may have been cut off by the end.
    let received = said(&received);
    let doubt = received.strip_prefix(expected).unwrap_or_else(|| panic!("{received}"));
    assert!(["0\n", "1\n"].contains(&doubt), "{received}");
}

#[test]
fn two_processes_talk_over_shared_memory() {
    run_examples("ipc", Library::Shared, "ipc:example?dir=DIR");
}

#[test]
fn two_processes_that_were_linked_statically_talk_over_a_socket() {
    // A loopback address of this process's own, so that nobody else takes the port before the example does.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let free = std::net::TcpListener::bind((std::net::Ipv4Addr::new(127, high | 1, middle, low), 0)).unwrap();
    let uri = format!("tcp://{}", free.local_addr().unwrap());
    drop(free);
    run_examples("tcp", Library::Static, &uri);
}

/// The sanitizer replaces the allocator that the library uses, too, so that it sees what is leaked or used when it was freed.
#[test]
fn the_header_keeps_what_it_promises() {
    let workshop = Workshop::new("border");
    let program = workshop.compile("tests/border.c", Library::Shared, &["-fsanitize=address,undefined"]);
    assert_eq!(said(&Running::start(&program, &[]).finish()), "all is so\n");
}

#[test]
fn header_and_library_name_the_same_functions() {
    let header = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/fabric.h")).unwrap();
    let declared: BTreeSet<&str> = header
        .lines()
        .filter(|line| ["int32_t ", "uint32_t ", "void "].iter().any(|start| line.starts_with(start)))
        .map(|line| line.split('(').next().unwrap().rsplit(' ').next().unwrap())
        .collect();
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(built().join("libphfabric.so")).output();
    let output = said(&output.expect("nm is there"));
    // Symbols of Rust's own have other types or belong to the allocator of the standard library.
    let exported: BTreeSet<&str> =
        output.lines().filter_map(|line| line.split_once(" T ").map(|(_, name)| name)).collect();
    assert!(declared.len() > 60, "{declared:?}");
    assert_eq!(declared, exported);
}
