//! Operators on a real socket, the well-behaved and the others.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use console::{Answer, AskError, Caller, Commands, Socket, ask, serve};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

struct Echo;

impl Commands for Echo {
    async fn answer(&self, words: Vec<String>, _caller: Caller) -> Answer {
        Answer::done(words.join(" "), json!(words))
    }
}

fn server() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("run/console.sock");
    let path = socket.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new()
            .block_on(&runtime, async { serve(Socket::bind(&path).unwrap(), Rc::new(Echo)).await });
    });
    while UnixStream::connect(&socket).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
    (folder, socket)
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn asked(socket: &Path) -> Answer {
    ask(socket, &words("queue summary"), Duration::from_secs(10)).unwrap()
}

#[test]
fn a_command_is_answered_and_the_socket_is_private() {
    let (_folder, socket) = server();
    assert_eq!(asked(&socket), Answer::done("queue summary", json!(["queue", "summary"])));
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_no_request_ends_its_own_connection_only() {
    let (_folder, socket) = server();
    for bad in ["\n", "[]\n", "{}\n", "[1]\n", "\u{0}\n", "queue summary\n"] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(bad.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.contains("JSON array of words"), "{bad:?}: {reply}");
    }
    // A line without end is cut off at its limit.
    let mut stream = UnixStream::connect(&socket).unwrap();
    let _ = stream.write_all(&vec![b'x'; 1 << 20]);
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    asked(&socket);
}

#[test]
fn a_second_server_does_not_take_a_socket_in_use_but_a_left_over_is_replaced() {
    let (_folder, socket) = server();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(async { Socket::bind(&socket).err() }).map(|error| error.kind());
    assert_eq!(error, Some(std::io::ErrorKind::AddrInUse));
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("console.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let error = ask(&stale, &words("x"), Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, AskError::NotRunning { .. }));
    let path = stale.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new()
            .block_on(&runtime, async { serve(Socket::bind(&path).unwrap(), Rc::new(Echo)).await });
    });
    while UnixStream::connect(&stale).is_err() {
        std::thread::sleep(Duration::from_millis(2));
    }
    asked(&stale);
}
