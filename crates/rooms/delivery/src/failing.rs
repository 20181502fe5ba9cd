//! Mail of a container that has nowhere to go now, or ever.

use crate::Neighbours;
use crate::host::Failure;
use crate::leased::Number;
use crate::reporter::ReportJob;
use crate::room::Room;
use crate::settling::{Success, Trial};
use crate::site::Site;
use message::{Closing, Verdict};
use std::rc::Rc;

/// Leases that one dial fails for good, before it lets the dispatcher look again.
const FAILED_LEASES_MAX: usize = 1_000;

/// Gives a failure to one lease: the container as a whole waits before it is tried again.
pub(crate) async fn fail_one<N: Neighbours>(room: &Rc<Room<N>>, site: &Site, mut number: Number<N>, failure: Failure) {
    site.on_given_up(room.unix(), &failure.reply, failure.peer);
    fail(room, site, &number, &failure, Verdict::Transient).await;
    number.close(Closing::Unreachable);
}

/// The hosts of a container are not known, because the DNS does not say. One lease is told so; after that the container
/// holds its mail, and asks until the DNS answers.
pub(crate) async fn fail_unresolved<N: Neighbours>(
    room: &Rc<Room<N>>,
    site: &Site,
    mut number: Number<N>,
    failure: Failure,
) {
    site.on_given_up(room.unix(), &failure.reply, None);
    if site.lookups_failed() <= 1 {
        fail(room, site, &number, &failure, Verdict::Transient).await;
    }
    number.close(Closing::Unresolved);
}

/// Gives a failure to everything that waits now, in bounded steps.
pub(crate) async fn fail_all<N: Neighbours>(room: &Rc<Room<N>>, site: &Site, mut number: Number<N>, failure: Failure) {
    for _ in 0..FAILED_LEASES_MAX {
        if room.is_draining() || !room.reports.has_room() {
            break;
        }
        if fail(room, site, &number, &failure, Verdict::Permanent).await == Leasing::Empty {
            break;
        }
        room.context.yield_now().await;
    }
    number.close(Closing::Done);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leasing {
    Some,
    Empty,
}

async fn fail<N: Neighbours>(
    room: &Rc<Room<N>>,
    site: &Site,
    number: &Number<N>,
    failure: &Failure,
    verdict: Verdict,
) -> Leasing {
    let Some(leased) = number.lease(site.options.max_recipients_per_batch as usize) else { return Leasing::Empty };
    let key = leased.key;
    let Some(mut leased) = leased.with_message().await else { return Leasing::Some };
    let Some(message) = leased.message().cloned() else { return Leasing::Some };
    let trial = Trial {
        container: &site.container,
        connection: failure.connection,
        peer: failure.peer,
        stage: failure.stage,
        sent: 0,
        reply: &failure.reply,
    };
    let mut dues = Vec::new();
    while let Some(recipient) = leased.pop() {
        dues.extend(room.settle(key, &message, recipient, verdict, &trial, Success::PassedOn, &site.options));
    }
    room.report(ReportJob { key, message, dues }, &site.options);
    Leasing::Some
}
