//! Raw channels: windows only. The application fills a window where it lies, ships it, and reads the peer's where they lie; nothing is queued or clubbed.
//!
//! A window goes as one message of one frame, so that both kinds of channels speak the same format. One thread at a time takes and ships, in the
//! order of taking: the borrow of the channel by [`RawWindow`] makes it so. While a window is taken and not shipped, the channel makes no other progress.

use super::deadline::Deadline;
use super::error::{Loss, PostError, ReceiveError, Refusal};
use super::intake::{Intake, Place};
use super::pump::{Fate, Pump};
use super::shared::{Held, Shared};
use super::{Channel, Receiver};
use crate::tli::Erase;
use crate::wire::{FRAME_HEADER, MESSAGE_HEADER};

/// A channel of windows.
pub struct RawChannel {
    channel: Channel,
    receiver: Receiver,
}

/// A window leased for writing. Dropping it unshipped leaves it for the next [`RawChannel::take`].
pub struct RawWindow<'a> {
    shared: &'a Shared,
    pump: Held<'a>,
    size: usize,
}

/// A window leased for reading. Dropping it disposes of it.
pub struct RawReceived<'a> {
    intake: &'a mut Intake,
    place: Place,
}

impl RawChannel {
    /// Makes a raw channel of a channel that has no senders and receives without a queue.
    pub fn new(channel: Channel, receiver: Receiver) -> Self {
        Self { channel, receiver }
    }

    /// The channel below, for its state, statistics and closing.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Bytes that a window takes.
    pub fn window_bytes(&self) -> usize {
        self.channel.core.shared.limits[0] - MESSAGE_HEADER - FRAME_HEADER
    }

    /// Leases a window for writing; waits for one until `deadline`.
    ///
    /// # Errors
    /// When none is free in time, the peer is gone, or the channel is closed.
    pub fn take(&mut self, deadline: Deadline) -> Result<RawWindow<'_>, PostError> {
        let shared = &*self.channel.core.shared;
        let size = self.window_bytes();
        let mut refused = None;
        let taken = shared.wait_until(deadline, || {
            refused = super::sender::closed(shared);
            refused.is_some() || shared.pump().take_raw() == Fate::Sent
        });
        match refused {
            Some(why) => Err(PostError { channel: shared.name.clone(), message: Box::default(), why }),
            None if taken => Ok(RawWindow { shared, pump: shared.pump(), size }),
            None => Err(PostError { channel: shared.name.clone(), message: Box::default(), why: Refusal::Busy }),
        }
    }

    /// Leases the next window of the peer for reading; waits for it until `deadline`.
    ///
    /// # Errors
    /// When none came, the peer is gone, or the channel is closed.
    pub fn receive(&mut self, deadline: Deadline) -> Result<RawReceived<'_>, ReceiveError> {
        let place = self.receiver.wait_place(deadline)?;
        Ok(RawReceived { intake: self.receiver.intake(), place })
    }
}

impl RawWindow<'_> {
    /// The bytes, those of an earlier use until overwritten.
    ///
    /// # Errors
    /// When the peer is gone meanwhile.
    pub fn bytes_mut(&mut self) -> Result<&mut [u8], Loss> {
        let size = self.size;
        match self.pump.raw_bytes(size) {
            Some(bytes) => Ok(bytes),
            None => Err(lost(self.shared)),
        }
    }

    /// Ships the first `len` bytes; with [`Erase::Zero`] the window is zeroed when it comes back.
    ///
    /// # Errors
    /// When the peer is gone.
    ///
    /// # Panics
    /// When `len` is over the window's size.
    pub fn ship(mut self, len: usize, erase: Erase) -> Result<(), Loss> {
        assert!(len <= self.size, "ship {len} bytes of a window of {}", self.size);
        match self.pump.ship_raw(len, erase) {
            Fate::Sent => Ok(()),
            _ => Err(lost_of(&self.pump, self.shared)),
        }
    }
}

fn lost(shared: &Shared) -> Loss {
    Loss {
        channel: shared.name.clone(),
        gone: crate::tli::PeerGone { peer: String::new(), reason: crate::tli::Reason::Died },
        in_doubt: 0,
    }
}

fn lost_of(pump: &Pump, shared: &Shared) -> Loss {
    pump.last_loss().cloned().unwrap_or_else(|| lost(shared))
}

impl RawReceived<'_> {
    /// Bytes shipped.
    pub fn len(&self) -> usize {
        self.intake.raw_len(self.place)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes where they lie; `None` when the peer could change them and is not trusted: copy them.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        self.intake.raw_bytes(self.place)
    }

    /// Copies all bytes out.
    pub fn to_vec(&self) -> Vec<u8> {
        self.intake.raw_copy(self.place)
    }
}

impl Drop for RawReceived<'_> {
    fn drop(&mut self) {
        self.intake.pass(self.place);
    }
}
