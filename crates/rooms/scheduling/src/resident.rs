//! Messages that stay in memory for their next attempt: bounded in number and octets, the oldest go first.
//!
//! A message leaves when its last recipient is settled, when it failed too often, or when others push it out; a
//! recipient notices when it asks for the message, and the connection then reads it from the spool.

use crate::line::NONE;
use message::{Content, Message, MessageId};
use std::collections::VecDeque;
use std::sync::Arc;

/// How much may stay in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResidentLimits {
    /// Messages.
    pub messages: u32,
    /// Octets of all of them together.
    pub octets: u64,
}

impl Default for ResidentLimits {
    fn default() -> Self {
        Self { messages: 32_768, octets: 64 << 20 }
    }
}

/// What a message costs besides its octets: envelope, addresses, the rest of its windows.
const MESSAGE_OCTETS: u64 = 1024;

/// The messages in memory, in the order of their arrival. A message has a serial number, given in that order.
#[derive(Debug)]
pub(crate) struct Residents {
    limits: ResidentLimits,
    /// The serial number of the first slot.
    base: u32,
    slots: VecDeque<Option<Slot>>,
    messages: u32,
    octets: u64,
}

#[derive(Debug)]
struct Slot {
    message: Arc<Message>,
    /// Recipients that may ask for it.
    shares: u32,
}

impl Residents {
    pub(crate) fn new(limits: ResidentLimits) -> Self {
        Self { limits, base: 0, slots: VecDeque::new(), messages: 0, octets: 0 }
    }

    pub(crate) fn messages(&self) -> u32 {
        self.messages
    }

    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    pub(crate) fn set_limits(&mut self, limits: ResidentLimits) {
        self.limits = limits;
        self.shrink();
    }

    /// Keeps `message` for one recipient and returns its serial number. Recipients of one message come one behind the
    /// other, so that only the last message needs a look to find it again.
    pub(crate) fn keep(&mut self, message: Arc<Message>) -> u32 {
        if let Some(Some(last)) = self.slots.back_mut()
            && Arc::ptr_eq(&last.message, &message)
        {
            last.shares += 1;
            return self.base.wrapping_add(self.slots.len() as u32 - 1);
        }
        if self.base.wrapping_add(self.slots.len() as u32) == NONE {
            self.slots.push_back(None);
        }
        let serial = self.base.wrapping_add(self.slots.len() as u32);
        self.messages += 1;
        self.octets += weight(&message);
        self.slots.push_back(Some(Slot { message, shares: 1 }));
        self.shrink();
        serial
    }

    /// The message of that number, if it is still there. Numbers repeat after 2^32 messages: `id` tells them apart.
    pub(crate) fn get(&self, serial: u32, id: MessageId) -> Option<&Arc<Message>> {
        let slot = self.slots.get(self.place(serial)?)?.as_ref()?;
        (slot.message.id == id).then_some(&slot.message)
    }

    /// One recipient does not need the message any more.
    pub(crate) fn release(&mut self, serial: u32, id: MessageId) {
        let Some(place) = self.place(serial) else { return };
        let Some(slot) = &mut self.slots[place] else { return };
        if slot.message.id != id {
            return;
        }
        slot.shares -= 1;
        if slot.shares == 0 {
            self.drop_at(place);
            self.trim();
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.base = self.base.wrapping_add(self.slots.len() as u32);
        self.slots = VecDeque::new();
        (self.messages, self.octets) = (0, 0);
    }

    fn place(&self, serial: u32) -> Option<usize> {
        let place = serial.wrapping_sub(self.base) as usize;
        (serial != NONE && place < self.slots.len()).then_some(place)
    }

    fn drop_at(&mut self, place: usize) {
        if let Some(slot) = self.slots[place].take() {
            self.messages -= 1;
            self.octets -= weight(&slot.message);
        }
    }

    /// Drops the oldest until the limits hold. The gaps between messages that stay long are bounded as well.
    fn shrink(&mut self) {
        let slots_max = 2 * self.limits.messages as usize + 1024;
        while self.messages > self.limits.messages || self.octets > self.limits.octets || self.slots.len() > slots_max {
            self.drop_at(0);
            self.trim();
        }
    }

    /// The first slot holds a message, or there is none.
    fn trim(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.base = self.base.wrapping_add(1);
        }
    }
}

fn weight(message: &Message) -> u64 {
    let content = match &message.content {
        Content::Resident(body) => body.len(),
        Content::Spooled { .. } => 0,
    };
    message.trace.len() as u64 + content + MESSAGE_OCTETS
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use message::{BodyType, Dots, Envelope, Protocol, Reception, UnixMicros, Utf8};

    /// A message with a body of `octets`.
    pub(crate) fn message(id: u128, octets: usize) -> Arc<Message> {
        let envelope = Envelope {
            sender: None,
            recipients: vec![],
            body_type: BodyType::SevenBit,
            utf8: Utf8::No,
            ret: None,
            envid: None,
        };
        let reception = Reception {
            at: UnixMicros(0),
            connection: MessageId::NONE,
            peer: None,
            protocol: Protocol::Internal,
            helo: "".into(),
            dots: Dots::None,
        };
        let body = fabric::Slice::from_vec(vec![b'x'; octets]);
        let content = Content::Resident(body.into());
        Arc::new(Message { id: MessageId(id), envelope, reception, trace: fabric::Slice::default(), content })
    }

    #[test]
    fn recipients_share_and_the_last_one_frees() {
        let mut residents = Residents::new(ResidentLimits::default());
        let one = message(1, 100);
        let (a, b) = (residents.keep(Arc::clone(&one)), residents.keep(Arc::clone(&one)));
        assert_eq!((a, residents.messages(), residents.octets()), (b, 1, 1124));
        residents.release(a, MessageId(1));
        assert!(residents.get(b, MessageId(1)).is_some());
        assert!(residents.get(b, MessageId(2)).is_none());
        residents.release(b, MessageId(1));
        assert_eq!((residents.messages(), residents.octets(), Arc::strong_count(&one)), (0, 0, 1));
    }

    #[test]
    fn the_oldest_go_first() {
        let mut residents = Residents::new(ResidentLimits { messages: 2, octets: 10_000 });
        let serials: Vec<_> = (0..3).map(|id| residents.keep(message(id, 10))).collect();
        let there = |residents: &Residents| {
            (0..3).map(|n| residents.get(serials[n], MessageId(n as u128)).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(there(&residents), [false, true, true]);
        residents.release(serials[0], MessageId(0));
        assert_eq!(residents.messages(), 2);
        residents.keep(message(9, 8000));
        assert_eq!(there(&residents), [false, false, false]);
        assert_eq!(residents.messages(), 1);
        residents.keep(message(10, 20_000));
        assert_eq!((residents.messages(), residents.octets()), (0, 0));
    }

    #[test]
    fn a_message_that_stays_does_not_hold_endless_gaps() {
        let mut residents = Residents::new(ResidentLimits { messages: 4, octets: u64::MAX });
        residents.base = u32::MAX - 700;
        let first = residents.keep(message(1, 1));
        for id in 2..5000 {
            let serial = residents.keep(message(id, 1));
            assert_ne!(serial, NONE);
            residents.release(serial, MessageId(id));
        }
        assert!(residents.slots.len() <= 1032);
        assert!(residents.get(first, MessageId(1)).is_none());
        residents.clear();
        residents.release(first, MessageId(1));
    }
}
