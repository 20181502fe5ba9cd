//! The futures of one event loop that wait for the writers, by seat number.
//!
//! A completion wakes its task by the loop's own means: nothing here is shared between threads, and a seat is reused
//! without an allocation. A future that is dropped early leaves its seat marked, so that what was stored for nobody is
//! taken back.

use super::volume::Stored;
use message::StoreError;
use std::cell::RefCell;
use std::task::{Context, Poll, Waker};

/// See the module.
#[derive(Default)]
pub(super) struct Waiters {
    seats: RefCell<Vec<Seat>>,
    free: RefCell<Vec<u32>>,
}

enum Seat {
    Free,
    Waiting(Option<Waker>),
    Done(Result<Stored, StoreError>),
    /// Nobody waits any more.
    Left,
}

impl Waiters {
    /// Takes a seat.
    pub(super) fn sit(&self) -> u32 {
        let mut seats = self.seats.borrow_mut();
        let seat = self.free.borrow_mut().pop().unwrap_or_else(|| {
            seats.push(Seat::Free);
            seats.len() as u32 - 1
        });
        seats[seat as usize] = Seat::Waiting(None);
        seat
    }

    /// A completion came; gives back what nobody waits for.
    pub(super) fn complete(&self, seat: u32, result: Result<Stored, StoreError>) -> Option<Stored> {
        let mut seats = self.seats.borrow_mut();
        let place = seats.get_mut(seat as usize)?;
        match std::mem::replace(place, Seat::Done(result)) {
            Seat::Waiting(waker) => {
                drop(seats);
                waker.into_iter().for_each(Waker::wake);
                None
            }
            Seat::Left => {
                *place = Seat::Free;
                self.free.borrow_mut().push(seat);
                result.ok()
            }
            other => {
                debug_assert!(false, "a seat is completed once");
                *place = other;
                None
            }
        }
    }

    /// The writers are gone: everyone who waits is told so.
    pub(super) fn complete_all(&self, error: StoreError) {
        let count = self.seats.borrow().len() as u32;
        for seat in 0..count {
            let waits = matches!(self.seats.borrow()[seat as usize], Seat::Waiting(_) | Seat::Left);
            if waits {
                self.complete(seat, Err(error));
            }
        }
    }

    /// The result, once it is there; then the seat is free.
    pub(super) fn poll(&self, seat: u32, cx: &mut Context<'_>) -> Poll<Result<Stored, StoreError>> {
        let mut seats = self.seats.borrow_mut();
        let place = &mut seats[seat as usize];
        match place {
            Seat::Done(result) => {
                let result = *result;
                *place = Seat::Free;
                self.free.borrow_mut().push(seat);
                Poll::Ready(result)
            }
            Seat::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            _ => {
                *place = Seat::Waiting(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// The future is dropped; gives back what had been stored for it.
    pub(super) fn leave(&self, seat: u32) -> Option<Stored> {
        let mut seats = self.seats.borrow_mut();
        let place = &mut seats[seat as usize];
        match std::mem::replace(place, Seat::Left) {
            Seat::Done(result) => {
                *place = Seat::Free;
                self.free.borrow_mut().push(seat);
                result.ok()
            }
            _ => None,
        }
    }
}
