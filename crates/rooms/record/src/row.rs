//! The octets of a row: fields between separators, made safe so that a row stays one row.

use crate::recorder::Timestamps;
use message::UnixMicros;
use std::fmt::{Display, Write as _};
use std::net::IpAddr;

/// The time of a row.
pub(crate) struct Moment(pub(crate) UnixMicros, pub(crate) Timestamps);

impl Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.1 {
            Timestamps::Seconds => write!(f, "{}", self.0.seconds()),
            Timestamps::Micros => write!(f, "{}", self.0.0),
        }
    }
}

/// Puts the fields of one row into a buffer.
pub(crate) struct Row<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Row<'a> {
    /// Begins a row with its first field.
    pub(crate) fn begin(out: &'a mut Vec<u8>, first: impl Display) -> Self {
        let mut row = Self { out };
        row.put(first);
        row
    }

    fn put(&mut self, value: impl Display) {
        struct Sink<'b>(&'b mut Vec<u8>);
        impl std::fmt::Write for Sink<'_> {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                self.0.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
        // Writing into a Vec cannot fail.
        let _ = write!(Sink(self.out), "{value}");
    }

    /// A field whose text is ours and holds no separator.
    pub(crate) fn field(mut self, value: impl Display) -> Self {
        self.out.push(b'@');
        self.put(value);
        self
    }

    /// A field with a peer's text: `@` and `\` get a backslash, control octets become `?`.
    pub(crate) fn text(self, value: &str) -> Self {
        self.out.push(b'@');
        for &octet in value.as_bytes() {
            match octet {
                b'@' | b'\\' => self.out.extend_from_slice(&[b'\\', octet]),
                0..32 | 127 => self.out.push(b'?'),
                _ => self.out.push(octet),
            }
        }
        self
    }

    /// An address field; empty if there is none.
    pub(crate) fn ip(self, ip: Option<IpAddr>) -> Self {
        match ip {
            Some(ip) => self.field(ip),
            None => self.field(""),
        }
    }

    /// The last field, free text: line ends become spaces, other control octets `?`. Ends the row.
    pub(crate) fn last(mut self, value: impl Display) {
        self.out.push(b'@');
        let from = self.out.len();
        self.put(value);
        for octet in &mut self.out[from..] {
            match *octet {
                b'\n' | b'\r' | b'\t' => *octet = b' ',
                0..32 | 127 => *octet = b'?',
                _ => {}
            }
        }
        self.end();
    }

    /// Ends the row.
    pub(crate) fn end(self) {
        self.out.push(b'\n');
    }
}
