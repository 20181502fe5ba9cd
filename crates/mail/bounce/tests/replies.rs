//! The built-in rules against the replies in `data/replies.txt`: every line gets the class it names.

use bounce::{Class, Classifier, Phase, Said};

const REPLIES: &str = include_str!("data/replies.txt");

/// Class, phase, domain and text of each line.
fn replies() -> impl Iterator<Item = (Class, Phase, &'static str, String)> {
    REPLIES.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| {
        let mut fields = line.splitn(4, '|');
        let mut field = || fields.next().unwrap_or_else(|| panic!("a field is missing: {line}"));
        let class = field();
        let class = Class::named(class).unwrap_or_else(|| panic!("no class {class}"));
        let phase = field();
        let phase = Phase::ALL.into_iter().find(|known| known.name() == phase).unwrap_or_else(|| panic!("{phase}"));
        (class, phase, field(), field().replace("\\n", "\n"))
    })
}

#[test]
fn every_reply_gets_its_class() {
    let classifier = Classifier::new();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (class, phase, domain, text) in replies() {
        let said = Said { phase: Some(phase), domain, ..Said::parse(text.as_bytes()) };
        let verdict = classifier.classify(&said);
        count += 1;
        if verdict.class != class {
            wrong.push(format!(
                "{} instead of {} by {:?}: {text}",
                verdict.class.name(),
                class.name(),
                reason(&verdict)
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 200, "{count} replies");
}

fn reason(verdict: &bounce::Verdict<'_>) -> String {
    match verdict.reason {
        bounce::Reason::Rule(rule) => rule.name().to_owned(),
        other => format!("{other:?}"),
    }
}

#[test]
fn every_class_of_replies_is_in_the_corpus() {
    let seen: std::collections::BTreeSet<Class> = replies().map(|(class, ..)| class).collect();
    assert!(seen.len() >= 13, "{seen:?}");
}
