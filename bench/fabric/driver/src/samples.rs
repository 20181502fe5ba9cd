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

/// All values, in the order of size, row, figure and round.
#[derive(Default)]
pub(crate) struct Samples {
    values: BTreeMap<(u64, String), BTreeMap<String, BTreeMap<u64, f64>>>,
}

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
        let figures = self.values.entry((size, row.to_owned())).or_default();
        for (figure, value) in line.as_object().into_iter().flatten() {
            if let (Some(value), false) = (value.as_f64(), ["size", "round"].contains(&figure.as_str())) {
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

    /// The ratios of two cells in the rounds that have both.
    pub(crate) fn ratio(&self, of: Cell, over: Cell) -> Option<Spread> {
        let (of, over) = (self.rounds(of)?, self.rounds(over)?);
        Spread::of(of.iter().filter_map(|(round, value)| over.get(round).map(|other| value / other)))
    }

    fn rounds(&self, cell: Cell) -> Option<&BTreeMap<u64, f64>> {
        self.values.get(&(cell.size, cell.row.to_owned()))?.get(cell.figure)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Samples};
    use serde_json::json;

    #[test]
    fn ratios_are_of_runs_of_one_round() {
        let mut samples = Samples::default();
        // A machine that is ten times slower in the second round: the ratio is two in both, that of the medians would be something else.
        for (row, round, value) in [("a", 1, 20.0), ("b", 1, 10.0), ("a", 2, 2.0), ("b", 2, 1.0), ("a", 3, 7.0)] {
            samples.add(&json!({"row": row, "size": 64, "round": round, "per_second": value}));
        }
        let cell = |row| Cell { row, size: 64, figure: "per_second" };
        let ratio = samples.ratio(cell("a"), cell("b")).expect("two rounds have both");
        assert_eq!((ratio.median, ratio.min, ratio.max, ratio.rounds), (2.0, 2.0, 2.0, 2));
        assert_eq!(samples.spread(cell("a")).map(|spread| spread.median), Some(7.0));
        assert_eq!(samples.ratio(cell("a"), cell("c")), None);
    }

    #[test]
    fn a_failed_run_leaves_no_value() {
        let mut samples = Samples::default();
        samples.add(&json!({"row": "a", "size": 64, "round": 1, "error": "ended"}));
        assert_eq!(samples.spread(Cell { row: "a", size: 64, figure: "per_second" }), None);
    }
}
