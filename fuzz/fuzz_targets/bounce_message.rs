//! A message that came back, and its octets as a reply.
#![no_main]
use bounce::{Classifier, Examiner, RECIPIENTS_MAX, Said, Seal, TEXT_MAX};

libfuzzer_sys::fuzz_target!(|octets: &[u8]| {
    thread_local! {
        static RULES: (Classifier, Seal) =
            (Classifier::new(), Seal::new(&[b"a key for fuzzing only"]).expect("the key is long enough"));
    }
    RULES.with(|(classifier, seal)| {
        let examiner = Examiner { seal: Some(seal), ..Examiner::new(classifier) };
        let finding = examiner.examine(octets);
        assert!(finding.recipients.len() <= RECIPIENTS_MAX);
        assert!(finding.recipients.iter().all(|found| found.reason.len() <= TEXT_MAX));
        classifier.classify(&Said::parse(octets));
    });
});
