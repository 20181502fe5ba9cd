//! Addresses that come on the suppression list by themselves: failures and complaints are counted by the rules of the
//! configuration. One for each loop; what was counted is shared by all.
//!
//! What is added goes to the list's thread a few times a second, and holds about a second later.

use crate::bouncing::Bouncing;
use crate::suppressing::{Suppression, now};
use bounce::{Class, Classifier, Said};
use config::{Config, SuppressionCause};
use message::{Address, Attempt, Reply, UnixMicros};
use policy::{MailClass, Suppressed as _};
use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};
use suppression::{Batch, Counted, Entry, Key, Label, Publish, Reason, Scope, Second, Tally};

/// What happened to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Mail to it failed.
    Failure(Class),
    /// Its owner complained.
    Complaint,
}

/// A rule, ready for use.
struct Rule {
    name: Box<str>,
    source: Label,
    causes: Vec<Cause>,
    count: usize,
    period: u32,
    /// `None`: for ever.
    duration: Option<u32>,
}

/// See the module.
pub(crate) struct Automatic {
    suppression: Suppression,
    tally: Arc<Mutex<Tally>>,
    set: RefCell<(Vec<Rule>, Arc<Classifier>)>,
    pending: RefCell<Batch>,
    added: engine::Counter,
}

impl Automatic {
    /// With the rules of a generation.
    pub(crate) fn new(
        suppression: Suppression,
        tally: Arc<Mutex<Tally>>,
        config: &Config,
        bouncing: &Bouncing,
        added: engine::Counter,
    ) -> Self {
        let set = RefCell::new((rules(config), bouncing.classifier.clone()));
        Self { suppression, tally, set, pending: RefCell::default(), added }
    }

    /// The rules of a new generation. What rules of the same name have counted stays.
    pub(crate) fn set_config(&self, config: &Config, bouncing: &Bouncing) {
        self.set.replace((rules(config), bouncing.classifier.clone()));
    }

    /// A recipient was given up.
    pub(crate) fn failed(&self, attempt: &Attempt<'_>, reply: &Reply) {
        let set = self.set.borrow();
        if set.0.is_empty() {
            return;
        }
        let Some(recipient) = attempt.message.envelope.recipients.get(usize::from(attempt.recipient)) else { return };
        let said = Said::reply(reply, attempt.stage, recipient.address.domain_text());
        let class = set.1.classify(&said).class;
        drop(set);
        self.happened(&recipient.address, Cause::Failure(class), attempt.at);
    }

    /// Counts what happened to an address. One that gets no mail already is left as it is: that its mail fails is no news.
    pub(crate) fn happened(&self, address: &Address, cause: Cause, at: UnixMicros) {
        let set = self.set.borrow();
        let mut wanted = set.0.iter().filter(|rule| rule.causes.contains(&cause)).peekable();
        if wanted.peek().is_none() || self.suppression.suppressed(address, &MailClass::default(), at).is_some() {
            return;
        }
        let (key, second) = (Key::of(address), Second::from(at));
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        // Every rule counts, and the first that has enough decides for how long.
        let enough: Vec<&Rule> = wanted
            .filter(|rule| tally.count(&rule.name, &key, rule.count, rule.period, second) == Counted::Enough)
            .collect();
        drop(tally);
        let Some(rule) = enough.first() else { return };
        let reason = match cause {
            Cause::Complaint => Reason::Complaint,
            Cause::Failure(Class::Unsubscribe) => Reason::Unsubscribe,
            Cause::Failure(class) => Reason::Bounce(class.number()),
        };
        let expires = rule.duration.map(|duration| Second(second.0.saturating_add(duration)));
        let source = rule.source.clone();
        self.pending.borrow_mut().put(&Entry { key, scope: Scope::default(), reason, source, added: second, expires });
        self.added.add(1);
        if self.pending.borrow().is_full() {
            self.flush();
        }
    }

    /// Hands what was added to the list. To be called a few times a second.
    pub(crate) fn flush(&self) {
        if self.pending.borrow().is_empty() {
            return;
        }
        let batch = self.pending.take();
        match self.suppression.store() {
            Some(store) => {
                let told = |made: Result<_, suppression::WriteError>| {
                    if let Err(error) = made {
                        eprintln!("suppression list: addresses that should come on it do not: {error}");
                    }
                };
                store.change(batch, Publish::Later, now(), Box::new(told));
            }
            None => eprintln!("suppression list: addresses that should come on it do not: it is not open"),
        }
    }
}

fn rules(config: &Config) -> Vec<Rule> {
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let of = |rule: &config::AutoSuppression| Rule {
        name: (*rule.name).into(),
        source: Label::new(&rule.name).expect("a name in the configuration has 1 to 64 printable characters"),
        causes: rule.causes.iter().map(|cause| self::cause(*cause)).collect(),
        count: rule.count as usize,
        period: seconds(rule.period),
        duration: (!rule.duration.is_zero()).then(|| seconds(rule.duration)),
    };
    config.auto_suppressions.iter().map(of).collect()
}

fn cause(cause: SuppressionCause) -> Cause {
    match Class::named(cause.word()) {
        Some(class) => Cause::Failure(class),
        None => Cause::Complaint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_knows_every_class_and_complaints() {
        let words: Vec<String> = bounce::CLASSES.iter().map(|row| format!("\"{}\"", row.name)).collect();
        let text = format!("[auto_suppression.a]\ncauses = [{}, \"complaint\"]\n", words.join(", "));
        let config = Config::parse("t", &text).unwrap();
        let classes = bounce::CLASSES.iter().map(|row| Cause::Failure(row.class));
        assert_eq!(rules(&config)[0].causes, classes.chain([Cause::Complaint]).collect::<Vec<_>>());
        assert_eq!(rules(&config)[0].duration, None);
    }
}
