//! What was measured, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::Mode;
use crate::cli::{Frames, PerfArgs};

/// What one side has measured.
#[derive(Debug)]
pub(super) struct Side {
    /// Its processor time over the messages that count.
    pub(super) cpu_ns: u64,
    /// What the measuring side has found.
    pub(super) figures: Option<Figures>,
}

#[derive(Debug)]
pub(super) enum Figures {
    Rate {
        /// From the last message of the warm-up to the last of all.
        time: Duration,
    },
    Trip {
        /// Round trips in nanoseconds at these points of their order.
        percentiles: [(&'static str, u32); 5],
    },
}

impl Figures {
    /// Of at least one time.
    pub(super) fn trip(mut times: Vec<u32>) -> Self {
        times.sort_unstable();
        let at = |part: f64| times[((times.len() as f64 * part) as usize).min(times.len() - 1)];
        let percentiles =
            [("p50", at(0.5)), ("p90", at(0.9)), ("p99", at(0.99)), ("p99.9", at(0.999)), ("max", at(1.0))];
        Self::Trip { percentiles }
    }
}

impl Side {
    /// What a started peer tells.
    pub(super) fn to_json(&self) -> Value {
        json!({ "cpu_ns": self.cpu_ns })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        Some(Self { cpu_ns: value["cpu_ns"].as_u64()?, figures: None })
    }
}

/// A measurement with all that belongs to it.
pub(super) struct Report<'a> {
    pub(super) args: &'a PerfArgs,
    pub(super) mode: Mode,
    /// The side that measured, when it is here.
    pub(super) measured: Option<&'a Side>,
    /// The peer, when it was started here.
    pub(super) other: Option<&'a Side>,
}

const PAYLOAD: &str = "written and read in full";

impl Report<'_> {
    fn per_message(&self, side: Option<&Side>) -> Option<f64> {
        side.map(|side| side.cpu_ns as f64 / f64::from(self.args.messages))
    }

    fn frames(&self) -> &'static str {
        match self.args.frames {
            Frames::Copy => "copy",
            Frames::Place => "place",
            Frames::Window => "window",
        }
    }

    fn waiting(&self) -> &'static str {
        match (self.args.busy, self.args.park) {
            (true, _) => "busy",
            (_, true) => "park",
            _ => "spin then park",
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let (args, messages) = (self.args, f64::from(self.args.messages));
        let mut value = json!({
            "mode": if self.mode == Mode::Rate { "thr" } else { "lat" },
            "uri": args.uri,
            "size": args.size,
            "messages": args.messages,
            "frames": self.frames(),
            "waiting": self.waiting(),
            "trust": if args.trust { "same" } else { "hostile" },
            "payload": PAYLOAD,
            "cpu_ns_per_message": {
                "measuring": self.per_message(self.measured),
                "peer": self.per_message(self.other),
            },
        });
        match self.measured.and_then(|side| side.figures.as_ref()) {
            Some(Figures::Rate { time }) => {
                let seconds = time.as_secs_f64();
                value["seconds"] = seconds.into();
                value["messages_per_second"] = (messages / seconds).into();
                value["bytes_per_second"] = (messages * f64::from(args.size) / seconds).into();
            }
            Some(Figures::Trip { percentiles }) => {
                for (name, nanoseconds) in percentiles {
                    value["round_trip_ns"][name] = (*nanoseconds).into();
                }
            }
            None => {}
        }
        value
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let args = self.args;
        write!(
            f,
            "{}: {} messages of {} B, frames {}, {}",
            args.uri,
            args.messages,
            args.size,
            self.frames(),
            self.waiting()
        )?;
        match self.measured.and_then(|side| side.figures.as_ref()) {
            Some(Figures::Rate { time }) => {
                let rate = f64::from(args.messages) / time.as_secs_f64();
                let bytes = rate * f64::from(args.size);
                write!(f, "\n{:.3} million messages/s, {:.3} GB/s", rate / 1e6, bytes / 1e9)?;
            }
            Some(Figures::Trip { percentiles }) => {
                f.write_str("\nround trip")?;
                for (name, nanoseconds) in percentiles {
                    write!(f, " {name} {:.2} µs", f64::from(*nanoseconds) / 1000.0)?;
                }
            }
            None => f.write_str("\nthe other side has measured")?,
        }
        let cpu = [("measuring side", self.measured), ("peer", self.other)];
        for (name, side) in cpu {
            if let Some(per_message) = self.per_message(side) {
                write!(f, "\n{name}: {per_message:.1} ns of processor time a message")?;
            }
        }
        write!(f, "\npayload {PAYLOAD}")
    }
}
