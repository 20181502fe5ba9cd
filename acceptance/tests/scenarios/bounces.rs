//! `posthaste bounce …`: replies, messages that came back, rule files; no server.

use acceptance::Site;

#[test]
fn a_reply_is_classified_and_the_rule_has_its_place() {
    let site = Site::new("");
    let text = site.tool_ok(&["bounce", "test", "550 5.1.1 user unknown", "--domain", "b.test"]);
    assert!(text.contains("10 invalid-recipient (hard)") && text.contains("user-unknown at built-in:"), "{text}");
    let json = site.tool_ok(&["bounce", "test", "550 nope", "--phase", "mail", "--json"]);
    assert!(json.contains("\"class\":\"mail-block\"") && json.contains("\"number\":50"), "{json}");
    let wrong = site.tool(&["bounce", "test", "550 nope", "--phase", "rcptt"]);
    assert!(!wrong.status.success());
}

#[test]
fn an_operator_s_rules_are_checked_and_used() {
    let site = Site::new("");
    let file = site.path("rules.toml");
    let rules = file.to_str().unwrap();
    std::fs::write(&file, "[rule.ours]\nclass = \"timeout\"\nany = \"purple\"\n").unwrap();
    assert!(site.tool_ok(&["bounce", "check", rules]).contains("valid; 1 rules"));
    let text = site.tool_ok(&["bounce", "test", "550 purple", "--rules", rules]);
    assert!(text.contains("24 timeout") && text.contains("ours at ") && text.contains("rules.toml:1:7"), "{text}");
    std::fs::write(&file, "[rule.ours]\nclass = \"tiemout\"\nany = \"purple\"\n").unwrap();
    let output = site.tool(&["bounce", "check", rules]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("rules.toml:2:9: ") && text.contains("did you mean `timeout`?"), "{text}");
}

#[test]
fn a_message_that_came_back_is_taken_apart() {
    let site = Site::new("");
    let file = site.path("bounce.eml");
    let report = "From: MAILER-DAEMON@b.test\r\nContent-Type: multipart/report; boundary=x\r\n\r\n--x\r\n\
        Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; b.test\r\n\r\nFinal-Recipient: rfc822; joe@b.test\r\n\
        Action: failed\r\nStatus: 5.2.2\r\nDiagnostic-Code: smtp; 552 5.2.2 mailbox full\r\n\r\n--x--\r\n";
    std::fs::write(&file, report).unwrap();
    let json = site.tool_ok(&["bounce", "classify", file.to_str().unwrap(), "--json"]);
    for wanted in [
        "\"sort\":\"delivery-report\"",
        "\"action\":\"failed\"",
        "\"status\":\"5.2.2\"",
        "\"class\":\"mailbox-full\"",
        "\"original_recipient\":\"joe@b.test\"",
        "\"reason\":\"552 5.2.2 mailbox full\"",
    ] {
        assert!(json.contains(wanted), "{wanted}: {json}");
    }
    let text = site.tool_ok(&["bounce", "classify", file.to_str().unwrap()]);
    assert!(text.contains("<joe@b.test>: failed 5.2.2 22 mailbox-full"), "{text}");
}
