//! The targets, as data: what is compared, and what it must reach.

use crate::samples::{Cell, Placement, Samples, Spread};

/// The rows that stand for the fabric in the comparison of rates: the full path between two processes, with a peer that is trusted and, by the
/// default, one that is not; with messages that are made, with bytes at hand, and with payloads that are written where they will be read, as iceoryx2's
/// loaned samples are.
const OURS: [&str; 5] = [
    "fabric-ipc-in-place",
    "fabric-ipc-copied",
    "fabric-ipc-bytes-in-place",
    "fabric-ipc-bytes-copied",
    "fabric-ipc-fill-in-place",
];

/// A target.
pub(crate) struct Target {
    pub(crate) what: String,
    measure: Measure,
    bound: Bound,
    /// Processors without which it cannot be judged.
    processors: usize,
}

/// How a value comes from the samples.
enum Measure {
    /// Median of the ratios of the rounds.
    Ratio { of: Cell, over: Cell },
    /// Median of the rounds.
    Median(Cell),
    /// The best round.
    Best(Cell),
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// So many rounds on near processors are enough to judge by.
const NEAR_ROUNDS_MIN: usize = 3;

/// The values of a target over all rounds, and over those in which both runs lay on near or on far processors.
pub(crate) struct Judgement {
    pub(crate) all: Option<Spread>,
    pub(crate) near: Option<Spread>,
    pub(crate) far: Option<Spread>,
    pub(crate) verdict: Verdict,
}

/// What became of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Reached.
    Pass,
    /// Missed.
    Fail,
    /// Nothing was measured.
    Missing,
    /// This machine has too few processors.
    Unjudged,
}

impl Verdict {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Missing => "missing",
            Verdict::Unjudged => "unjudged",
        }
    }
}

/// Rates of the fabric against those of peers: at 64 B, 1 KiB, 16 KiB, 256 KiB.
const PEERS: &[(&str, [f64; 4])] = &[
    ("iceoryx2", [8.0, 4.0, 2.0, 1.5]),
    ("zeromq-ipc", [10.0, 12.0, 10.0, 5.0]),
    ("nng-ipc", [300.0, 200.0, 20.0, 5.0]),
    ("unix-seqpacket", [30.0, 15.0, 4.0, 2.5]),
    ("tcp-loopback", [100.0, 50.0, 8.0, 4.0]),
    ("bare-log", [0.5, 0.8, 0.8, 0.8]),
];
const SIZES: [u64; 4] = [64, 1024, 16 * 1024, 256 * 1024];

/// Other ratios of rates that must be reached: row, row compared with, size, at least.
const RATES: &[(&str, &str, u64, f64)] = &[
    ("fabric-ipc-windows", "fabric-ipc-copied", 16 * 1024, 5.0),
    ("fabric-ipc-windows", "fabric-ipc-copied", 256 * 1024, 5.0),
    ("fabric-inproc", "crossbeam-channel", 64, 1.0),
    ("fabric-inproc", "crossbeam-channel", 16 * 1024, 3.0),
    ("fabric-inproc-four", "tokio-mpsc-four", 64, 1.0),
    ("fabric-tokio-flight", "tokio-unix-stream-flight", 64, 5.0),
    ("fabric-tcp", "zeromq-tcp", 64, 3.0),
    ("fabric-tcp", "zeromq-tcp", 256 * 1024, 1.5),
];

/// Round trips of 64 bytes that must not be longer: row, row compared with, at most.
const TRIPS: &[(&str, &str, f64)] = &[
    ("fabric-ipc-awake-trip", "iceoryx2-trip", 0.5),
    ("fabric-ipc-awake-trip", "bare-index-trip", 1.5),
    ("fabric-ipc-asleep-trip", "bare-futex-trip", 1.1),
    ("fabric-ipc-asleep-trip", "zeromq-ipc-trip", 0.35),
];

/// What LwMQ publishes, on a larger machine: row that is to beat it in the best round, size, messages a second.
const LWMQ: &[(&str, u64, f64)] = &[
    ("fabric-ipc-in-place", 64, 10.7e6),
    ("fabric-ipc-bytes-in-place", 64, 10.7e6),
    ("fabric-ipc-in-place", 6400, 1.15e6),
    ("fabric-ipc-bytes-in-place", 6400, 1.15e6),
    ("fabric-ipc-windows", 640_000, 25.7e3),
];

/// Figures with a bound of their own: row, figure, at most.
const FIGURES: &[(&str, &str, f64)] = &[
    ("fabric-ipc-critical", "p99_loaded_over_idle", 10.0),
    ("fabric-ipc-death", "p50_ns", 1e6),
    ("fabric-ipc-idle-channels", "cpu_percent", 0.1),
    ("fabric-ipc-idle-channels", "resident_bytes_each", 1048576.0),
];

