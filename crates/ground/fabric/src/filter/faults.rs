//! What trouble the fault filter makes: settings, and their text form in addresses. Pure.

use std::fmt;
use std::time::Duration;

/// Faults of the sending direction of one side. Everything random follows the seed, so a test that failed fails again.
///
/// In addresses: `?filter=faults&faults=seed:7,delay:1ms-5ms,stall:50/20ms,split:3,refuse:10,drop:400,corrupt:1000`. Where the numbers say how often,
/// `N` is one in `N` on average.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults {
    /// Where the random numbers begin.
    pub seed: u64,
    /// `delay:2ms` or `delay:1ms-5ms`: each window is held back for so long, between the two; windows stay in order.
    pub delay: Option<(Duration, Duration)>,
    /// `stall:N/20ms`: one window in `N` begins a pause in which nothing is sent.
    pub stall: Option<(u64, Duration)>,
    /// `split:N`: at most so many messages in a window that is sent, however many there is room for.
    pub split: Option<u32>,
    /// `refuse:N`: one take in `N` finds no window, as if all were out; a millisecond later the channel is woken to try again.
    pub refuse: Option<u64>,
    /// `drop:N`: instead of the `N`th window, the link breaks as if the peer had died. For each link anew.
    pub drop: Option<u64>,
    /// `corrupt:N`: in one message of `N`, one bit is flipped, anywhere from the first word on. It happens before the transport computes its checksum,
    /// so it tests the receiver's decoder and the application's own checks, not the transport's.
    pub corrupt: Option<u64>,
}

impl Faults {
    /// None yet, with random numbers from `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// Names the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, FaultsError> {
        let mut faults = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let wrong = |needed| FaultsError { part: part.to_owned(), needed };
            let (name, value) = part.split_once(':').ok_or(wrong("a fault as name:value"))?;
            let one_in = || value.parse().ok().filter(|n| *n > 0).ok_or(wrong("a number over 0"));
            match name {
                "seed" => faults.seed = value.parse().map_err(|_| wrong("a number"))?,
                "delay" => faults.delay = Some(span(value).ok_or(wrong("a time as 2ms or 1ms-5ms"))?),
                "stall" => faults.stall = Some(stall(value).ok_or(wrong("N/TIME, as 50/20ms"))?),
                "split" => {
                    let messages = value.parse().ok().filter(|n| *n > 0);
                    faults.split = Some(messages.ok_or(wrong("a number of messages over 0"))?);
                }
                // A filter that refused every take would be a channel that never sends.
                "refuse" => {
                    faults.refuse = Some(value.parse().ok().filter(|n| *n > 1).ok_or(wrong("a number over 1"))?)
                }
                "drop" => faults.drop = Some(one_in()?),
                "corrupt" => faults.corrupt = Some(one_in()?),
                _ => return Err(wrong("one of seed, delay, stall, split, refuse, drop, corrupt")),
            }
        }
        Ok(faults)
    }
}

fn span(text: &str) -> Option<(Duration, Duration)> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let (least, most) = (duration(least)?, duration(most)?);
    (least <= most).then_some((least, most))
}

fn stall(text: &str) -> Option<(u64, Duration)> {
    let (often, time) = text.split_once('/')?;
    Some((often.parse().ok().filter(|n| *n > 0)?, duration(time)?))
}

/// `250us`, `20ms`, `1s`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let number: u32 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "us" => Some(Duration::from_micros(number.into())),
        "ms" => Some(Duration::from_millis(number.into())),
        "s" => Some(Duration::from_secs(number.into())),
        _ => None,
    }
}

/// What is wrong with the text form of faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultsError {
    /// The part that is wrong.
    pub part: String,
    /// What would be right.
    pub needed: &'static str,
}

impl fmt::Display for FaultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is wrong, needed is {}", self.part, self.needed)
    }
}

impl std::error::Error for FaultsError {}

/// Random numbers that follow a seed: SplitMix64.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number under `bound`; 0 when that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.roll()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `n` on average; never for `None`.
    pub(super) fn one_in(&mut self, n: Option<u64>) -> bool {
        n.is_some_and(|n| self.below(n) == 0)
    }

    /// A time between the two.
    pub(super) fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        least + Duration::from_nanos(self.below((most - least).as_nanos() as u64 + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_text_form() {
        let text = "seed:7,delay:1ms-5ms,stall:50/20ms,split:3,refuse:10,drop:400,corrupt:1000";
        let ms = Duration::from_millis;
        let faults = Faults {
            seed: 7,
            delay: Some((ms(1), ms(5))),
            stall: Some((50, ms(20))),
            split: Some(3),
            refuse: Some(10),
            drop: Some(400),
            corrupt: Some(1000),
        };
        assert_eq!(Faults::parse(text), Ok(faults));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for text in [
            "speed:9",
            "delay:5",
            "delay:5ms-1ms",
            "delay:5 ms",
            "stall:20ms",
            "split:0",
            "refuse:1",
            "drop",
            "drop:-1",
        ] {
            assert_eq!(Faults::parse(&format!("seed:1,{text}")).expect_err("it is wrong").part, text);
        }
    }

    #[test]
    fn dice_follow_their_seed() {
        let rolls = |seed| {
            let mut dice = Dice::new(seed);
            [dice.below(1000), dice.below(1000), dice.below(1000)]
        };
        assert_eq!(rolls(1), rolls(1));
        assert_ne!(rolls(1), rolls(2));
        let mut dice = Dice::new(3);
        let hits = (0..10_000).filter(|_| dice.one_in(Some(10))).count();
        assert!((800..1200).contains(&hits), "{hits}");
    }
}
