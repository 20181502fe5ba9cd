//! A service manager hands over a listening socket: this program starts itself the way systemd would.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Command, Stdio},
};

use engine::{InheritError, InheritedSocket, inherited_sockets};

const CHILD: &str = "ENGINE_TEST_ACTIVATED";

/// In the child: takes the socket, refuses to take it twice, serves one connection.
fn serve_as_child() {
    let mut sockets = inherited_sockets().expect("the socket is at descriptor 3");
    assert_eq!(sockets.len(), 1);
    let inherited = sockets.remove(0);
    assert_eq!(inherited.name, "mx");
    assert!(matches!(inherited_sockets(), Err(InheritError::Taken { descriptor: 3 })));
    let InheritedSocket::Tcp(listener) = inherited.socket else { panic!("not a TCP listener") };
    listener.set_nonblocking(false).expect("a listener");
    let (mut peer, _) = listener.accept().expect("the parent connects");
    peer.write_all(b"220 activated").expect("the parent reads");
}

#[test]
fn a_listener_is_inherited_by_name_and_only_once() {
    if std::env::var_os(CHILD).is_some() {
        return serve_as_child();
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // The shell moves the socket to descriptor 3 and becomes the child, so that its process id is the child's.
    let script = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=mx exec \"$0\" --exact \"$1\" --nocapture 3<&0 </dev/null";
    let mut child = Command::new("/bin/sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg("a_listener_is_inherited_by_name_and_only_once")
        .env(CHILD, "1")
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut greeting = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut greeting).unwrap();
    assert_eq!(greeting, "220 activated");
    assert!(child.wait().unwrap().success());
}

#[test]
fn without_a_service_manager_there_is_nothing_to_inherit() {
    if std::env::var_os(CHILD).is_none() {
        assert!(inherited_sockets().unwrap().is_empty());
    }
}
