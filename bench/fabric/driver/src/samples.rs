//! What the runs measured: for every row, size and figure one value a round; medians, and ratios of runs of the same round.

use serde_json::Value;
use std::collections::BTreeMap;

/// One figure of one row at one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) row: &'static str,
    pub(crate) size: u64,
    pub(crate) figure: &'static str,
}

/// A round trip of one word between the processors that takes less is one inside a core; here it is 60 ns then, and 300 ns otherwise.
pub(crate) const NEAR_NS: f64 = 150.0;

/// How the two processors lay while a run went on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// They are threads of one core, or share its cache.
    Near,
    /// They do not.
    Far,
    /// They were moved meanwhile.
    Moved,
}

impl Placement {
    /// Of a run's two readings.
    pub(crate) fn of(line: &Value) -> Option<Placement> {
        let near = |name: &str| line[name].as_f64().map(|trip| trip < NEAR_NS);
        Some(match (near("core_trip_before_ns")?, near("core_trip_after_ns")?) {
            (true, true) => Placement::Near,
            (false, false) => Placement::Far,
            _ => Placement::Moved,
        })
    }
}

/// Values of one figure by round.
type Rounds = BTreeMap<u64, f64>;

/// All values by size and row, and where each run lay.
#[derive(Default)]
pub(crate) struct Samples {
    values: BTreeMap<(u64, String), BTreeMap<String, Rounds>>,
    placements: BTreeMap<(u64, String), BTreeMap<u64, Placement>>,
}

/// What stands in a line beside figures.
const NO_FIGURES: [&str; 4] = ["size", "round", "core_trip_before_ns", "core_trip_after_ns"];

/// Median, smallest and largest of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { median, min, max, rounds: values.len() })
    }
}

impl Samples {
    /// Adds the figures of one run.
    pub(crate) fn add(&mut self, line: &Value) {
        let (Some(row), Some(size), Some(round)) =
            (line["row"].as_str(), line["size"].as_u64(), line["round"].as_u64())
        else {
            return;
        };
        if let Some(placement) = Placement::of(line) {
            self.placements.entry((size, row.to_owned())).or_default().insert(round, placement);
        }
        let figures = self.values.entry((size, row.to_owned())).or_default();
        for (figure, value) in line.as_object().into_iter().flatten() {
            if let (Some(value), false) = (value.as_f64(), NO_FIGURES.contains(&figure.as_str())) {
                figures.entry(figure.clone()).or_default().insert(round, value);
            }
        }
    }

    /// Every row and size with its figures.
    pub(crate) fn each(&self) -> impl Iterator<Item = (u64, &str, BTreeMap<&str, Spread>)> {
        self.values.iter().map(|((size, row), figures)| {
            let spreads = figures.iter().filter_map(|(figure, values)| {
                Spread::of(values.values().copied()).map(|spread| (figure.as_str(), spread))
            });
            (*size, row.as_str(), spreads.collect())
        })
    }

    /// The values of a cell over all rounds.
    pub(crate) fn spread(&self, cell: Cell) -> Option<Spread> {
        Spread::of(self.rounds(cell)?.values().copied())
    }

    /// The ratios of two cells in the rounds that have both; with a placement, in those where both runs lay so.
    pub(crate) fn ratio(&self, of: Cell, over: Cell, placement: Option<Placement>) -> Option<Spread> {
        let (above, below) = (self.rounds(of)?, self.rounds(over)?);
        let lay = |cell: Cell, round| {
            let lay = self.placements.get(&(cell.size, cell.row.to_owned())).and_then(|rounds| rounds.get(round));
            placement.is_none() || lay.copied() == placement
        };
        let rounds = above.iter().filter(|(round, _)| lay(of, round) && lay(over, round));
        Spread::of(rounds.filter_map(|(round, value)| below.get(round).map(|other| value / other)))
    }

    /// How many runs lay near, far, and were moved.
    pub(crate) fn placements(&self) -> [usize; 3] {
        let all = || self.placements.values().flat_map(BTreeMap::values);
        [Placement::Near, Placement::Far, Placement::Moved]
            .map(|placement| all().filter(|lay| **lay == placement).count())
    }

    fn rounds(&self, cell: Cell) -> Option<&Rounds> {
        self.values.get(&(cell.size, cell.row.to_owned()))?.get(cell.figure)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Placement, Samples};
    use serde_json::json;

    #[test]
    fn ratios_are_of_runs_of_one_round() {
        let mut samples = Samples::default();
        // A machine that is ten times slower in the second round: the ratio is two in both, that of the medians would be something else.
        for (row, round, value) in [("a", 1, 20.0), ("b", 1, 10.0), ("a", 2, 2.0), ("b", 2, 1.0), ("a", 3, 7.0)] {
            samples.add(&json!({"row": row, "size": 64, "round": round, "per_second": value}));
        }
        let cell = |row| Cell { row, size: 64, figure: "per_second" };
        let ratio = samples.ratio(cell("a"), cell("b"), None).expect("two rounds have both");
        assert_eq!((ratio.median, ratio.min, ratio.max, ratio.rounds), (2.0, 2.0, 2.0, 2));
        assert_eq!(samples.spread(cell("a")).map(|spread| spread.median), Some(7.0));
        assert_eq!(samples.ratio(cell("a"), cell("c"), None), None);
    }

    #[test]
    fn ratios_of_a_placement_are_of_runs_that_both_lay_so() {
        let mut samples = Samples::default();
        for (row, round, value, trip) in [
            ("a", 1, 50.0, 60.0),
            ("b", 1, 10.0, 61.0),
            ("a", 2, 5.0, 300.0),
            ("b", 2, 5.0, 310.0),
            ("a", 3, 5.0, 300.0),
            ("b", 3, 10.0, 60.0),
        ] {
            samples.add(&json!({"row": row, "size": 64, "round": round, "per_second": value,
                "core_trip_before_ns": trip, "core_trip_after_ns": trip}));
        }
        let cell = |row| Cell { row, size: 64, figure: "per_second" };
        let median =
            |placement| samples.ratio(cell("a"), cell("b"), placement).map(|ratio| (ratio.median, ratio.rounds));
        assert_eq!(median(Some(Placement::Near)), Some((5.0, 1)));
        assert_eq!(median(Some(Placement::Far)), Some((1.0, 1)));
        assert_eq!(median(None), Some((1.0, 3)));
        assert_eq!(samples.placements(), [3, 3, 0]);
    }

    #[test]
    fn a_failed_run_leaves_no_value() {
        let mut samples = Samples::default();
        samples.add(&json!({"row": "a", "size": 64, "round": 1, "error": "ended"}));
        assert_eq!(samples.spread(Cell { row: "a", size: 64, figure: "per_second" }), None);
    }
}
