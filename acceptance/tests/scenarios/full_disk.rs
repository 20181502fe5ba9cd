//! A disk that fills up: 452, nothing acknowledged is lost, and mail again when space returns.

use acceptance::{Manner, Server, Sink, Site, within};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A small file system of its own, which the end of the test takes away, however it ends.
struct Volume(PathBuf);

impl Volume {
    fn mount(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("mount");
        let mounted = command.args(["-t", "tmpfs", "-o", "size=24m", "posthaste-test"]).arg(&folder).output().unwrap();
        let error = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "a volume cannot be mounted, which takes root: {error}");
        Self(folder)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily: a process that still holds a file must not keep the folder.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

const SMALL: &str = "[spool]\nsegment_size = \"1MiB\"\n";

fn holding() -> String {
    format!("{SMALL}[domain.\"*\"]\nroute = \"hold:\"\n")
}

/// Sends messages until one is refused; the ids that were acknowledged.
fn fill(server: &Server, name: &str, most: usize) -> (HashSet<String>, Option<(u16, String)>) {
    let mut acknowledged = HashSet::new();
    let mut client = server.connect();
    client.hello();
    let body = "z".repeat(70) + "\r\n";
    for n in 0..most {
        let id = format!("{name}{n}");
        let content = format!("Subject: {id}\r\n\r\n{}x", body.repeat(900));
        match client.message("s@a.test", &[&format!("{id}@b.test")], &content) {
            Some((250, _)) => acknowledged.insert(id),
            refused => return (acknowledged, refused),
        };
    }
    (acknowledged, None)
}

/// Offers a small message, which may be refused at any command.
fn accepts(server: &Server, id: &str) -> Result<(), String> {
    let mut client = server.connect();
    client.hello();
    let lines = [
        "MAIL FROM:<s@a.test>\r\n".to_owned(),
        format!("RCPT TO:<{id}@b.test>\r\n"),
        "DATA\r\n".into(),
        format!("Subject: {id}\r\n\r\n{}\r\n.\r\n", "x".repeat(500)),
    ];
    for line in lines {
        client.send(line);
        match client.reply() {
            Some((250 | 354, _)) => {}
            Some((_, text)) => return Err(text),
            None => return Err("the server hung up".into()),
        }
    }
    Ok(())
}

fn listed(site: &Site, ids: &HashSet<String>) -> Vec<String> {
    let list = site.tool_ok(&["spool", "list", "--config", site.config().to_str().unwrap()]);
    ids.iter().filter(|id| !list.contains(&format!("{id}@b.test"))).cloned().collect()
}

fn errors(site: &Site) -> String {
    std::fs::read_to_string(site.path("stderr")).unwrap_or_default()
}

/// Something else on the volume, which goes away later.
fn filler(volume: &Path) -> PathBuf {
    let path = volume.join("filler");
    std::fs::write(&path, vec![1; 10 << 20]).unwrap();
    path
}

#[test]
fn a_full_volume_refuses_mail_loses_none_and_takes_mail_again_by_itself() {
    let site = Site::new(&holding());
    let volume = Volume::mount(site.path("spool"));
    let filler = filler(&volume.0);
    let server = site.start();
    let (mut acknowledged, refused) = fill(&server, "a", 1000);
    let (code, text) = refused.expect("24 MiB are full some time");
    assert!(code == 452 && text.starts_with("452 4.3.1"), "{text}");
    assert!(acknowledged.len() > 30, "only {} messages fitted", acknowledged.len());
    // Other work goes on, and what was acknowledged is there.
    assert_eq!(listed(&site, &acknowledged), Vec::<String>::new());
    std::fs::remove_file(filler).unwrap();
    assert!(
        within(Duration::from_secs(10), || accepts(&server, "again").is_ok()),
        "space is back, yet {:?}: {}",
        accepts(&server, "more"),
        errors(&site)
    );
    acknowledged.insert("again".into());
    let (more, _) = fill(&server, "b", 20);
    assert_eq!(more.len(), 20, "{}", errors(&site));
    acknowledged.extend(more);
    server.kill();
    assert_eq!(listed(&site, &acknowledged), Vec::<String>::new());
    drop(volume);
}

#[test]
fn a_restart_on_a_full_volume_delivers_what_is_there_and_then_has_room() {
    let mut site = Site::new(&holding());
    let volume = Volume::mount(site.path("spool"));
    let server = site.start();
    let (acknowledged, refused) = fill(&server, "a", 1000);
    assert_eq!(refused.map(|(code, _)| code), Some(452));
    server.kill();
    // Whatever the journal did not take.
    let _ = std::fs::write(volume.0.join("filler"), vec![1; 24 << 20]);
    assert_eq!(listed(&site, &acknowledged), Vec::<String>::new());
    let sink = Sink::start(Manner::default()).count_only();
    site.set_extra(&format!("{SMALL}[domain.\"*\"]\nroute = \"smtp://127.0.0.1:{}\"\n", sink.port));
    let server = site.start();
    let missing = || acknowledged.iter().filter(|id| !sink.ids().contains_key(*id)).count();
    assert!(
        within(Duration::from_secs(15), || missing() == 0),
        "{} of {} are missing: {}",
        missing(),
        acknowledged.len(),
        errors(&site)
    );
    assert!(
        within(Duration::from_secs(15), || accepts(&server, "again").is_ok()),
        "delivered mail made no room: {:?}: {}",
        accepts(&server, "more"),
        errors(&site)
    );
    assert!(within(Duration::from_secs(10), || sink.ids().contains_key("again")));
    drop(server);
    drop(volume);
}

#[test]
fn the_files_store_on_a_full_volume_does_the_same() {
    let files = |route: &str| format!("[spool]\nstore = \"files\"\n[domain.\"*\"]\nroute = \"{route}\"\n");
    let mut site = Site::new(&files("hold:"));
    let volume = Volume::mount(site.path("spool"));
    let filler = filler(&volume.0);
    let server = site.start();
    let (mut acknowledged, refused) = fill(&server, "a", 1000);
    let (code, text) = refused.expect("24 MiB are full some time");
    assert!(code == 452 && text.starts_with("452 4.3.1"), "{text}");
    std::fs::remove_file(filler).unwrap();
    let again = within(Duration::from_secs(10), || accepts(&server, "again").is_ok());
    assert!(again, "space is back, yet {:?}: {}", accepts(&server, "more"), errors(&site));
    acknowledged.insert("again".into());
    server.kill();
    let sink = Sink::start(Manner::default()).count_only();
    site.set_extra(&files(&format!("smtp://127.0.0.1:{}", sink.port)));
    let server = site.start();
    let missing = || acknowledged.iter().filter(|id| !sink.ids().contains_key(*id)).count();
    assert!(within(Duration::from_secs(15), || missing() == 0), "{} of {} are missing", missing(), acknowledged.len());
    drop(server);
    drop(volume);
}
