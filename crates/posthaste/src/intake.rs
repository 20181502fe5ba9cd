//! What comes back: bounces and complaints, read one after the other on each loop, and told to the logs.
//!
//! ```text
//!  reception ─ stored ─► Shard ─► Intake: recipients at which mail comes back ─► one task a loop
//!                                   │ too many wait? reception holds such mail back   │ pool cpu: what is it?
//!                                                                                     ├─► logs, counters, suppression
//!                                                                                     └─► gone, or on its way as other mail
//! ```
//! It is hostile mail by nature. A message is looked at as far as the examiner's bounds go; nothing here answers it, so no
//! loop can begin. Until it has been read it stays in the spool: a crash repeats at most what was being read.

use crate::automatic::Cause;
use crate::shard::Shard;
use bounce::{Action, Class, Finding, Sort};
use config::{IntakeAction, ReturnKind};
use engine::{Busy, Counter, CounterId, GaugeError, GaugeShard, Gauges};
use message::{
    About, Address, Complaint, Content, Event, EventSink as _, Lasting, Message, Outcome, Protocol, Queued, Returned,
    Spool as _, StoreError,
};
use reception::Returns;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Recipients that may wait on a loop before reception holds further ones back. A restart may bring more.
const WAITING_MAX: usize = 10_000;
/// And it takes them again from here on.
const WAITING_LOW: usize = 5_000;
/// Of those that wait, so many keep their message in memory.
const RESIDENT_MAX: usize = 64;
/// Octets read from the spool at once.
const PIECE_BYTES: usize = 256 << 10;
/// After which time a busy pool or a spool that could not be read is asked again.
const POOL_AGAIN: Duration = Duration::from_millis(20);
const SPOOL_AGAIN: Duration = Duration::from_secs(5);
/// Feedback that is no complaint of a recipient.
const NO_COMPLAINTS: [&str; 4] = ["not-spam", "auth-failure", "dmarc", "virus"];

/// What waits on a loop.
pub(crate) struct Intake {
    waiting: RefCell<VecDeque<Queued>>,
    bell: Notify,
    pub(crate) counters: Counters,
}

/// Names of the counters, in the order in which they are shown.
const NAMES: [(&str, &str); 9] = [
    ("intake_bounces_total", "Bounces"),
    ("intake_delays_total", "Delays Told"),
    ("intake_complaints_total", "Complaints"),
    ("intake_answers_total", "Answering Machines"),
    ("intake_other_total", "Other Mail"),
    ("intake_own_total", "Reports of Our Own"),
    ("intake_forged_marks_total", "Forged Marks"),
    ("intake_stale_marks_total", "Stale Marks"),
    ("suppression_automatic_total", "Suppressed Automatically"),
];

/// The registered names.
#[derive(Clone, Copy)]
pub(crate) struct Names([CounterId; NAMES.len()]);

/// One loop's part.
pub(crate) struct Counters {
    bounces: Counter,
    delays: Counter,
    complaints: Counter,
    answers: Counter,
    other: Counter,
    own: Counter,
    forged: Counter,
    stale: Counter,
    pub(crate) suppressed: Counter,
}

impl Names {
    /// Registers them; again is the same.
    pub(crate) fn register(gauges: &Gauges) -> Result<Self, GaugeError> {
        let mut ids = [gauges.counter(NAMES[0].0)?; NAMES.len()];
        for (id, (name, _)) in ids.iter_mut().zip(NAMES) {
            *id = gauges.counter(name)?;
        }
        Ok(Self(ids))
    }

    /// A loop's part.
    pub(crate) fn counters(&self, shard: &GaugeShard) -> Counters {
        let [bounces, delays, complaints, answers, other, own, forged, stale, suppressed] =
            self.0.map(|id| shard.counter(id));
        Counters { bounces, delays, complaints, answers, other, own, forged, stale, suppressed }
    }

    /// The sums over all loops, with their labels.
    pub(crate) fn read(&self, gauges: &Gauges) -> Vec<(&'static str, u64)> {
        NAMES.iter().zip(self.0).map(|((_, label), id)| (*label, gauges.read_counter(id))).collect()
    }
}

/// Why a message was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    /// The spool or its readers could not just now.
    Later,
    /// It is gone, or the server stops.
    Never,
}

impl From<StoreError> for Unread {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full | StoreError::Failed => Self::Later,
            StoreError::Missing | StoreError::Stopping => Self::Never,
        }
    }
}

