//! The scenarios, by what happens in them.

mod deaths;
mod endings;
mod limits;
mod malice;
mod many;
mod orders;
mod priorities;
mod queues;
mod receiving;
mod starts;
mod waits;
mod windows;

use fabric::channel::{Loss, ReceiveError, Receiver};
use fabric::tli::Reason;

use crate::failure::{Failure, Outcome};
use crate::payload;
use crate::roles;
use crate::scene::{SOON, Scene};
use crate::scheme::Need;
use crate::stage::Role;

use deaths::*;
use endings::*;
use limits::*;
use malice::*;
use many::*;
use orders::*;
use priorities::*;
use queues::*;
use receiving::*;
use starts::*;
use waits::*;
use windows::*;

/// One thing that a transport must do.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What the transport must have for it.
    pub need: Need,
    /// Tries it.
    pub run: fn(&Scene) -> Outcome,
}

/// Calls a macro with the names of the scenarios that every transport passes.
#[macro_export]
macro_rules! everywhere {
    ($then:ident) => {
        $then! {
            order both_ways atomicity too_large
            critical_first weights_share idle_last each_queue_keeps_its_order
            input_queue_bounds tagged_messages_replace several_senders
            receive_queue_discards receive_queue_holds_back a_full_receive_queue_still_tells_of_a_loss several_receivers
            receiving_times_out posting_times_out flushing_times_out closing_times_out
            close_lingers dropping_ends no_reconnection states_are_told
            start_in_either_order restarted_receiver restarted_sender
            slow_receiver two_transports two_addresses_at_once
            many_channels many_windows
            window_frames erased_messages raw_windows futures
        }
    };
}

/// Calls a macro with the names of the scenarios for transports between processes.
#[macro_export]
macro_rules! between_processes {
    ($then:ident) => {
        $then! {
            killed_receiver killed_listener killed_sender killed_while_both_send
            frozen_peer idle_channels_use_no_processor
        }
    };
}

/// Calls a macro with the names of the scenarios for transports that share memory.
#[macro_export]
macro_rules! sharing_memory {
    ($then:ident) => {
        $then! { order_trusted leases_come_back reading_is_known_at_once }
    };
}

/// Calls a macro with the names of the scenarios for transports that share memory between processes.
#[macro_export]
macro_rules! sharing_memory_of_processes {
    ($then:ident) => {
        $then! { erased_leases killed_while_it_holds_windows killed_while_its_windows_are_held hostile_peers }
    };
}

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    let mut need = Need::Nothing;
    macro_rules! add {
        ($($name:ident)*) => { $(all.push(Scenario { name: stringify!($name), need, run: $name });)* };
    }
    everywhere!(add);
    need = Need::Processes;
    between_processes!(add);
    need = Need::SharedMemory;
    sharing_memory!(add);
    need = Need::SharedMemoryOfProcesses;
    sharing_memory_of_processes!(add);
    all
}

/// The scenario of a name.
///
/// # Errors
/// When there is none.
pub fn find(name: &str) -> Outcome<Scenario> {
    all().into_iter().find(|it| it.name == name).ok_or_else(|| Failure::new(format!("no scenario is called {name}")))
}

/// The role of a name.
///
/// # Errors
/// When there is none.
pub fn role(name: &str) -> Outcome<Role> {
    let tables = [roles::ROLES, deaths::ROLES, limits::ROLES, malice::ROLES, many::ROLES, windows::ROLES];
    let found = tables.into_iter().flatten().find(|role| role.name == name);
    found.copied().ok_or_else(|| Failure::new(format!("no role is called {name}")))
}

/// The number of the next message.
fn next_number(receiver: &mut Receiver) -> Outcome<u64> {
    receiver.receive_with(SOON.into(), |message| payload::number_of(message.bytes()))?
}

/// Receives messages `from..to`, in order.
fn expect_numbers(receiver: &mut Receiver, from: u64, to: u64) -> Outcome {
    for expected in from..to {
        let number = next_number(receiver).map_err(|failure| failure.at(format_args!("message {expected}")))?;
        ensure!(number == expected, "message {number} comes where {expected} is next");
    }
    Ok(())
}

/// The channel was closed here: the receiver learns that its peer was left, if it has not, and then nothing but the end.
fn expect_closed_here(receiver: &mut Receiver) -> Outcome {
    let mut end = receiver.receive(SOON.into());
    if matches!(&end, Err(ReceiveError::PeerGone(loss)) if loss.gone.reason == Reason::Left) {
        end = receiver.receive(SOON.into());
    }
    ensure!(matches!(end, Err(ReceiveError::Closed { .. })), "receive after close ends with {end:?}");
    Ok(())
}

/// The peer goes, after nothing more.
fn expect_gone(receiver: &mut Receiver) -> Outcome<Loss> {
    match receiver.receive(SOON.into()) {
        Err(ReceiveError::PeerGone(loss)) => Ok(loss),
        Err(error) => Err(Failure::new(format!("instead of the peer's end comes: {error}"))),
        Ok(received) => {
            Err(Failure::new(format!("a message of {} bytes comes after the last", received.payload_bytes())))
        }
    }
}

/// The peer goes for `reason`, after nothing more.
fn expect_end(receiver: &mut Receiver, reason: &Reason) -> Outcome<Loss> {
    let loss = expect_gone(receiver)?;
    ensure!(loss.gone.reason == *reason, "the peer ends with {} instead of {reason}", loss.gone.reason);
    Ok(loss)
}
