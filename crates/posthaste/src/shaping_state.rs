//! The state of traffic shaping on disk: read at the start, written by a thread of its own. A file is written beside the
//! old one and then takes its place, so that a crash leaves one or the other, whole.
//!
//! Two files: what the engine exports, and beside it (`.sites`) the sites of the domains, a line each, so that what holds
//! for a site holds before its exchangers have been looked up again.

use crate::failure::Failure;
use crate::shaping_desk::{Desk, State};
use config::Config;
use message::UnixMicros;
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Largest state that is read, octets: more than the bounds of the engine let it write.
const STATE_BYTES_MAX: u64 = 256 << 20;
/// Shortest time between two writes.
const WRITE_GAP: Duration = Duration::from_secs(1);

/// The thread that writes. Dropping it writes a last time.
pub(crate) struct Saver {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Makes the desk of a configuration, with the state that the last process left, and starts the thread.
pub(crate) fn open(config: &Config) -> Result<(Arc<Desk>, Saver), Failure> {
    let mut rng =
        engine::Rng::from_os().map_err(|error| Failure::caused("the kernel gives no random numbers", &error))?;
    let desk = Arc::new(Desk::new(config, rng.next_u64())?);
    let path = config.shaping.state.clone();
    take_over(&desk, &path, crate::operate::now())?;
    let thread = std::thread::Builder::new()
        .name("shaping".into())
        .spawn({
            let desk = desk.clone();
            move || run(&desk, &path)
        })
        .map_err(|error| Failure::caused("cannot start the thread of traffic shaping", &error))?;
    Ok((desk.clone(), Saver { desk, thread: Some(thread) }))
}

/// Reads what there is. What cannot be read is put aside and told: mail goes on.
fn take_over(desk: &Desk, path: &Path, now: UnixMicros) -> Result<(), Failure> {
    let mut octets = vec![];
    match File::open(path).and_then(|file| file.take(STATE_BYTES_MAX).read_to_end(&mut octets)) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::caused(format!("[shaping] state: cannot read {}", path.display()), &error)),
    }
    match desk.take_over(now, &octets, &std::fs::read_to_string(sites(path)).unwrap_or_default()) {
        Ok(()) => Ok(()),
        Err(error) => {
            let aside = beside(path, ".damaged");
            // If it cannot be moved, the next write takes its place.
            let _ = std::fs::rename(path, &aside);
            eprintln!("{}: {error}; it is kept as {}, and shaping begins anew", path.display(), aside.display());
            Ok(())
        }
    }
}

impl Desk {
    fn take_over(&self, now: UnixMicros, octets: &[u8], homes: &str) -> Result<(), shaping::StateError> {
        let mut state = self.lock();
        state.shaper.import(now, octets)?;
        for (domain, site) in homes.lines().filter_map(|line| line.split_once(' ')) {
            state.learn(&domain.into(), site);
        }
        state.change(None);
        self.settle(&state);
        Ok(())
    }
}

impl State {
    /// What the engine knows, and the domains of the sites that are adjusted.
    fn export(&self, octets: &mut Vec<u8>) -> String {
        let adjusted: HashSet<&str> = self.shaper.adjusted().map(|scope| &*scope.site).collect();
        let mut homes = String::new();
        for (domain, site) in self.homes.iter().filter(|(_, site)| adjusted.contains(&***site)) {
            homes.extend([&**domain, " ", &**site, "\n"]);
        }
        self.shaper.export_into(octets);
        homes
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn sites(path: &Path) -> PathBuf {
    beside(path, ".sites")
}

fn run(desk: &Desk, path: &Path) {
    // Kept from one write to the next: memory is not to be had while the desk is locked.
    let (mut told, mut octets) = (false, vec![]);
    loop {
        let state = desk.lock();
        let interval = state.saving.interval;
        let waited = desk.bell.wait_timeout_while(state, interval, |state| {
            !(state.saving.ends || state.saving.is_urgent && state.saving.is_behind)
        });
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let ends = state.saving.ends;
        if state.saving.is_behind {
            (state.saving.is_behind, state.saving.is_urgent) = (false, false);
            let homes = state.export(&mut octets);
            drop(state);
            if let Err(error) = write(path, &octets).and_then(|()| write(&sites(path), homes.as_bytes())) {
                if !std::mem::replace(&mut told, true) {
                    eprintln!("state of traffic shaping {}: {error}; it is tried again", path.display());
                }
                desk.lock().saving.is_behind = true;
            }
        } else {
            drop(state);
        }
        if ends {
            return;
        }
        // Decisions that come together are written together.
        let state = desk.lock();
        let rested = desk.bell.wait_timeout_while(state, WRITE_GAP, |state| !state.saving.ends);
        drop(rested);
    }
}

fn write(path: &Path, octets: &[u8]) -> std::io::Result<()> {
    let fresh = beside(path, ".new");
    let mut file = File::create(&fresh)?;
    file.write_all(octets)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.desk.lock().saving.ends = true;
        self.desk.bell.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("state");
        for text in ["one", "two"] {
            write(&path, text.as_bytes()).expect("the folder can be written");
            assert_eq!(std::fs::read_to_string(&path).expect("it was written"), text);
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 1);
    }
}
