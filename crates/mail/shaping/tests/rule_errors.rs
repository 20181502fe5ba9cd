//! Every mistake is told with its line, its column and what would be right.

use shaping::{Rules, Source};

fn errors(text: &str) -> String {
    match Rules::parse(&[Source { name: "f", text }]) {
        Ok(_) => "sound".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

/// One rule with a name, about one domain, whose lines follow.
fn rule(lines: &str) -> String {
    errors(&format!("[[rule]]\nname = \"r\"\ndomains = [\"a.example\"]\n{lines}\n"))
}

#[track_caller]
fn refused(lines: &str, place: &str, message: &str) {
    let told = rule(lines);
    assert!(told.starts_with(&format!("f:{place}: rule \"r\": ")), "{told}");
    assert!(told.contains(message), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn a_sound_rule_is_sound() {
    assert_eq!(rule("codes = [\"421\"]\nwhen = \"3/1h\"\nsuspend = \"1h\""), "sound");
}

#[test]
fn what_is_not_toml_is_told_where() {
    let told = errors("[[rule]]\nname = \"x\nsuspend = ");
    assert!(told.starts_with("f:2:"), "{told}");
}

#[test]
fn unknown_keys_are_told_with_a_proposal() {
    refused(
        "codez = [\"421\"]\nphase = [\"rcpt\"]\nsuspend = \"1h\"",
        "4:1",
        "unknown key `codez`; did you mean `codes`?",
    );
    refused("codes = [\"421\"]\nconnections = { factr = 0.5, factor = 0.5 }", "5:17", "unknown key `factr`");
    assert!(errors("[provider.x]\ndomain = [\"a\"]\nsites = [\"b\"]").contains("f:2:1: provider.x: unknown key"));
    assert!(errors("[bound]\n").contains("did you mean `bounds`?"));
}

#[test]
fn contradictions_are_refused() {
    refused(
        "codes = [\"450\"]\nenhanced = [\"5.7.1\"]\nsuspend = \"1h\"",
        "1:1",
        "no code of `codes` goes with class 5",
    );
    refused("codes = [\"450\"]\nrewrite = \"transient\"\ntext = \"x\"", "1:1", "are transient already");
    refused("codes = [\"4xx\"]\nrewrite = \"permanent\"", "1:1", "all mail of a class");
    refused("codes = [\"550\"]\nrewrite = \"transient\"\nwhen = \"3/1h\"", "1:1", "leave out `when`");
    refused("codes = [\"421\"]\nconnections = { factor = 0.5, to = 3 }", "5:15", "both `factor` and `to`");
    refused("codes = [\"421\"]\nconnections = { to = 3 }", "5:15", "would never end");
    refused("codes = [\"421\"]\nconnections = { to = 3, floor = 1, for = \"1h\" }", "5:15", "go with `factor`");
    refused("codes = [\"421\"]\nset = { idle_timeout = \"1s\" }", "5:7", "would never end");
    refused("codes = [\"421\"]\nwhen = \"3/1h\"\nat_least = 5\nsuspend = \"1h\"", "6:12", "goes with a share");
    refused("warm_up = { days = [1, 2] }\ncodes = [\"421\"]", "1:1", "need another rule");
    refused("warm_up = { days = [5, 2] }", "4:24", "2 is below the day before");
    refused("warm_up = { days = [5], first = 2 }", "4:11", "either days");
    refused("codes = [\"421\"]", "1:1", "it does nothing");
    refused("suspend = \"1h\"", "1:1", "it counts every failure");
}

#[test]
fn impossible_thresholds_and_values_are_refused() {
    refused("codes = [\"421\"]\nsuspend = \"1h\"\nwhen = \"0/1h\"", "6:8", "a count is at least 1");
    refused("codes = [\"421\"]\nsuspend = \"1h\"\nwhen = \"200%/1h\"", "6:8", "can never be reached");
    refused("codes = [\"421\"]\nsuspend = \"1h\"\nwhen = \"9999999/1h\"", "6:8", "can never be reached");
    refused("codes = [\"421\"]\nsuspend = \"0s\"", "5:11", "does nothing");
    refused("codes = [\"421\"]\nsuspend = \"8d\"", "5:11", "longer than \"7d\"");
    refused("codes = [\"250\"]\nsuspend = \"1h\"", "4:10", "4 and 5 are failures");
    refused("codes = []\nphase = [\"rcpt\"]\nsuspend = \"1h\"", "4:9", "matches nothing");
    refused("phase = [\"rcptto\"]\nsuspend = \"1h\"", "4:10", "none of connect, greeting");
    refused("text = \"(\"\nsuspend = \"1h\"", "4:8", "not a regular expression: ");
    refused("codes = [\"421\"]\nconnections = { factor = 1.5 }", "5:26", "not between 0.0 and 1.0");
    refused("codes = [\"421\"]\nconnections = { factor = 0.5, floor = 0 }", "5:39", "a whole number from 1");
    refused("codes = [\"421\"]\nrate = { to = \"1/1d\", for = \"1h\" }", "5:15", "below the floor of all rates");
    refused("codes = [\"421\"]\nscope = \"world\"\nsuspend = \"1h\"", "5:9", "none of site, binding-site");
    refused("provider = \"nobody\"\ncodes = [\"421\"]\nsuspend = \"1h\"", "4:12", "there is no [provider.nobody]");
}

#[test]
fn a_rule_that_would_suspend_everything_asks_for_confirmation() {
    for audience in ["", "domains = [\"*\"]", "domains = [\"a.example\"]\nsites = [\"*\"]", "bindings = [\"b\"]"] {
        let text = format!("[[rule]]\nname = \"r\"\n{audience}\ncodes = [\"421\"]\nsuspend = \"1h\"\n");
        let told = errors(&text);
        assert!(told.contains("it would suspend every domain"), "{audience}: {told}");
        assert_eq!(errors(&format!("{text}confirm = \"everything\"")), "sound", "{audience}");
    }
    let told = errors("[[rule]]\nname = \"r\"\ncodes = [\"421\"]\nsuspend = \"1h\"\nconfirm = \"yes\"");
    assert!(told.contains("confirms nothing"), "{told}");
    // Less of everything is no suspension.
    assert_eq!(errors("[[rule]]\nname = \"r\"\ncodes = [\"421\"]\nconnections = { factor = 0.5 }"), "sound");
}

#[test]
fn names_are_unique_over_files_and_can_be_disabled() {
    let text = "[[rule]]\nname = \"r\"\ndomains = [\"a\"]\ncodes = [\"421\"]\nsuspend = \"1h\"\n";
    let disabling = format!("disable = [\"r\"]\n{text}");
    let first = Source { name: "first", text };
    let told = Rules::parse(&[first, Source { name: "second", text }]).unwrap_err().to_string();
    assert!(told.contains("second:1:1: rule \"r\": first:1 has a rule of this name"), "{told}");
    let rules = Rules::parse(&[first, Source { name: "second", text: &disabling }]);
    assert_eq!(rules.map(|rules| rules.len()).ok(), Some(1));
    let told = Rules::parse(&[Source { name: "only", text: &disabling }]).unwrap_err().to_string();
    assert!(told.contains("only:1:12: disable: no earlier file has a rule \"r\""), "{told}");
}

#[test]
fn all_errors_are_told_at_once() {
    let told = errors("[[rule]]\nsuspend = \"1h\"\n[[rule]]\nname = \"b\"\nsuspend = 5\nwhen = 7\n");
    assert_eq!(told.lines().count(), 3, "{told}");
}
