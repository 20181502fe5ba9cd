//! A report as a message of ours: whether one is wanted, and what it holds.

use crate::Neighbours;
use crate::reporter::ReportJob;
use crate::room::Room;
use config::DomainOptions;
use message::dsn::{Action, Original, Report, Reported, header_section};
use message::{
    Body, BodyType, Content, Dots, Enhanced, Envelope, Message, MessageId, Notify, Protocol, Reception, Recipient,
    Reply, Return, Spool, StoreError, UnixMicros,
};
use std::net::IpAddr;

/// A message up to this size comes back whole if the sender asks for it, octets.
const FULL_MAX: usize = 256 << 10;
/// Of a larger one so much is read for its header section, octets.
const HEADERS_MAX: usize = 64 << 10;

/// A recipient of which a report may be due.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) recipient: u16,
    pub(crate) action: Action,
    pub(crate) status: Enhanced,
    pub(crate) remote: Option<IpAddr>,
    pub(crate) reply: Option<Reply>,
    pub(crate) tried: UnixMicros,
    pub(crate) retried_until: Option<UnixMicros>,
}

impl Due {
    /// Whether the sender is to be told. To `<>` nothing is reported, ever.
    pub(crate) fn is_wanted(&self, message: &Message, options: &DomainOptions) -> bool {
        let Some(recipient) = message.envelope.recipients.get(usize::from(self.recipient)) else { return false };
        let wants = match self.action {
            Action::Failed => options.generate_bounces && recipient.notify.wants_failure(),
            Action::Delayed => options.generate_delay_dsn && recipient.notify.wants_delay(),
            Action::Delivered | Action::Relayed => recipient.notify.wants_success(),
        };
        message.envelope.sender.is_some() && wants
    }

    fn as_reported<'a>(&'a self, remote: Option<&'a str>) -> Reported<'a> {
        Reported {
            recipient: self.recipient,
            action: self.action,
            status: self.status,
            remote,
            reply: self.reply.as_ref(),
            tried: self.tried,
            retried_until: self.retried_until,
        }
    }
}

impl<N: Neighbours> Room<N> {
    /// Queues reports for what is wanted, one for each action, and notes the failures of which nobody is to be told.
    pub(crate) fn report(&self, job: ReportJob, options: &DomainOptions) {
        let ReportJob { key, message, mut dues } = job;
        dues.retain(|due| {
            let wanted = due.is_wanted(&message, options);
            if !wanted && due.action == Action::Failed {
                self.note_failed(key, due.recipient);
            }
            wanted
        });
        while let Some(action) = dues.first().map(|due| due.action) {
            let (same, others) = dues.into_iter().partition(|due| due.action == action);
            self.reports.push(ReportJob { key, message: message.clone(), dues: same });
            dues = others;
        }
    }

    /// The report as a message.
    pub(crate) async fn compose(&self, job: &ReportJob) -> Result<Message, StoreError> {
        let (original, whole) = self.original(job).await?;
        let at = self.unix();
        let id = self.next_id();
        let remotes: Vec<Option<String>> = job.dues.iter().map(|due| due.remote.map(literal)).collect();
        let reported = |(due, remote)| Due::as_reported(due, Option::as_deref(remote));
        let recipients: Vec<Reported<'_>> = job.dues.iter().zip(&remotes).map(reported).collect();
        let original = match whole {
            Whole::Yes => Original::Full(&original),
            Whole::No => Original::Headers(header_section(&original)),
        };
        let report = Report { host: self.own.host(), id, at, message: &job.message, original, recipients: &recipients };
        Ok(self.as_message(id, at, &job.message.envelope, report.write()))
    }

    fn as_message(&self, id: MessageId, at: UnixMicros, original: &Envelope, octets: Vec<u8>) -> Message {
        let recipient =
            original.sender.clone().map(|address| Recipient { address, notify: Notify::Never, orcpt: None });
        let body_type = if octets.is_ascii() { BodyType::SevenBit } else { BodyType::EightBit };
        Message {
            id,
            envelope: Envelope {
                sender: None,
                recipients: recipient.into_iter().collect(),
                body_type,
                utf8: original.utf8,
                ret: None,
                envid: None,
            },
            reception: Reception {
                at,
                connection: MessageId::NONE,
                peer: None,
                protocol: Protocol::Internal,
                helo: self.own.host().into(),
                dots: Dots::Some,
            },
            trace: fabric::Slice::empty(),
            content: Content::Resident(Body::from(fabric::Slice::from_vec(octets))),
        }
    }

    /// Octets of the message from its start: all if they are wanted and may be sent back, else enough for the header.
    async fn original(&self, job: &ReportJob) -> Result<(Vec<u8>, Whole), StoreError> {
        let message = &job.message;
        let envelope = &message.envelope;
        let failed = job.dues.iter().any(|due| due.action == Action::Failed);
        let whole = failed
            && envelope.ret == Some(Return::Full)
            && envelope.body_type != BodyType::Binary
            && message.size() <= FULL_MAX as u64;
        let mut octets = message.trace.to_vec();
        match &message.content {
            Content::Resident(body) if whole => octets.extend(body.to_vec()),
            Content::Resident(body) => {
                for slice in body.slices() {
                    let room = HEADERS_MAX.saturating_sub(octets.len());
                    octets.extend_from_slice(&slice[..slice.len().min(room)]);
                }
            }
            Content::Spooled { .. } => {
                let length = if whole { FULL_MAX } else { HEADERS_MAX };
                octets.extend_from_slice(&self.spool.read(job.key, 0, length).await?);
            }
        }
        Ok((octets, if whole { Whole::Yes } else { Whole::No }))
    }
}

/// An address in the place of a host's name (RFC 5321 §4.1.3, as RFC 3464 §2.3.5 takes it).
fn literal(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}
