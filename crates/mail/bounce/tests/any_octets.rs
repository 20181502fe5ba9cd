//! Whatever a next hop or an operator writes, classifying ends and nothing panics.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use bounce::{Classifier, Phase, Said, TEXT_MAX};
use proptest::prelude::*;

/// Made once: compiling the rules takes longer than a case.
fn classifier() -> &'static Classifier {
    static CLASSIFIER: std::sync::OnceLock<Classifier> = std::sync::OnceLock::new();
    CLASSIFIER.get_or_init(Classifier::new)
}

/// Lines that bounces are made of, in no order.
const PIECES: &str = "(Content-Type: multipart/report; boundary=b; report-type=x\n\
    |Content-Type: message/(delivery-status|feedback-report|rfc822)\n|\n|--b(--)?\n|Final-Recipient: rfc822; a@b\n\
    |Action: failed\n|Status: [245]\\.[0-9]{1,3}\\.[0-9]{1,3}\n|Diagnostic-Code: smtp; 550 [a-z ]{0,20}\n\
    |From: mailer-daemon@x\n|To: b\\+1[0-9a-v]{0,30}-a=b@c\n|<a@b>: [a-z ]{0,9}\n|--- Original message\n\
    |Content-Transfer-Encoding: (base64|quoted-printable)\n|[ -~]{0,30}\n)";

fn examine(octets: &[u8]) {
    let seal = bounce::Seal::new(&[b"0123456789abcdef"]).unwrap();
    let examiner = bounce::Examiner { seal: Some(&seal), ..bounce::Examiner::new(classifier()) };
    let finding = examiner.examine(octets);
    assert!(finding.recipients.len() <= bounce::RECIPIENTS_MAX);
    assert!(finding.recipients.iter().all(|found| found.reason.len() <= TEXT_MAX));
    assert_eq!(finding.sort == bounce::Sort::Mail, finding.recipients.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_reply_has_a_class(text in proptest::collection::vec(any::<u8>(), 0..3000), phase in 0usize..11) {
        let classifier = classifier();
        let said = Said { phase: Some(Phase::ALL[phase]), ..Said::parse(&text) };
        let whole = classifier.classify(&said).class;
        // What lies behind the bound changes nothing.
        let cut = Said { text: &said.text[..said.text.len().min(TEXT_MAX)], ..said };
        prop_assert_eq!(classifier.classify(&cut).class, whole);
        prop_assert!(classifier.explain(&said).text.chars().count() <= TEXT_MAX);
    }

    #[test]
    fn words_in_any_order_have_a_class(words in proptest::collection::vec("(550|5\\.1\\.1|user|unknown|<a@b>|[a-z]{1,9}|[-\r\n\t ]|spam|@|\u{fc}ber)", 0..60)) {
        let text = words.join(" ");
        classifier().classify(&Said::parse(text.as_bytes()));
    }

    #[test]
    fn any_message_is_examined(octets in proptest::collection::vec(any::<u8>(), 0..5000)) {
        examine(&octets);
    }

    #[test]
    fn any_pieces_of_reports_are_examined(pieces in proptest::collection::vec(PIECES, 0..40)) {
        examine(pieces.concat().as_bytes());
    }
}

proptest! {
    // Each case compiles all rules.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_rule_file_is_read(text in "(\\[rule\\.[a-z]{1,3}\\]\n|(class|any|all|none|code|status|regex|phase|domain) = (\"[ -~]{0,9}\"|[0-9]{1,4}|\\[\\]|true)\n|[ -~]{0,9}\n){0,20}") {
        if let Err(errors) = Classifier::with_rules("any.toml", &text) {
            prop_assert!(!errors.is_empty());
            errors.iter().for_each(|error| drop(error.to_string()));
        }
    }
}
