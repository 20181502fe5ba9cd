//! systemd's notifications and socket activation, by hand: what the manager would do.

use acceptance::{Client, Site, free_port};
use rustix::process::Signal;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

#[test]
fn ready_and_stopping_are_notified() {
    let site = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n");
    let path = site.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut server = site.start_with(|command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let next = || {
        let mut buffer = [0; 4096];
        let n = manager.recv(&mut buffer).expect("a notification comes");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    };
    assert!(next().contains("READY=1"));
    server.signal(Signal::HUP);
    assert!(next().contains("RELOADING=1"));
    assert!(next().contains("READY=1"));
    server.signal(Signal::TERM);
    assert!(next().contains("STOPPING=1"));
    assert!(server.wait(Duration::from_secs(30)).success());
}

#[test]
fn an_inherited_socket_is_served() {
    let site = Site::new("[domain.\"*\"]\nroute = \"hold:\"\n");
    let port = free_port();
    // A shell in between plays the manager: it opens nothing itself, so python does, and execs the server.
    let script = format!(
        "import os,socket,sys\ns=socket.socket();s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\n\
         s.bind(('127.0.0.1',{port}));s.listen(64);os.dup2(s.fileno(),3);os.set_inheritable(3,True)\n\
         os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid()),LISTEN_FDNAMES='mx')\n\
         os.execv(sys.argv[1],sys.argv[1:])"
    );
    site.tool(&["--version"]);
    let mut command = std::process::Command::new("python3");
    command.args(["-c", &script]).arg(acceptance::binary()).args(["run", "--config"]).arg(site.config());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let server = acceptance::Running(command.spawn().expect("python3 is there"));
    let refused = || std::net::TcpStream::connect(("127.0.0.1", site.port)).is_err();
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(acceptance::within(Duration::from_secs(20), listens));
    let mut client = Client::connect(port);
    client.expect(220);
    client.hello();
    assert!(refused(), "the listener's own bind is replaced by the inherited socket");
    drop(server);
}