impl Intake {
    /// Nothing waits.
    pub(crate) fn new(counters: Counters) -> Self {
        Self { waiting: RefCell::default(), bell: Notify::new(), counters }
    }

    fn push(&self, queued: Queued) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        let resident = queued.message.filter(|_| waiting.len() < RESIDENT_MAX);
        waiting.push_back(Queued { message: resident, ..queued });
        self.bell.notify_one();
        waiting.len()
    }

    async fn next(&self) -> (Queued, usize) {
        loop {
            let next = self.waiting.borrow_mut().pop_front();
            if let Some(next) = next {
                return (next, self.waiting.borrow().len());
            }
            self.bell.notified().await;
        }
    }
}

impl Shard {
    /// What comes in at the address of a recipient, if mail comes back there.
    pub(crate) fn return_kind(&self, message: &Message, index: u16) -> Option<ReturnKind> {
        let address = &message.envelope.recipients.get(usize::from(index))?.address;
        self.bouncing.borrow().returns.kind(address.local_part(), address.domain_text())
    }

    /// Takes a recipient whose mail is to be read.
    pub(crate) fn take_return(&self, queued: Queued) {
        if self.intake.push(queued) >= WAITING_MAX {
            self.set_returns(Returns::Held);
        }
    }

    /// Reads what comes back, for as long as the loop runs; to be spawned once.
    pub(crate) async fn read_returns(self: Rc<Self>) {
        loop {
            let (queued, left) = self.intake.next().await;
            if left <= WAITING_LOW {
                self.set_returns(Returns::Taken);
            }
            let message = match self.fetch_return(&queued).await {
                Ok(message) => message,
                Err(unread) => {
                    self.leave_unread(queued, unread).await;
                    continue;
                }
            };
            // The generation may have changed since it came: then it is read as bounces are.
            let kind = self.return_kind(&message, queued.recipient).unwrap_or(ReturnKind::Bounce);
            match message.reception.protocol {
                // Why we gave somebody up was told when we did.
                Protocol::Internal => self.intake.counters.own.add(1),
                _ => {
                    if let Err(unread) = self.read_return(&queued, &message).await {
                        self.leave_unread(queued, unread).await;
                        continue;
                    }
                }
            }
            let action = self.bouncing.borrow().returns.action(kind);
            match action {
                IntakeAction::Discard => self.spool.outcome(queued.key, queued.recipient, Outcome::Delivered),
                IntakeAction::Relay => self.pass_on(message, queued).await,
            }
        }
    }

    /// What could not be read now is read later, behind the others; what the stop of the server leaves, the next start finds.
    async fn leave_unread(&self, queued: Queued, unread: Unread) {
        if unread == Unread::Later {
            self.context.timers().sleep(SPOOL_AGAIN).await;
            self.intake.push(queued);
        }
    }

    async fn fetch_return(&self, queued: &Queued) -> Result<Arc<Message>, Unread> {
        match &queued.message {
            Some(message) => Ok(message.clone()),
            None => Ok(self.spool.fetch(queued.key).await?),
        }
    }

    async fn read_return(&self, queued: &Queued, message: &Arc<Message>) -> Result<(), Unread> {
        let octets = self.octets_of(queued, message).await?;
        let to = message.envelope.recipients[usize::from(queued.recipient)].address.as_str().to_owned();
        let (bouncing, at) = (self.bouncing.borrow().clone(), self.unix());
        let work = Arc::new((bouncing, octets, to));
        loop {
            let work = work.clone();
            match self.cpu.run(move || work.0.examine(&work.1, &work.2, at)) {
                Ok(job) => {
                    // A reader that panicked has told so on standard error; what it read is mail like any other.
                    match job.await {
                        Ok(finding) => self.tell_return(message, queued.recipient, &finding),
                        Err(_) => self.intake.counters.other.add(1),
                    }
                    return Ok(());
                }
                Err(Busy::Full | Busy::NoThread) => self.context.timers().sleep(POOL_AGAIN).await,
                Err(Busy::Closed) => return Err(Unread::Never),
            }
        }
    }

