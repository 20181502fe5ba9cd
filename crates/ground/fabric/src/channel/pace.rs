//! How long a receiver that has caught up with a busy sender stands back before it looks again.
//!
//! Who looks at every message as soon as it is committed takes the cache line from its writer each time, and both then go at the pace of the bus: on
//! processors 60 ns apart, 12 million messages of 64 bytes a second instead of 30. Who stands back for an instant finds several on a line.
//!
//! A reply to a request cannot come sooner than two such trips, so a receiver of single messages stands back for less than that; only one that found
//! several since the last time stands back longer, half a microsecond at most.

/// Pauses of the processor, of some 15 ns each.
const SHORT: u32 = 4;
const LONG: u32 = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    /// Messages received when we last stood back.
    seen: u64,
    pauses: u32,
}

impl Pace {
    pub(super) const fn new() -> Self {
        Self { seen: 0, pauses: SHORT }
    }

    /// There is nothing, after `messages` received in all: how many pauses to make before the next look.
    #[inline]
    pub(super) fn stand_back(&mut self, messages: u64) -> u32 {
        let caught = messages - std::mem::replace(&mut self.seen, messages);
        self.pauses = match caught {
            0 => return 0,
            1 => SHORT,
            _ => (self.pauses * 2).min(LONG),
        };
        self.pauses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_messages_are_waited_for_closely_and_streams_are_not() {
        let mut pace = Pace::new();
        assert_eq!(pace.stand_back(1), SHORT);
        assert_eq!(pace.stand_back(1), 0, "once a message");
        assert_eq!(pace.stand_back(2), SHORT);
        assert_eq!((pace.stand_back(5), pace.stand_back(9), pace.stand_back(19)), (8, 16, 32));
        assert_eq!(pace.stand_back(90), LONG);
        assert_eq!(pace.stand_back(91), SHORT, "a single one");
    }
}