/// All targets.
pub(crate) fn targets() -> Vec<Target> {
    let rate = |row, size| Cell { row, size, figure: "per_second" };
    let trip = |row| Cell { row, size: 64, figure: "p50_ns" };
    let ratio =
        |what: String, of, over, bound| Target { what, measure: Measure::Ratio { of, over }, bound, processors: 2 };
    let mut targets = Vec::new();
    for ours in OURS {
        for &(peer, least) in PEERS {
            for (size, least) in SIZES.into_iter().zip(least) {
                let what = format!("{ours} ÷ {peer}, {size} B");
                targets.push(ratio(what, rate(ours, size), rate(peer, size), Bound::AtLeast(least)));
            }
        }
    }
    for &(row, peer, size, least) in RATES {
        let what = format!("{row} ÷ {peer}, {size} B");
        targets.push(ratio(what, rate(row, size), rate(peer, size), Bound::AtLeast(least)));
    }
    // By reference, the rate must not depend on the size.
    let by_reference = |size| rate("fabric-inproc-reference", size);
    let what = "fabric-inproc-reference, 262144 B ÷ 1024 B".to_owned();
    targets.push(ratio(what, by_reference(256 * 1024), by_reference(1024), Bound::AtLeast(0.8)));
    for &(row, peer, most) in TRIPS {
        let what = format!("{row} ÷ {peer}, p50, 64 B");
        targets.push(ratio(what, trip(row), trip(peer), Bound::AtMost(most)));
    }
    for &(row, size, least) in LWMQ {
        let measure = Measure::Best(rate(row, size));
        let what = format!("{row}, best round, {size} B, per second (LwMQ's figure)");
        targets.push(Target { what, measure, bound: Bound::AtLeast(least), processors: 2 });
    }
    for row in ["fabric-ipc-in-place", "fabric-ipc-bytes-in-place"] {
        let measure = Measure::Median(rate(row, 64));
        let what = format!("{row}, median, 64 B, per second (an aim)");
        targets.push(Target { what, measure, bound: Bound::AtLeast(40e6), processors: 2 });
    }
    for &(row, figure, most) in FIGURES {
        let measure = Measure::Median(Cell { row, size: 64, figure });
        targets.push(Target { what: format!("{row}, {figure}"), measure, bound: Bound::AtMost(most), processors: 2 });
    }
    let measure = Measure::Median(Cell { row: "fabric-ipc-two-pairs", size: 64, figure: "of_one_pair" });
    let what = "fabric-ipc-two-pairs, of one pair's rate".to_owned();
    targets.push(Target { what, measure, bound: Bound::AtLeast(1.9), processors: 4 });
    targets
}

impl Target {
    /// The measured values, and what they mean: of ratios those of runs on near processors count where there are enough, since the targets are of
    /// such; the others are told.
    pub(crate) fn judge(&self, samples: &Samples, processors: usize) -> Judgement {
        let (all, near, far) = match self.measure {
            Measure::Ratio { of, over } => {
                let lay = |placement| samples.ratio(of, over, placement);
                (lay(None), lay(Some(Placement::Near)), lay(Some(Placement::Far)))
            }
            Measure::Median(cell) | Measure::Best(cell) => (samples.spread(cell), None, None),
        };
        let enough = near.filter(|near| near.rounds >= NEAR_ROUNDS_MIN);
        let verdict = match enough.or(all) {
            None => Verdict::Missing,
            Some(_) if processors < self.processors => Verdict::Unjudged,
            Some(values) if self.reached(&values) => Verdict::Pass,
            Some(_) => Verdict::Fail,
        };
        Judgement { all, near, far, verdict }
    }

    fn reached(&self, values: &Spread) -> bool {
        let value = match (&self.measure, self.bound) {
            (Measure::Best(_), Bound::AtLeast(_)) => values.max,
            (Measure::Best(_), Bound::AtMost(_)) => values.min,
            _ => values.median,
        };
        match self.bound {
            Bound::AtLeast(bound) => value >= bound,
            Bound::AtMost(bound) => value <= bound,
        }
    }

    /// `≥ 8` or `≤ 0.5`.
    pub(crate) fn bound(&self) -> String {
        match self.bound {
            Bound::AtLeast(bound) => format!("≥ {bound}"),
            Bound::AtMost(bound) => format!("≤ {bound}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, targets};
    use crate::samples::Samples;
    use serde_json::json;

    #[test]
    fn every_target_can_be_reached_and_missed() {
        let (mut good, mut bad) = (Samples::default(), Samples::default());
        for target in targets() {
            assert_eq!(target.judge(&good, 4).verdict, Verdict::Missing, "{}", target.what);
        }
        for (samples, rate) in [(&mut good, 1e9), (&mut bad, 1.0)] {
            samples.add(&json!({"row": super::OURS[0], "size": 64, "round": 1, "per_second": rate}));
            samples.add(&json!({"row": "nng-ipc", "size": 64, "round": 1, "per_second": 3e4}));
        }
        let target = targets().into_iter().find(|target| target.what.contains("nng-ipc, 64 B")).expect("in the table");
        assert_eq!(target.judge(&good, 2).verdict, Verdict::Pass);
        assert_eq!(target.judge(&bad, 2).verdict, Verdict::Fail);
        assert_eq!(target.judge(&good, 1).verdict, Verdict::Unjudged);
    }
}
