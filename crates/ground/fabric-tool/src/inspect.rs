//! `fabric inspect`: the links of a running process over shared memory, read-only and without its help; both sides where both may be looked at.

use std::thread;
use std::time::Duration;

use fabric::ipc::{LaneView, LinkView, inspect, inspect_at};
use fabric::tli::{LANES, Lane};
use fabric::uri::Uri;
use serde_json::{Value, json};

use crate::cli::InspectArgs;
use crate::failure::Failure;

/// A link, seen from the process asked for and, where that may be, from its peer.
struct Seen {
    near: LinkView,
    far: Option<LinkView>,
}

pub(crate) fn inspect_links(args: &InspectArgs) -> Result<(), Failure> {
    loop {
        let seen = look(&args.target)?;
        if args.json {
            println!("{}", Value::from(seen.iter().map(Seen::to_json).collect::<Vec<_>>()));
        } else {
            print!("{}", seen.iter().map(Seen::to_text).collect::<String>());
            if seen.is_empty() {
                println!("no links");
            }
        }
        let Some(milliseconds) = args.every else { return Ok(()) };
        thread::sleep(Duration::from_millis(milliseconds));
    }
}

fn look(target: &str) -> Result<Vec<Seen>, Failure> {
    let views = match target.parse::<u32>() {
        Ok(pid) => inspect(pid).map_err(|error| Failure::caused(format_args!("process {pid}"), &error))?,
        Err(_) => inspect_at(&Uri::parse(target)?).map_err(|error| Failure::caused(target, &error))?,
    };
    let mut seen = Vec::new();
    for near in views {
        // Both ends in one process show up twice there; once is enough.
        let is_known = seen
            .iter()
            .any(|it: &Seen| it.far.as_ref().is_some_and(|far| far.epoch == near.epoch && far.pid == near.pid));
        if !is_known {
            let far = near.peer_pid.and_then(|pid| inspect(pid).ok()).unwrap_or_default();
            let far = far.into_iter().find(|far| far.epoch == near.peer_epoch && far.label == near.label);
            seen.push(Seen { near, far });
        }
    }
    Ok(seen)
}

impl Seen {
    fn to_text(&self) -> String {
        let Self { near, far } = self;
        let peer = near.peer_pid.map_or("a peer unseen".to_owned(), |pid| format!("pid {pid}"));
        let mut text = format!("{}: pid {} and {peer}\n", near.label, near.pid);
        text.push_str(&side(near, far.as_ref()));
        if let Some(far) = far {
            text.push_str(&side(far, Some(near)));
        }
        text
    }

    fn to_json(&self) -> Value {
        json!({ "near": as_json(&self.near), "far": self.far.as_ref().map(as_json) })
    }
}

fn side(view: &LinkView, peer: Option<&LinkView>) -> String {
    let mut text = format!(
        "  pid {}: {} sleep now, {} sleeps, {} leases returned\n",
        view.pid, view.sleepers, view.sleeps, view.leases_returned
    );
    for lane in LANES {
        let (it, name) = (lane_of(view, lane), if lane == Lane::Bulk { "bulk" } else { "urgent" });
        let used =
            peer.map_or("?".to_owned(), |peer| it.taken.saturating_sub(lane_of(peer, lane).disposed).to_string());
        let end = if it.finished { ", finished" } else { "" };
        text.push_str(&format!(
            "    {name:<6} out {used} of {} × {} B in use, {} taken{end}; in {} windows, {} messages\n",
            it.windows, it.window_bytes, it.taken, it.disposed, it.messages_read
        ));
    }
    text
}

fn lane_of(view: &LinkView, lane: Lane) -> &LaneView {
    match lane {
        Lane::Bulk => &view.bulk,
        Lane::Urgent => &view.urgent,
    }
}

fn as_json(view: &LinkView) -> Value {
    let lane = |it: &LaneView| {
        json!({
            "window_bytes": it.window_bytes,
            "windows": it.windows,
            "taken": it.taken,
            "finished": it.finished,
            "disposed": it.disposed,
            "messages_read": it.messages_read,
        })
    };
    json!({
        "pid": view.pid,
        "peer_pid": view.peer_pid,
        "label": view.label,
        "epoch": view.epoch,
        "peer_epoch": view.peer_epoch,
        "sleepers": view.sleepers,
        "sleeps": view.sleeps,
        "leases_returned": view.leases_returned,
        "urgent": lane(&view.urgent),
        "bulk": lane(&view.bulk),
    })
}
