//! The durable form of all of a message but its octets: what a journal record or a metadata file holds.
//!
//! ```text
//! u8 version = 1
//! u8 flags      1 sender given, 2 envid, 4 RET=FULL, 8 RET=HDRS, 16 SMTPUTF8, 32 no line starts with a dot
//! u8 body type  0 7bit, 1 8bit, 2 binary
//! u8 protocol   0 SMTP, 1 ESMTP, 2 UTF8SMTP, 3 LMTP, 4 internal
//! u8 peer kind  0 none, 4, 6       then 0, 4 or 16 octets
//! u64 received, microseconds;  u128 connection;  text helo
//! [text sender local, text sender domain]  [text envid]
//! u16 recipients, each: u8 notify (1 given, 2 never, 4 success, 8 failure, 16 delay, 32 ORCPT follows), text local, text domain, [text orcpt]
//! u32 octets of trace;  u64 octets of content
//! then extensions to the end: u8 tag, u32 length, octets; unknown tags are kept out of the way
//! ```
//! Numbers are little-endian; a text is a u16 length and UTF-8. Nothing is separated by line ends (compare a newline
//! in an ORCPT, which once rewrote another server's spool file).

use crate::message::Dots;
use crate::{Address, BodyType, Content, Envelope, Message, MessageId, Notify, Protocol, Reception, Recipient, Return};
use crate::{UnixMicros, Utf8};
use fabric::Slice;
use std::net::IpAddr;

const VERSION: u8 = 1;

