//! Prints medians, ratios and the verdict on every target, for people or as lines of JSON.

use crate::Request;
use crate::samples::{Samples, Spread};
use crate::targets::{Judgement, Verdict, targets};
use serde_json::{Value, json};
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
        let judged = target.judge(samples, processors);
        println!(
            "{}",
            json!({"target": target.what, "bound": target.bound(), "verdict": judged.verdict.name(),
                "all": judged.all.map(value), "near": judged.near.map(value), "far": judged.far.map(value)})
        );
    }
    let [near, far, moved] = samples.placements();
    println!("{}", json!({"runs_near": near, "runs_far": far, "runs_moved": moved, "processors": processors}));
}

fn value(spread: Spread) -> Value {
    json!({"median": spread.median, "min": spread.min, "max": spread.max, "rounds": spread.rounds})
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
    let [near, far, moved] = samples.placements();
    println!(
        "\ntargets on {processors} processors, which were near for {near} runs, far for {far}, and were moved in {moved}"
    );
    println!(
        "{:8} {:62} {:>10}   {:32}{:32}far",
        "", "median ratio of a round (smallest to largest)", "", "all rounds", "near"
    );
    let mut count = BTreeMap::new();
    for target in targets() {
        let Judgement { all, near, far, verdict } = target.judge(samples, processors);
        *count.entry(verdict.name()).or_insert(0) += 1;
        if verdict != Verdict::Missing {
            let [all, near, far] = [all, near, far].map(|spread| spread.as_ref().map_or("-".to_owned(), of));
            println!("{:8} {:62} {:>10}   {all:32}{near:32}{far}", verdict.name(), target.what, target.bound());
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
