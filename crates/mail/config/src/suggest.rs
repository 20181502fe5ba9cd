//! "Did you mean": the nearest known name, if it is near enough to be meant.

/// Longer names are not compared: nobody mistypes that much, and the cost is quadratic in the length.
const NAME_MAX: usize = 48;

/// The candidate with the smallest edit distance to `name`, if no more than a third of its letters differ.
pub(crate) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if name.is_empty() || name.len() > NAME_MAX {
        return None;
    }
    let lower = name.to_ascii_lowercase().replace('-', "_");
    candidates
        .into_iter()
        .map(|candidate| (distance(&lower, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(lower.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn distance(lower: &str, candidate: &str) -> usize {
    let plain = candidate.to_ascii_lowercase().replace('-', "_");
    strsim::damerau_levenshtein(lower, &plain)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["max_sessions", "max_errors", "bind", "swap-in"];
        assert_eq!(nearest("max_session", names), Some("max_sessions"));
        assert_eq!(nearest("Max-Errors", names), Some("max_errors"));
        assert_eq!(nearest("bnid", names), Some("bind"));
        assert_eq!(nearest("swap_in", names), Some("swap-in"));
        assert_eq!(nearest("colour", names), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), names), None);
    }
}