/// Why bytes are no metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// They end too early.
    Short,
    /// Written by a newer version.
    Version(u8),
    /// A field has a value it cannot have; its name.
    Field(&'static str),
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => f.write_str("metadata ends too early"),
            Self::Version(version) => write!(f, "metadata of unknown version {version}"),
            Self::Field(name) => write!(f, "metadata has an impossible {name}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Appends the durable form of `message`, without trace and content octets, to `out`.
pub fn encode_meta(message: &Message, out: &mut Vec<u8>) {
    let (envelope, reception) = (&message.envelope, &message.reception);
    let flag = |set: bool, bit: u8| if set { bit } else { 0 };
    out.push(VERSION);
    out.push(
        flag(envelope.sender.is_some(), 1)
            | flag(envelope.envid.is_some(), 2)
            | flag(envelope.ret == Some(Return::Full), 4)
            | flag(envelope.ret == Some(Return::Headers), 8)
            | flag(envelope.utf8 == Utf8::Yes, 16)
            | flag(reception.dots == Dots::None, 32),
    );
    out.push(envelope.body_type as u8);
    out.push(reception.protocol as u8);
    match reception.peer {
        None => out.push(0),
        Some(IpAddr::V4(peer)) => {
            out.push(4);
            out.extend_from_slice(&peer.octets());
        }
        Some(IpAddr::V6(peer)) => {
            out.push(6);
            out.extend_from_slice(&peer.octets());
        }
    }
    out.extend_from_slice(&reception.at.0.to_le_bytes());
    out.extend_from_slice(&reception.connection.0.to_le_bytes());
    put_text(out, &reception.helo);
    if let Some(sender) = &envelope.sender {
        put_address(out, sender);
    }
    if let Some(envid) = &envelope.envid {
        put_text(out, envid);
    }
    out.extend_from_slice(&(envelope.recipients.len() as u16).to_le_bytes());
    for recipient in &envelope.recipients {
        out.push(notify_bits(recipient.notify) | flag(recipient.orcpt.is_some(), 32));
        put_address(out, &recipient.address);
        if let Some(orcpt) = &recipient.orcpt {
            put_text(out, orcpt);
        }
    }
    out.extend_from_slice(&(message.trace.len() as u32).to_le_bytes());
    out.extend_from_slice(&message.content.len().to_le_bytes());
}

fn notify_bits(notify: Notify) -> u8 {
    match notify {
        Notify::Unset => 0,
        Notify::Never => 1 | 2,
        Notify::On { success, failure, delay } => {
            1 | u8::from(success) << 2 | u8::from(failure) << 3 | u8::from(delay) << 4
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // Texts come from command lines, which are bounded far below this; a longer one is cut at a character.
    let mut end = text.len().min(u16::MAX as usize);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&(end as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}

fn put_address(out: &mut Vec<u8>, address: &Address) {
    put_text(out, address.local_part());
    put_text(out, address.domain_text());
}

/// A message without its octets, and how many of them belong to it.
#[derive(Debug)]
pub struct MetaDecoder {
    /// The message: empty trace, content [`Content::Spooled`].
    pub message: Message,
    /// Octets of the trace header, which stand before the content.
    pub trace_len: u32,
}

/// Reads what [`encode_meta`] wrote. `id` comes from the record's header.
///
/// # Errors
/// See [`DecodeError`]; never panics and never allocates more than the input is long.
pub fn decode_meta(id: MessageId, bytes: &[u8]) -> Result<MetaDecoder, DecodeError> {
    let mut input = Input(bytes);
    let version = input.u8()?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let flags = input.u8()?;
    let body_type = match input.u8()? {
        0 => BodyType::SevenBit,
        1 => BodyType::EightBit,
        2 => BodyType::Binary,
        _ => return Err(DecodeError::Field("body type")),
    };
    let reception = decode_reception(&mut input, flags)?;
    let sender = if flags & 1 != 0 { Some(input.address("sender")?) } else { None };
    let envid = if flags & 2 != 0 { Some(input.text("envid")?.into()) } else { None };
    let ret = match flags & 12 {
        4 => Some(Return::Full),
        8 => Some(Return::Headers),
        0 => None,
        _ => return Err(DecodeError::Field("RET")),
    };
    let utf8 = if flags & 16 != 0 { Utf8::Yes } else { Utf8::No };
    let recipients = decode_recipients(&mut input)?;
    let trace_len = u32::from_le_bytes(input.array()?);
    let len = u64::from_le_bytes(input.array()?);
    let envelope = Envelope { sender, recipients, body_type, utf8, ret, envid };
    let message = Message { id, envelope, reception, trace: Slice::empty(), content: Content::Spooled { len } };
    Ok(MetaDecoder { message, trace_len })
}

fn decode_reception(input: &mut Input<'_>, flags: u8) -> Result<Reception, DecodeError> {
    let protocol = match input.u8()? {
        0 => Protocol::Smtp,
        1 => Protocol::Esmtp,
        2 => Protocol::Utf8Smtp,
        3 => Protocol::Lmtp,
        4 => Protocol::Internal,
        _ => return Err(DecodeError::Field("protocol")),
    };
    let peer = match input.u8()? {
        0 => None,
        4 => Some(IpAddr::from(input.array::<4>()?)),
        6 => Some(IpAddr::from(input.array::<16>()?)),
        _ => return Err(DecodeError::Field("peer")),
    };
    let at = UnixMicros(u64::from_le_bytes(input.array()?));
    let connection = MessageId(u128::from_le_bytes(input.array()?));
    let helo = input.text("helo")?.into();
    let dots = if flags & 32 != 0 { Dots::None } else { Dots::Some };
    Ok(Reception { at, connection, peer, protocol, helo, dots })
}

fn decode_recipients(input: &mut Input<'_>) -> Result<Vec<Recipient>, DecodeError> {
    let count = u16::from_le_bytes(input.array()?) as usize;
    // A recipient takes at least six octets: what a forged count may make us reserve is bounded by the input.
    let mut recipients = Vec::with_capacity(count.min(input.0.len() / 6 + 1));
    for _ in 0..count {
        let bits = input.u8()?;
        let notify = match bits & 3 {
            0 => Notify::Unset,
            1 => Notify::On { success: bits & 4 != 0, failure: bits & 8 != 0, delay: bits & 16 != 0 },
            3 => Notify::Never,
            _ => return Err(DecodeError::Field("NOTIFY")),
        };
        let address = input.address("recipient")?;
        let orcpt = if bits & 32 != 0 { Some(input.text("ORCPT")?.into()) } else { None };
        recipients.push(Recipient { address, notify, orcpt });
    }
    if recipients.is_empty() {
        return Err(DecodeError::Field("number of recipients"));
    }
    Ok(recipients)
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(DecodeError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Short)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    fn text(&mut self, name: &'static str) -> Result<&'a str, DecodeError> {
        let len = u16::from_le_bytes(self.array()?) as usize;
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Field(name))
    }

    fn address(&mut self, name: &'static str) -> Result<Address, DecodeError> {
        let local = self.text(name)?;
        let domain = self.text(name)?;
        Address::new(local, domain).map_err(|_| DecodeError::Field(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Message {
        let recipient = |local: &str, notify, orcpt: Option<&str>| Recipient {
            address: Address::new(local, "example.org").unwrap(),
            notify,
            orcpt: orcpt.map(Into::into),
        };
        Message {
            id: MessageId::new(1, 2, 3, 4),
            envelope: Envelope {
                sender: Some(Address::new("s", "[ipv6:::1]").unwrap()),
                recipients: vec![
                    recipient("a", Notify::Unset, None),
                    recipient("\"b c\"", Notify::Never, Some("rfc822;b+40c")),
                    recipient("ü", Notify::On { success: true, failure: false, delay: true }, None),
                ],
                body_type: BodyType::EightBit,
                utf8: Utf8::Yes,
                ret: Some(Return::Headers),
                envid: Some("x+3D".into()),
            },
            reception: Reception {
                at: UnixMicros(1_700_000_000_123_456),
                connection: MessageId::new(9, 8, 7, 6),
                peer: Some("::1".parse().unwrap()),
                protocol: Protocol::Utf8Smtp,
                helo: "client.example".into(),
                dots: Dots::None,
            },
            trace: Slice::copy_from(b"Received: x\r\n"),
            content: Content::Spooled { len: 77 },
        }
    }

    #[test]
    fn round_trip_and_every_cut() {
        let message = sample();
        let mut bytes = Vec::new();
        encode_meta(&message, &mut bytes);
        let decoded = decode_meta(message.id, &bytes).unwrap();
        assert_eq!(decoded.message.envelope, message.envelope);
        assert_eq!(decoded.message.reception, message.reception);
        assert_eq!((decoded.trace_len, decoded.message.content.len()), (13, 77));
        for cut in 0..bytes.len() {
            assert_eq!(decode_meta(message.id, &bytes[..cut]).err(), Some(DecodeError::Short), "cut at {cut}");
        }
    }

    #[test]
    fn any_flipped_byte_is_an_error_or_another_message_but_no_panic() {
        let mut bytes = Vec::new();
        encode_meta(&sample(), &mut bytes);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let _ = decode_meta(MessageId::NONE, &bytes);
                bytes[at] ^= 1 << bit;
            }
        }
        bytes[0] = 2;
        assert_eq!(decode_meta(MessageId::NONE, &bytes).err(), Some(DecodeError::Version(2)));
    }
}
