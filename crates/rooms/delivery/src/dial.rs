//! A dial: finds a host that greets, and what it means if none does. `dispatcher` spawns one task for each.

use crate::Neighbours;
use crate::connection::Connection;
use crate::exit::{ProxyFailure, Unconnected};
use crate::failing::{fail_all, fail_one, fail_unresolved};
use crate::host::{Failure, blames_source};
use crate::leased::Number;
use crate::room::Room;
use crate::site::{Site, Unroutable};
use engine::{Seat, Waiting};
use message::{Closing, Dial, Entrance, Reply, Work as _};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// Serves a dial: the whole life of one connection of a container.
pub(crate) async fn run<N: Neighbours>(room: Rc<Room<N>>, dial: Dial, _seat: Seat) {
    let site = room.site(&dial.container);
    let mut number = Number::new(&room, dial.connection);
    let mut stop = room.connections.stopped();
    let targets = {
        // Boxed, as a look-up is large and rare.
        let looking = Box::pin(site.targets(&room));
        let Some(targets) = unless_stopped(&mut stop, looking).await else { return };
        targets
    };
    let targets = match targets {
        Ok(targets) => targets,
        Err(Unroutable::Permanent(reply)) => return fail_all(&room, &site, number, Failure::unresolved(reply)).await,
        Err(Unroutable::Temporary(reply)) => return fail_one(&room, &site, number, Failure::unresolved(reply)).await,
        Err(Unroutable::Unresolved(reply)) => {
            return fail_unresolved(&room, &site, number, Failure::unresolved(reply)).await;
        }
    };
    if !enters(&room, &site, &number) {
        return number.close(Closing::Done);
    }
    let mut tries = Tries::new();
    for target in targets {
        let Ok(_permit) = site.take_host(&room, &target) else {
            tries.full = true;
            continue;
        };
        let Some(connected) = unless_stopped(&mut stop, Box::pin(target.connect(&room, &site))).await else { return };
        let stream = match connected {
            Ok(stream) => stream,
            Err(Unconnected::Proxy(failure)) => {
                let ends = !failure.is_about_one_host();
                tries.proxy = Some(failure);
                if ends {
                    break;
                }
                continue;
            }
            Err(Unconnected::Host(error)) => {
                let is_hosts = matches!(error, engine::ConnectError::Connect(_) | engine::ConnectError::TimedOut);
                if is_hosts && !blames_source(&error) {
                    site.on_failed(&target, room.context.now());
                }
                tries.failure = tries.failure.or(Failure::unconnected(&error, target.ip()));
                continue;
            }
        };
        let mut connection = Connection::new(&room, &site, &target, stream, number, stop);
        let ending = connection.converse().await;
        let closing = connection.closing(&ending);
        if let Some(closing) = closing {
            if closing == Closing::Rebuffed {
                site.on_given_up(room.unix(), &ending.reply(), target.ip());
            }
            return connection.number.close(closing);
        }
        site.on_failed(&target, room.context.now());
        tries.failure = tries.failure.or(Failure::ungreeted(&ending, target.ip(), connection.id));
        (number, stop) = connection.into_parts();
    }
    tries.end(&room, &site, number).await;
}

/// Whether the site lets one more connection in: not if an idle one does, or if it has all that it may have.
fn enters<N: Neighbours>(room: &Room<N>, site: &Site, number: &Number<N>) -> bool {
    let (Some((name, way)), Some(number)) = (site.rolled(), number.get()) else { return true };
    room.work.borrow_mut().enter(number, &name, way, room.unix()) == Entrance::Open
}

/// What became of the hosts of a dial, none of which greeted.
struct Tries {
    /// The gravest.
    failure: Failure,
    /// Whether one has all connections that it may have.
    full: bool,
    /// The way out that could not be used.
    proxy: Option<ProxyFailure>,
}

impl Tries {
    fn new() -> Self {
        Self { failure: Failure::unreached(), full: false, proxy: None }
    }

    /// What it means for the container. Hosts that are full can be reached, and a proxy that cannot be used says nothing
    /// of hosts: mail then waits as if nothing had been tried.
    async fn end<N: Neighbours>(self, room: &Rc<Room<N>>, site: &Site, mut number: Number<N>) {
        if self.full {
            room.counters.unreachable.add(u64::from(!self.failure.is_none()));
            room.counters.proxy_failures.add(u64::from(self.proxy.is_some()));
            let reply = "4.4.5 [internal] every host that can be reached has max_connections_per_host connections";
            let reply = Reply::new(451, reply);
            site.on_given_up(room.unix(), &reply, None);
            return number.close(Closing::HostsFull);
        }
        if let Some(proxy) = self.proxy.filter(|_| self.failure.is_none()) {
            room.counters.proxy_failures.add(1);
            site.on_given_up(room.unix(), &proxy.reply(), Some(proxy.proxy.ip()));
            return number.close(Closing::NoExit);
        }
        room.counters.unreachable.add(1);
        fail_one(room, site, number, self.failure).await;
    }
}

/// `None` if the room drains first.
async fn unless_stopped<F: Future + Unpin>(stop: &mut Waiting, mut future: F) -> Option<F::Output> {
    poll_fn(|context| {
        if Pin::new(&mut *stop).poll(context).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut future).poll(context).map(Some)
    })
    .await
}
