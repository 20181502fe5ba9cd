//! A row of the benchmark: a name, its sizes, and the function that measures it; and the `main` of every program of rows.

use crate::beside::{hurry, limit_time};
use crate::distance::core_trip_ns;
use serde_json::{Map, Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// What one run of a row is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Bytes of a payload.
    pub size: usize,
    /// How long to measure.
    pub time: Duration,
}

/// What one run measured: a few numbers, each with a name that ends with its unit.
#[derive(Clone, Debug, Default)]
pub struct Figures(Map<String, Value>);

impl Figures {
    /// None yet.
    pub fn new() -> Figures {
        Figures::default()
    }

    /// One figure more.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Figures {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// A figure by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }
}

/// One thing that is measured.
pub struct Row {
    /// Its name in every report: letters, digits and dashes.
    pub name: &'static str,
    /// One line for people: what it does, and what it leaves out.
    pub about: &'static str,
    /// The payload sizes it is measured at.
    pub sizes: &'static [usize],
    /// Measures it once.
    pub run: fn(&Plan) -> Figures,
}

/// The sizes of the targets.
pub const SIZES: &[usize] = &[64, 1024, 16 * 1024, 256 * 1024];
/// The sizes of the targets, and the two at which LwMQ publishes figures.
pub const SIZES_AND_LWMQ: &[usize] = &[64, 1024, 6400, 16 * 1024, 256 * 1024, 640_000];
/// The sizes of round trips.
pub const SMALL_AND_MIDDLE: &[usize] = &[64, 16 * 1024];
/// 64 bytes alone.
pub const SMALL: &[usize] = &[64];

/// `PROGRAM rows` lists the rows; `PROGRAM run ROW SIZE MILLISECONDS` measures one and prints one line of JSON; `PROGRAM distance` says how far
/// apart the processors are.
pub fn main(tables: &[&[Row]]) -> ExitCode {
    let mut rows = tables.iter().copied().flatten();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["rows"] => {
            rows.for_each(|row| println!("{}", json!({"row": row.name, "about": row.about, "sizes": row.sizes})));
            ExitCode::SUCCESS
        }
        ["distance"] => {
            hurry();
            println!("{}", json!({"core_trip_ns": core_trip_ns()}));
            ExitCode::SUCCESS
        }
        ["run", name, size, time_ms] => match (rows.find(|row| row.name == *name), size.parse(), time_ms.parse()) {
            (Some(row), Ok(size), Ok(time_ms)) => {
                limit_time();
                hurry();
                let before = core_trip_ns();
                let Figures(mut line) = (row.run)(&Plan { size, time: Duration::from_millis(time_ms) });
                line.insert("core_trip_before_ns".to_owned(), before.into());
                line.insert("core_trip_after_ns".to_owned(), core_trip_ns().into());
                line.insert("row".to_owned(), (*name).into());
                line.insert("size".to_owned(), size.into());
                println!("{}", Value::Object(line));
                ExitCode::SUCCESS
            }
            _ => usage(&format!("no row `{name}`, or `{size}` or `{time_ms}` is not a number")),
        },
        _ => usage("what to do?"),
    }
}

fn usage(reason: &str) -> ExitCode {
    eprintln!("{reason}\nrows | run ROW SIZE MILLISECONDS | distance");
    ExitCode::from(2)
}
