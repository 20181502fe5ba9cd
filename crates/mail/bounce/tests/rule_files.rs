//! What an operator's rule file may say, and what it is told when it says something else.

use bounce::{Class, Classifier, Reason, Said};

fn classes(rules: &str, reply: &str, domain: &str) -> (Class, String) {
    let classifier = Classifier::with_rules("own.toml", rules).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let verdict = classifier.classify(&Said { domain, ..Said::parse(reply.as_bytes()) });
    let by = match verdict.reason {
        Reason::Rule(rule) => rule.name().to_owned(),
        _ => String::new(),
    };
    (verdict.class, by)
}

fn errors(rules: &str) -> Vec<String> {
    match Classifier::with_rules("own.toml", rules) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn own_rules_come_before_the_built_in_ones() {
    let rules = "[rule.ours]\nclass = \"admin-failure\"\nany = \"user unknown\"\npriority = 60\n";
    assert_eq!(classes(rules, "550 user unknown", ""), (Class::AdminFailure, "ours".into()));
}

#[test]
fn a_rule_of_the_same_name_replaces_and_disabled_removes() {
    let rules = "[rule.greylisting]\nclass = \"soft-bounce\"\nany = \"purple*\"\n";
    assert_eq!(classes(rules, "450 purplelisted", "").0, Class::SoftBounce);
    let rules =
        "[rule.dmarc]\ndisabled = true\n[rule.authentication]\ndisabled = true\n[rule.policy]\ndisabled = true\n";
    assert_eq!(classes(rules, "550 5.1.1 dmarc", "").0, Class::InvalidRecipient);
}

#[test]
fn domain_rules_come_first_then_priority_then_place() {
    let rules = "\
        [rule.general]\nclass = \"timeout\"\nany = \"purple\"\npriority = 100\n\
        [rule.domain]\nclass = \"too-large\"\nany = \"purple\"\npriority = 0\ndomain = [\"a.example\", \"*.b.example\"]\n\
        [rule.second]\nclass = \"soft-bounce\"\nany = [\"purple\", \"violet\"]\npriority = 100\n";
    assert_eq!(classes(rules, "550 purple", "a.example").1, "domain");
    assert_eq!(classes(rules, "550 purple", "x.b.example").1, "domain");
    assert_eq!(classes(rules, "550 purple", "b.example").1, "general");
    assert_eq!(classes(rules, "550 violet", "a.example").1, "second");
}

#[test]
fn every_condition_counts() {
    let rules = "[rule.all]\nclass = \"timeout\"\ncode = [\"55\", 421]\nstatus = \"5.9.*\"\nall = [\"green\", \"red\"]\n\
        none = \"blue\"\nregex = 'id \\d+$'\n";
    assert_eq!(classes(rules, "550 5.9.3 red green id 7", "").1, "all");
    for other in [
        "560 5.9.3 red green id 7",
        "550 5.8.3 red green id 7",
        "550 5.9.3 red id 7",
        "550 5.9.3 red green blue id 7",
        "550 5.9.3 red green id 7x",
    ] {
        assert_eq!(classes(rules, other, "").1, "", "{other}");
    }
}

#[test]
fn faults_have_their_place() {
    let found = errors(
        "[rule.one]\nclas = \"timeout\"\nany = \"purple\"\n\n[rules.two]\n[rule.three]\nclass = \"tiemout\"\nany = \"abc\"\n",
    );
    assert_eq!(
        found,
        [
            "own.toml:1:7: [rule.one]: the rule has no `class`",
            "own.toml:2:1: [rule.one] clas: unknown key; did you mean `class`?",
            "own.toml:5:2: unknown section `rules`; rules are sections [rule.NAME]",
            "own.toml:7:9: [rule.three] class: there is no class `tiemout`; did you mean `timeout`?",
        ]
    );
}

#[test]
fn contradictions_are_faults() {
    for (rules, wanted) in [
        ("[rule.a]\nclass = \"timeout\"\n", "no condition"),
        ("[rule.a]\nclass = \"timeout\"\nall = \"user unknown\"\nnone = \"unknown\"\n", "contradiction"),
        ("[rule.a]\nclass = \"timeout\"\nany = [\"xyz\", \"xyz abc\"]\nnone = \"xyz\"\n", "contradiction"),
        ("[rule.a]\nclass = \"timeout\"\ncode = 4\nstatus = \"5.1.1\"\n", "contradict each other"),
        (
            "[rule.a]\nclass = \"timeout\"\nany = \"xyz\"\n[rule.b]\nclass = \"too-large\"\nany = \"xyz\"\n",
            "contradicts [rule.a] on line 1",
        ),
        (
            "[rule.a]\nclass = \"timeout\"\nany = \"xyz\"\n[rule.b]\nclass = \"timeout\"\nany = \"xyz\"\n",
            "repeats [rule.a]",
        ),
        ("[rule.a]\nclass = \"timeout\"\nany = \"xyz\"\n[rule.a]\nclass = \"timeout\"\nany = \"xyy\"\n", "duplicate"),
        ("[rule.a]\nclass = \"timeout\"\nany = \"xyz\"\nregex = '('\n", "no regular expression"),
        ("[rule.a]\nclass = \"timeout\"\nany = \"xyz\"\nregex = 'x*'\n", "matches the empty text"),
        ("[rule.a]\nclass = \"timeout\"\ncode = 5\nregex = 'xx'\n", "need `any` or `all`"),
        ("[rule.a]\nclass = \"timeout\"\nany = [\"xyz\", \"xyz\"]\n", "twice"),
        ("[rule.a]\nclass = \"timeout\"\nany = []\n", "0 elements"),
        ("[rule.a]\nclass = \"timeout\"\nany = 7\n", "a string is needed"),
        ("[rule.a]\nclass = \"timeout\"\nany = \"xyz\"\nphase = \"rcptt\"\n", "did you mean `rcpt`?"),
        ("[rule.a]\nclass = \"timeout\"\nany = \"xyz\"\ncode = 650\n", "no reply code"),
        ("[rule.a]\nclass = \"timeout\"\nany = \"xyz\"\npriority = 101\n", "0 to 100"),
        ("[rule.greylistin]\ndisabled = true\n", "did you mean `greylisting`?"),
        ("[rule.greylisting]\ndisabled = true\ncode = 4\n", "no other keys"),
        ("[rule.a]\nclass = \"timeout\"\nany = \"<xyz>\"\n", "write \"xyz\""),
        ("rule = 1\n", "rules are sections"),
        ("[rule.a\n", "own.toml:1:"),
    ] {
        let found = errors(rules);
        assert!(found.iter().any(|error| error.contains(wanted)), "{wanted}: {rules}\n{found:#?}");
        assert!(found.iter().all(|error| error.starts_with("own.toml:")), "{found:#?}");
    }
}

#[test]
fn several_files_are_asked_in_their_order_and_each_fault_names_its_file() {
    let first = "# ours\n\n\n[rule.b]\nclass = \"timeout\"\nany = \"purple\"\n";
    let second = "[rule.a]\nclass = \"too-large\"\nany = [\"purple\", \"pink\"]\n";
    let classifier = Classifier::with_files(&[("1.toml", first), ("2.toml", second)]).unwrap();
    let class = |reply: &str| classifier.classify(&Said::parse(reply.as_bytes())).class;
    // The earlier line of the later file comes later.
    assert_eq!((class("550 purple"), class("550 pink")), (Class::Timeout, Class::TooLarge));
    let texts = |files: &[(&str, &str)]| match Classifier::with_files(files) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
    };
    let again = texts(&[("1.toml", first), ("2.toml", "[rule.b]\nclass = \"timeout\"\nany = \"pink\"\n")]);
    assert_eq!(again, ["2.toml:1:7: [rule.b]: there is a rule of this name at 1.toml:4:7 already"]);
    let both = texts(&[("2.toml", "[rule.x]\n"), ("1.toml", "[rule.y]\nclass = \"tiemout\"\nany = \"xyz\"\n")]);
    assert!(both[0].starts_with("2.toml:1:") && both.last().unwrap().starts_with("1.toml:2:"), "{both:#?}");
}

#[test]
fn bounds_are_faults() {
    let many: String =
        (0..2048).map(|n| format!("[rule.r{n}]\nclass = \"timeout\"\nany = \"word{n} here\"\n")).collect();
    assert!(errors(&many).iter().any(|error| error.contains("2048 are the most")), "{:#?}", errors(&many).first());
    let bare: String = (0..65).map(|n| format!("[rule.r{n}]\nclass = \"timeout\"\nstatus = \"5.8.{n}\"\n")).collect();
    assert!(errors(&bare).iter().any(|error| error.contains("64 are the most")));
    let long = format!("# {}\n", "x".repeat(bounce::FILE_MAX));
    assert!(errors(&long)[0].contains("octets"));
    let faults: String = (0..500).map(|n| format!("[rule.r{n}]\n")).collect();
    assert_eq!(errors(&faults).len(), 100);
}
