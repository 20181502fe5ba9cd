//! Rows of the reject log: one refused client command each, as `key=value` words.

use crate::recorder::Timestamps;
use crate::row::Moment;
use message::{Event, Rejection};
use std::io::Write as _;

/// Appends the row of a refusal; other events have none.
pub(crate) fn reject_row(out: &mut Vec<u8>, event: &Event<'_>, timestamps: Timestamps) {
    let Event::Rejected(rejection) = event else { return };
    let Rejection { at, peer, local, connection, pathway, phase, code, module, sender, recipient, text } = rejection;
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{}: R=\"{peer}\" L=\"{local}\" C=\"{connection}\" PATH=", Moment(*at, timestamps));
    quoted(out, pathway);
    out.extend_from_slice(b" PATH_GRP=\"default\" P=");
    quoted(out, phase);
    let _ = write!(out, " E={code} M={module} CTXCONN=[] CTXMESS=[");
    let mut first = true;
    for (key, value) in [("mailfrom_string", sender), ("rcptto_string", recipient)] {
        if let Some(value) = value {
            out.extend_from_slice(if first { b"" } else { b"," });
            out.extend_from_slice(key.as_bytes());
            out.push(b'=');
            quoted(out, value);
            first = false;
        }
    }
    out.extend_from_slice(b"] ");
    out.extend(text.bytes().map(|octet| if octet.is_ascii_control() { b' ' } else { octet }));
    out.push(b'\n');
}

/// A quoted word; quotes and backslashes in it get a backslash, control octets become `?`.
fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for octet in text.bytes() {
        match octet {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', octet]),
            0..32 | 127 => out.push(b'?'),
            _ => out.push(octet),
        }
    }
    out.push(b'"');
}
