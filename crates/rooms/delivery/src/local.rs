//! Agents that need no network: a maildir, and nowhere.

use crate::Neighbours;
use crate::leased::{Leased, Number};
use crate::maildir::{self, Letter};
use crate::reporter::ReportJob;
use crate::room::Room;
use crate::settling::{Success, Trial};
use crate::site::Site;
use engine::Seat;
use message::dsn::Action;
use message::{Agent, Closing, Dial, MessageId, Reply, Stage, Verdict};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Leases written with one look at the directory.
const BATCH: usize = 32;
/// Batches that one dial serves before it lets the dispatcher look again.
const BATCHES_MAX: usize = 256;

/// Serves a dial.
pub(crate) async fn run<N: Neighbours>(room: Rc<Room<N>>, dial: Dial, _seat: Seat) {
    let site = room.site(&dial.container);
    let mut number = Number::new(&room, dial.connection);
    let connection = room.next_id();
    let mut closing = Closing::Done;
    for _ in 0..BATCHES_MAX {
        if room.is_draining() || !room.reports.has_room() || closing != Closing::Done {
            break;
        }
        let batch = lease(&number, &site).await;
        if batch.is_empty() {
            break;
        }
        closing = match &site.container.agent {
            Agent::Maildir(path) => write(&room, &site, connection, path, batch).await,
            Agent::Discard => {
                let reply = Reply::new(250, "2.0.0 [internal] discarded");
                settle(&room, &site, connection, batch, |_| (Verdict::Delivered, reply.clone()));
                Closing::Done
            }
            // The queues do not dial for what is held. Should they, the mail goes back and they wait.
            _ => Closing::Unreachable,
        };
        room.context.yield_now().await;
    }
    number.close(closing);
}

async fn lease<N: Neighbours>(number: &Number<N>, site: &Site) -> Vec<Leased<N>> {
    let mut batch = Vec::new();
    while batch.len() < BATCH
        && let Some(leased) = number.lease(site.options.max_recipients_per_batch as usize)
    {
        batch.extend(leased.with_message().await);
    }
    batch
}

/// Writes a batch into a maildir, a file a recipient.
async fn write<N: Neighbours>(
    room: &Rc<Room<N>>,
    site: &Site,
    connection: MessageId,
    path: &Arc<Path>,
    batch: Vec<Leased<N>>,
) -> Closing {
    let mut letters = Vec::new();
    for leased in &batch {
        let Some(message) = leased.message() else { continue };
        for recipient in leased.recipients() {
            letters.push(Letter::new(message, recipient.recipient, leased.key, room.own.host()));
        }
    }
    let results = maildir::deliver(room, path, letters).await;
    let mut closing = Closing::Done;
    let mut results = results.into_iter();
    settle(room, site, connection, batch, |_| match results.next() {
        Some(Ok(())) => (Verdict::Delivered, Reply::new(250, "2.0.0 [internal] saved")),
        Some(Err(error)) => {
            closing = Closing::Unreachable;
            (Verdict::Transient, error.reply())
        }
        None => (Verdict::Untried, Reply::new(451, "4.3.0 [internal] not saved")),
    });
    closing
}

/// Settles every recipient of a batch, in the order of the leases.
fn settle<N: Neighbours>(
    room: &Rc<Room<N>>,
    site: &Site,
    connection: MessageId,
    batch: Vec<Leased<N>>,
    mut verdict: impl FnMut(u16) -> (Verdict, Reply),
) {
    for mut leased in batch {
        let key = leased.key;
        let Some(message) = leased.message().cloned() else { continue };
        let recipients: Vec<u16> = leased.recipients().iter().map(|leased| leased.recipient).collect();
        let mut dues = Vec::new();
        for recipient in recipients {
            let (verdict, reply) = verdict(recipient);
            let sent = if verdict == Verdict::Delivered { message.size() } else { 0 };
            let Some(one) = leased.take(recipient) else { continue };
            let container = &site.container;
            let trial = Trial { container, connection, peer: None, stage: Stage::SendingBody, sent, reply: &reply };
            let success = Success::Told(Action::Delivered);
            dues.extend(room.settle(key, &message, one, verdict, &trial, success, &site.options));
        }
        if !dues.is_empty() {
            room.report(ReportJob { key, message, dues }, &site.options);
        }
    }
}
