//! Commands as octets. Addresses and parameters were checked when they were taken in, so nothing here can smuggle a
//! line end; [`message::Address`] refuses control octets, and xtext has none.

use super::Dialect;
use super::capabilities::{Capabilities, Extension};
use message::{BodyType, Envelope, Notify, Recipient, Return, Utf8};
use std::io::Write;

/// EHLO, or LHLO where that is spoken.
pub(super) fn ehlo(out: &mut Vec<u8>, dialect: Dialect, name: &str) {
    let verb = match dialect {
        Dialect::Smtp => "EHLO ",
        Dialect::Lmtp => "LHLO ",
    };
    line(out, &[verb, name]);
}

/// HELO.
pub(super) fn helo(out: &mut Vec<u8>, name: &str) {
    line(out, &["HELO ", name]);
}

/// A command without parameters.
pub(super) fn bare(out: &mut Vec<u8>, verb: &str) {
    line(out, &[verb]);
}

/// MAIL with what the peer offers to take (RFC 5321 §4.1.1.2). `size` is of the message with its trace header.
pub(super) fn mail(out: &mut Vec<u8>, envelope: &Envelope, body_type: BodyType, size: u64, peer: &Capabilities) {
    let sender = envelope.sender.as_ref().map_or("", |address| address.as_str());
    put(out, &["MAIL FROM:<", sender, ">"]);
    if peer.has(Extension::Size) {
        number(out, " SIZE=", size);
    }
    match body_type {
        BodyType::SevenBit => {}
        BodyType::EightBit => put(out, &[" BODY=8BITMIME"]),
        BodyType::Binary => put(out, &[" BODY=BINARYMIME"]),
    }
    if envelope.utf8 == Utf8::Yes {
        put(out, &[" SMTPUTF8"]);
    }
    if peer.has(Extension::Dsn) {
        match envelope.ret {
            None => {}
            Some(Return::Full) => put(out, &[" RET=FULL"]),
            Some(Return::Headers) => put(out, &[" RET=HDRS"]),
        }
        if let Some(envid) = &envelope.envid {
            put(out, &[" ENVID=", envid]);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// RCPT with DSN parameters where they are offered (RFC 3461 §4).
pub(super) fn rcpt(out: &mut Vec<u8>, recipient: &Recipient, peer: &Capabilities) {
    put(out, &["RCPT TO:<", recipient.address.as_str(), ">"]);
    if peer.has(Extension::Dsn) {
        notify(out, recipient.notify);
        if let Some(orcpt) = &recipient.orcpt {
            put(out, &[" ORCPT=", orcpt]);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn notify(out: &mut Vec<u8>, notify: Notify) {
    let keywords = match notify {
        Notify::Unset => return,
        Notify::Never => return put(out, &[" NOTIFY=NEVER"]),
        Notify::On { success, failure, delay } => [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")],
    };
    let mut before = " NOTIFY=";
    for (_, keyword) in keywords.into_iter().filter(|(wanted, _)| *wanted) {
        put(out, &[before, keyword]);
        before = ",";
    }
}

/// `BDAT size LAST` (RFC 3030 §2).
pub(super) fn bdat_last(out: &mut Vec<u8>, size: u64) {
    number(out, "BDAT ", size);
    put(out, &[" LAST\r\n"]);
}

fn line(out: &mut Vec<u8>, parts: &[&str]) {
    put(out, parts);
    out.extend_from_slice(b"\r\n");
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn number(out: &mut Vec<u8>, before: &str, number: u64) {
    write!(out, "{before}{number}").expect("a vector takes everything");
}