    /// As much of the content as is looked at.
    async fn octets_of(&self, queued: &Queued, message: &Message) -> Result<Vec<u8>, Unread> {
        let mut octets = Vec::new();
        match &message.content {
            Content::Resident(body) => {
                for slice in body.slices() {
                    let left = bounce::MESSAGE_MAX - octets.len();
                    octets.extend_from_slice(&slice[..slice.len().min(left)]);
                }
            }
            Content::Spooled { .. } => {
                while octets.len() < bounce::MESSAGE_MAX {
                    let max = PIECE_BYTES.min(bounce::MESSAGE_MAX - octets.len());
                    let piece = self.spool.read(queued.key, octets.len() as u64, max).await?;
                    if piece.is_empty() {
                        break;
                    }
                    octets.extend_from_slice(&piece);
                }
            }
        }
        Ok(octets)
    }

    /// Tells logs and counters, and the suppression list by its rules.
    fn tell_return(&self, message: &Message, recipient: u16, finding: &Finding) {
        let counters = &self.intake.counters;
        counters.forged.add(finding.forged as u64);
        counters.stale.add(finding.stale as u64);
        let origin = finding.origin.as_ref();
        let marked = origin.and_then(|origin| origin.recipient.as_ref());
        let about = About {
            at: self.unix(),
            message,
            recipient,
            id: origin.map(|origin| origin.id.legacy()),
            original: marked.map(Address::as_str),
        };
        match finding.sort {
            Sort::Feedback => self.tell_complaint(about, marked, finding),
            Sort::Subscribe => counters.answers.add(1),
            Sort::Mail if origin.is_some() && message.envelope.sender.is_none() => {
                self.tell_failure(about, marked, Lasting::ForGood, Class::Undetermined, "");
            }
            Sort::Mail => counters.other.add(1),
            Sort::DeliveryReport | Sort::TextBounce | Sort::AutoReply | Sort::ChallengeResponse | Sort::Unsubscribe => {
                self.tell_findings(about, marked, finding);
            }
        }
    }

    fn tell_findings(&self, about: About<'_>, marked: Option<&Address>, finding: &Finding) {
        for found in &finding.recipients {
            let lasting = match (finding.sort, found.action) {
                (_, Action::Delayed) => Lasting::ForNow,
                (_, Action::Failed) | (Sort::TextBounce, Action::None) => Lasting::ForGood,
                (Sort::AutoReply | Sort::ChallengeResponse | Sort::Unsubscribe, _) => Lasting::ForGood,
                (_, Action::Delivered | Action::Relayed | Action::Expanded | Action::None) => continue,
            };
            let named = found.original.as_deref().or(found.recipient.as_deref());
            let about = About { original: about.original.or(named), ..about };
            self.tell_failure(about, marked, lasting, found.class, &found.reason);
            // Where mail was forwarded to several, they all stand for the one whom we sent it to.
            if marked.is_some() {
                return;
            }
        }
    }

    fn tell_failure(&self, about: About<'_>, marked: Option<&Address>, lasting: Lasting, class: Class, text: &str) {
        let counters = &self.intake.counters;
        match (lasting, class) {
            (Lasting::ForNow, _) => counters.delays.add(1),
            (_, Class::AutoReply | Class::ChallengeResponse | Class::Unsubscribe) => counters.answers.add(1),
            _ => counters.bounces.add(1),
        }
        self.events.event(&Event::Returned(Returned { about, lasting, class: class.number(), text }));
        if let (Some(address), Lasting::ForGood) = (marked, lasting) {
            self.events.automatic.happened(address, Cause::Failure(class), about.at);
        }
    }

    fn tell_complaint(&self, about: About<'_>, marked: Option<&Address>, finding: &Finding) {
        self.intake.counters.complaints.add(1);
        let kind = finding.feedback.as_ref().map_or("other", |feedback| &feedback.kind);
        let named = finding.recipients.first().and_then(|found| found.original.as_deref());
        let sender = about.message.envelope.sender.as_ref().map(Address::domain_text);
        let domain = sender.or(finding.reporter.as_deref()).unwrap_or_default();
        let config = self.generation.borrow().config.clone();
        let user_string = config.feedback.user_string.0.as_deref().unwrap_or_default();
        let about = About { original: about.original.or(named), ..about };
        self.events.event(&Event::Complained(Complaint { about, kind, domain, user_string }));
        if let Some(address) = marked.filter(|_| !NO_COMPLAINTS.contains(&kind)) {
            self.events.automatic.happened(address, Cause::Complaint, about.at);
        }
    }
}
