//! How many replies one core classifies in a second: in this process, over the corpus that the classifier is tested with, and
//! over replies made to be slow.
//!
//! The figure is of processor time, so that what else runs on the machine changes it little.

use crate::Request;
use crate::figure::Figure;
use bounce::{Classifier, Said, TEXT_MAX};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;

const CORPUS: &str = include_str!("../../crates/mail/bounce/tests/data/replies.txt");
const RULES: &str = include_str!("../../crates/mail/bounce/src/rules.toml");
/// Replies of one measurement, unless the command line says otherwise.
const REPLIES: u64 = 2_000_000;
/// Measurements of each figure; the best counts.
const ROUNDS: u32 = 5;

/// See the table in `main.rs`.
pub(crate) fn classify(request: &Request) -> Result<(), String> {
    let classifier = Classifier::new();
    let corpus: Vec<(String, String)> = CORPUS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.splitn(4, '|').skip(2);
            Some((fields.next()?.to_owned(), fields.next()?.replace("\\n", "\n")))
        })
        .collect();
    if corpus.len() < 200 {
        return Err(format!("the corpus has {} replies; 200 are needed", corpus.len()));
    }
    let octets = corpus.iter().map(|(_, reply)| reply.len()).sum::<usize>() as f64 / corpus.len() as f64;
    request.print(&figure("octets of a reply, mean", octets, "octets"));
    let count = request.n.unwrap_or(REPLIES);
    let rate = |replies: &[(String, String)], count| rate(&classifier, replies, count);
    request.print(&figure("replies of the corpus", rate(&corpus, count), "replies/s"));
    for (name, text) in slow_replies(&corpus) {
        let replies = [(String::new(), text)];
        request.print(&figure(name, rate(&replies, count / 10), "replies/s"));
    }
    Ok(())
}

/// Replies that cost most: octets without end, every phrase there is, addresses throughout.
fn slow_replies(corpus: &[(String, String)]) -> Vec<(&'static str, String)> {
    let longest = corpus.iter().map(|(_, reply)| reply).max_by_key(|reply| reply.len()).cloned().unwrap_or_default();
    let phrases: Vec<&str> = RULES.split('"').skip(1).step_by(2).filter(|phrase| phrase.len() > 2).collect();
    let mut dense = String::from("550 ");
    // The shortest phrases make the most matches in the octets that are looked at.
    let mut short = phrases.clone();
    short.sort_by_key(|phrase| phrase.len());
    short.dedup();
    for phrase in short {
        if dense.len() < TEXT_MAX {
            dense.push_str(phrase.trim_matches('*'));
            dense.push(' ');
        }
    }
    vec![
        ("longest reply of the corpus", longest),
        ("64 KiB of one letter", format!("550 {}", "a".repeat(65_536))),
        ("64 KiB of random octets", String::from_utf8_lossy(&noise(65_536)).into_owned()),
        ("as many phrases as fit", dense),
        ("addresses throughout", format!("550 {}", "<user.name@example.org> ".repeat(3_000))),
        ("a phrase over and over", format!("450 {}", "user unknown ".repeat(5_000))),
    ]
}

/// Octets without a pattern, always the same.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Replies a second of processor time, codes read from the text each time.
fn rate(classifier: &Classifier, replies: &[(String, String)], count: u64) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let start = processor_seconds();
        for (domain, reply) in replies.iter().cycle().take(count as usize) {
            let said = Said { domain, ..Said::parse(black_box(reply.as_bytes())) };
            black_box(classifier.classify(&said));
        }
        count as f64 / (processor_seconds() - start)
    });
    rounds.fold(0.0, f64::max)
}

fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn figure<'a>(figure: &'a str, value: f64, unit: &'a str) -> Figure<'a> {
    Figure { bench: "classify", figure, value, unit, peer: None }
}
