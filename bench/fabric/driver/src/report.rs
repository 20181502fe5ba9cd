//! Prints medians, ratios and the verdict on every target, for people or as lines of JSON.

use crate::Request;
use crate::samples::{Samples, Spread};
use crate::targets::{Verdict, targets};
use serde_json::json;
use std::collections::BTreeMap;

/// Prints everything.
pub(crate) fn print(request: &Request, samples: &Samples) {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if request.json {
        print_json(samples, processors);
    } else {
        print_text(samples, processors);
    }
}

fn print_json(samples: &Samples, processors: usize) {
    for (size, row, figures) in samples.each() {
        for (figure, spread) in figures {
            println!(
                "{}",
                json!({"median": figure, "row": row, "size": size, "value": spread.median, "min": spread.min,
                    "max": spread.max, "rounds": spread.rounds})
            );
        }
    }
    for target in targets() {
        let (spread, verdict) = target.judge(samples, processors);
        let value = |of: fn(&Spread) -> f64| spread.as_ref().map(of);
        println!(
            "{}",
            json!({"target": target.what, "bound": target.bound(), "verdict": verdict.name(),
                "median": value(|spread| spread.median), "min": value(|spread| spread.min),
                "max": value(|spread| spread.max), "rounds": spread.map_or(0, |spread| spread.rounds)})
        );
    }
}

fn print_text(samples: &Samples, processors: usize) {
    let mut size_before = 0;
    for (size, row, figures) in samples.each() {
        if size != size_before {
            println!("\n{size} B; median (smallest to largest) of the rounds");
            size_before = size;
        }
        println!("{row:30} {}", line(&figures));
    }
    println!("\ntargets; median ratio of the rounds (smallest to largest), {processors} processors");
    let mut count = BTreeMap::new();
    for target in targets() {
        let (spread, verdict) = target.judge(samples, processors);
        *count.entry(verdict.name()).or_insert(0) += 1;
        if verdict != Verdict::Missing {
            let value = spread.map_or(String::new(), |spread| of(&spread));
            println!("{:8} {:62} {:>10}   {value}", verdict.name(), target.what, target.bound());
        }
    }
    let count: Vec<String> = count.iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    println!("{}", count.join(", "));
}

/// The figures of a row in one line: the known ones by their names, all others as they are called.
fn line(figures: &BTreeMap<&str, Spread>) -> String {
    let get = |figure| figures.get(figure).map(of);
    if let (Some(rate), Some(bytes)) = (get("per_second"), figures.get("bytes_per_second")) {
        let cpu = figures
            .get("cpu_ns_per_message")
            .map_or(String::new(), |cpu| format!("  {} ns CPU each", short(cpu.median)));
        return format!("{rate:>28}/s  {:>6.2} GB/s{cpu}", bytes.median / 1e9);
    }
    if let (Some(p50), Some(p99), 5) = (get("p50_ns"), get("p99_ns"), figures.len()) {
        return format!("{p50:>28} ns p50  {p99} ns p99");
    }
    figures.iter().map(|(figure, spread)| format!("{figure} {}", of(spread))).collect::<Vec<_>>().join("  ")
}

fn of(spread: &Spread) -> String {
    format!("{} ({} to {})", short(spread.median), short(spread.min), short(spread.max))
}

/// Three digits and a suffix.
fn short(value: f64) -> String {
    let (value, suffix) = match value.abs() {
        large if large >= 1e9 => (value / 1e9, " G"),
        large if large >= 1e6 => (value / 1e6, " M"),
        large if large >= 1e4 => (value / 1e3, " K"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        large if large >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn three_digits() {
        let shown = [12_345_678.0, 3.15159, 0.25, 204.4, 48_000.0].map(short);
        assert_eq!(shown, ["12.3 M", "3.15", "0.25", "204", "48.0 K"]);
    }
}
