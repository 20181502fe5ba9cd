//! The fall-back order of scopes, option by option, against a model that tries every scope by brute force.

use config::{Config, Explanation, Origin};
use proptest::prelude::*;

const PATTERNS: [&str; 8] = ["mx.a.test", "a.test", "*.a.test", "*.test", "/^mx/", "/test$/", "/a.*a/", "*"];
const DOMAINS: [&str; 7] = ["mx.a.test", "a.test", "b.a.test", "mx.b.test", "MX.other", "a.a", "zzz"];
const BINDINGS: [&str; 2] = ["one", "two"];
const OPTIONS: [&str; 3] = ["max_connections", "port", "mx_failures_to_delay"];
const DEFAULTS: [u32; 3] = [32, 25, 50];

/// A place for options: which header, and the values it sets.
#[derive(Clone, Debug)]
struct Place {
    group: bool,
    binding: Option<usize>,
    pattern: Option<usize>,
    values: [Option<u32>; 3],
}

impl Place {
    fn header(&self) -> String {
        let mut parts = Vec::new();
        if self.group {
            parts.push("binding_group.g".to_owned());
        }
        parts.extend(self.binding.map(|binding| format!("binding.{}", BINDINGS[binding])));
        parts.extend(self.pattern.map(|pattern| format!("domain.\"{}\"", PATTERNS[pattern])));
        parts.join(".")
    }
}

fn places() -> impl Strategy<Value = Vec<Place>> {
    let value = proptest::option::weighted(0.4, 1_u32..1000);
    let values = [value.clone(), value.clone(), value];
    let place = (any::<bool>(), proptest::option::of(0..2_usize), proptest::option::of(0..PATTERNS.len()), values)
        .prop_filter("a place", |(group, binding, pattern, _)| *group || binding.is_some() || pattern.is_some())
        .prop_map(|(group, binding, pattern, values)| Place { group, binding, pattern, values });
    proptest::collection::vec(place, 0..25).prop_map(|places| {
        // One of each header; the parents that must exist come first.
        let parent = |group, binding| Place { group, binding, pattern: None, values: [None; 3] };
        let mut kept = vec![parent(true, None), parent(false, Some(0)), parent(false, Some(1))];
        for place in places {
            match kept.iter_mut().find(|other| other.header() == place.header()) {
                Some(other) => other.values = place.values,
                None => kept.push(place),
            }
        }
        kept
    })
}

fn text(places: &[Place]) -> String {
    let mut text = String::new();
    for place in places {
        text.push_str(&format!("[{}]\n", place.header()));
        if place.header() == "binding_group.g" {
            text.push_str("bindings = [\"one\", \"two\"]\n");
        }
        for (option, value) in OPTIONS.iter().zip(place.values) {
            if let Some(value) = value {
                text.push_str(&format!("{option} = {value}\n"));
            }
        }
    }
    text
}

fn matches(pattern: &str, domain: &str) -> bool {
    let domain = domain.to_lowercase();
    match pattern {
        "*" => true,
        "/^mx/" => domain.starts_with("mx"),
        "/test$/" => domain.ends_with("test"),
        "/a.*a/" => domain.matches('a').count() >= 2,
        other => match other.strip_prefix('*') {
            Some(suffix) => domain.ends_with(suffix),
            None => domain == other,
        },
    }
}

/// Smaller is more specific.
fn rank_of_pattern(pattern: &str) -> usize {
    match pattern {
        "*" => 10_000,
        expression if expression.starts_with('/') => 5_000,
        suffix if suffix.starts_with('*') => 1_000 - suffix.len(),
        _ => 0,
    }
}

/// The header and value that the model gives.
fn model(places: &[Place], option: usize, domain: &str, binding: usize, grouped: bool) -> Option<(String, u32)> {
    let mut best: Option<((usize, usize), &Place)> = None;
    for place in places {
        let pattern = place.pattern.map(|pattern| PATTERNS[pattern]);
        let applies = (!place.group || grouped)
            && place.binding.is_none_or(|own| own == binding)
            && pattern.is_none_or(|pattern| matches(pattern, domain));
        if !applies || place.values[option].is_none() {
            continue;
        }
        let level = match (place.group, place.binding.is_some(), pattern.is_some()) {
            (true, true, true) => 1,
            (false, true, true) => 2,
            (true, false, true) => 3,
            (true, true, false) => 4,
            (false, true, false) => 5,
            (true, false, false) => 6,
            _ => 7,
        };
        // Of two expressions the first declared wins, hence the strict comparison.
        let rank = (level, pattern.map_or(0, rank_of_pattern));
        if best.is_none_or(|(other, _)| rank < other) {
            best = Some((rank, place));
        }
    }
    best.and_then(|(_, place)| Some((place.header(), place.values[option]?)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_option_falls_back_as_the_model_says(places in places()) {
        let text = text(&places);
        let config = Config::parse("t", &text).map_err(|errors| TestCaseError::fail(format!("{errors:#?}\n{text}")))?;
        for domain in DOMAINS {
            for (binding, grouped) in [(0, false), (0, true), (1, true)] {
                let group = grouped.then_some("g");
                let options = config.domain_options(domain, BINDINGS[binding], group);
                let found = [options.max_connections, options.port, options.mx_failures_to_delay];
                let explained = config.explain(domain, BINDINGS[binding], group);
                for option in 0..OPTIONS.len() {
                    let expected = model(&places, option, domain, binding, grouped);
                    let value = expected.as_ref().map_or(DEFAULTS[option], |(_, value)| *value);
                    prop_assert_eq!(found[option], value, "{} of {}\n{}", OPTIONS[option], domain, text);
                    let line: &Explanation = explained.iter().find(|line| line.option == OPTIONS[option]).unwrap();
                    prop_assert_eq!(&line.value, &value.to_string());
                    match (&line.origin, expected) {
                        (Origin::Default, None) => {}
                        (Origin::File { line, scope }, Some((header, value))) => {
                            prop_assert_eq!(scope, &header, "{}", text);
                            let written = text.lines().nth(*line as usize - 1).unwrap();
                            prop_assert_eq!(written, format!("{} = {value}", OPTIONS[option]));
                        }
                        (origin, expected) => prop_assert!(false, "{origin:?} instead of {expected:?}\n{text}"),
                    }
                }
            }
        }
    }
}
