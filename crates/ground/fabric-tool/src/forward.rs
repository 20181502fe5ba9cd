//! A received message as one to be posted again.

use fabric::Message;
use fabric::channel::Received;
use fabric::tli::Borrowed;
use fabric::wire::message_flags;

/// The same message: kind, correlation, flags, stamp, tag, frames and their schemas. Bytes in a peer's window are copied.
pub(crate) fn again(received: Received) -> Message {
    let mut message = Message::of_kind(received.kind(), received.correlation());
    if let Some((nanoseconds, tag)) = received.extension() {
        message = message.with_timestamp(nanoseconds).with_tag(tag);
    }
    if received.flags() & message_flags::ERASE != 0 {
        message = message.erased();
    }
    for frame in received.into_frames() {
        match frame.bytes {
            Borrowed::Slice(slice) => message.push_shared(slice),
            Borrowed::Remote(remote) => message.push_external(remote.to_vec()),
        }
        message = message.with_schema(frame.schema);
    }
    message
}
