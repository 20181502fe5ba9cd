//! One command line into a [`Command`].

use super::mailbox::{Path, PathError, take_path};
use super::parameter::{self, place};
use super::{Extensions, ForwardPath, ReversePath, SyntaxError, domain};
use message::{BodyType, Notify, Return, Utf8};

/// A command, borrowed from its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO, HELO or LHLO with the client's name.
    Greet(Greeting, &'a str),
    /// MAIL
    Mail(Mail<'a>),
    /// RCPT
    Rcpt(Rcpt<'a>),
    /// DATA
    Data,
    /// BDAT (RFC 3030 §2).
    Bdat {
        /// Octets that follow the line; saturated.
        size: u64,
        /// Whether `LAST` was given.
        last: bool,
    },
    /// RSET
    Rset,
    /// NOOP
    Noop,
    /// VRFY
    Vrfy,
    /// HELP
    Help,
    /// QUIT
    Quit,
}

impl Command<'_> {
    /// Its name, as the reject log writes it.
    pub const fn phase(&self) -> &'static str {
        match self {
            Self::Greet(Greeting::Helo, _) => "HELO",
            Self::Greet(Greeting::Ehlo, _) => "EHLO",
            Self::Greet(Greeting::Lhlo, _) => "LHLO",
            Self::Mail(_) => "MAIL FROM",
            Self::Rcpt(_) => "RCPT TO",
            Self::Data => "DATA",
            Self::Bdat { .. } => "BDAT",
            Self::Rset => "RSET",
            Self::Noop => "NOOP",
            Self::Vrfy => "VRFY",
            Self::Help => "HELP",
            Self::Quit => "QUIT",
        }
    }
}

/// How the client greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// HELO: no extensions.
    Helo,
    /// EHLO
    Ehlo,
    /// LHLO (RFC 2033 §4.1).
    Lhlo,
}

/// MAIL and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mail<'a> {
    /// The reverse-path.
    pub path: ReversePath<'a>,
    /// SIZE in octets; saturated.
    pub size: Option<u64>,
    /// BODY
    pub body: Option<BodyType>,
    /// SMTPUTF8
    pub utf8: Utf8,
    /// RET
    pub ret: Option<Return>,
    /// ENVID in xtext.
    pub envid: Option<&'a str>,
}

/// RCPT and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rcpt<'a> {
    /// The forward-path.
    pub path: ForwardPath<'a>,
    /// NOTIFY
    pub notify: Notify,
    /// ORCPT as written.
    pub orcpt: Option<&'a str>,
}

impl Rcpt<'_> {
    /// Whether it needs no SMTPUTF8 in MAIL.
    pub fn is_ascii(&self) -> bool {
        let path = match self.path {
            ForwardPath::Postmaster => true,
            ForwardPath::Mailbox(mailbox) => mailbox.is_ascii(),
        };
        path && self.orcpt.is_none_or(str::is_ascii)
    }
}

/// Reads one line without its line end.
///
/// # Errors
/// See [`SyntaxError`].
pub fn parse_command(line: &[u8], extensions: Extensions) -> Result<Command<'_>, SyntaxError> {
    if line.iter().any(u8::is_ascii_control) {
        return Err(SyntaxError::Octet);
    }
    let line = line.trim_ascii_end();
    let (verb, rest) = match memchr::memchr(b' ', line) {
        Some(at) => (&line[..at], line[at..].trim_ascii_start()),
        None => (line, &b""[..]),
    };
    let mut upper = [0; VERB_MAX];
    let Some(name) = upper.get_mut(..verb.len()) else { return Err(unknown(verb)) };
    name.copy_from_slice(verb);
    name.make_ascii_uppercase();
    match &*name {
        b"MAIL" => mail(rest, extensions).map(Command::Mail),
        b"RCPT" => rcpt(rest, extensions).map(Command::Rcpt),
        b"DATA" => without_argument(rest, Command::Data),
        b"BDAT" => bdat(rest),
        b"EHLO" => greet(Greeting::Ehlo, rest),
        b"HELO" => greet(Greeting::Helo, rest),
        b"LHLO" => greet(Greeting::Lhlo, rest),
        b"RSET" => without_argument(rest, Command::Rset),
        b"QUIT" => without_argument(rest, Command::Quit),
        b"NOOP" => text_argument(rest).map(|_| Command::Noop),
        b"HELP" => text_argument(rest).map(|_| Command::Help),
        b"VRFY" if rest.is_empty() => Err(SyntaxError::ArgumentMissing),
        b"VRFY" => text_argument(rest).map(|_| Command::Vrfy),
        b"EXPN" | b"ETRN" | b"TURN" | b"ATRN" | b"SEND" | b"SOML" | b"SAML" | b"AUTH" | b"STARTTLS" => {
            Err(SyntaxError::NotOffered)
        }
        _ => Err(unknown(verb)),
    }
}

/// Longest verb that we know, octets.
const VERB_MAX: usize = 8;

/// Whether a verb that is none of ours is one of HTTP's.
fn unknown(verb: &[u8]) -> SyntaxError {
    let foreign: [&[u8]; 9] =
        [b"GET", b"POST", b"PUT", b"HEAD", b"CONNECT", b"OPTIONS", b"DELETE", b"PATCH", b"User-Agent:"];
    match () {
        () if foreign.iter().any(|name| verb.eq_ignore_ascii_case(name)) => SyntaxError::Foreign,
        () if !verb.is_ascii() => SyntaxError::Octet,
        () => SyntaxError::Unknown,
    }
}

fn without_argument<'a>(rest: &[u8], command: Command<'a>) -> Result<Command<'a>, SyntaxError> {
    if rest.is_empty() { Ok(command) } else { Err(SyntaxError::ArgumentUnexpected) }
}

/// Free text: any UTF-8.
fn text_argument(rest: &[u8]) -> Result<&str, SyntaxError> {
    std::str::from_utf8(rest).map_err(|_| SyntaxError::Octet)
}

fn greet(greeting: Greeting, rest: &[u8]) -> Result<Command<'_>, SyntaxError> {
    if rest.is_empty() {
        return Err(SyntaxError::ArgumentMissing);
    }
    let name = std::str::from_utf8(rest).map_err(|_| SyntaxError::GreetingName)?;
    if domain::is_greeting_name(name) { Ok(Command::Greet(greeting, name)) } else { Err(SyntaxError::GreetingName) }
}

fn bdat(rest: &[u8]) -> Result<Command<'_>, SyntaxError> {
    let mut words = rest.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let size = words.next().and_then(parameter::decimal).ok_or(SyntaxError::ChunkSize)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return Err(SyntaxError::ChunkSize),
    };
    if words.next().is_some() { Err(SyntaxError::ChunkSize) } else { Ok(Command::Bdat { size, last }) }
}

/// What follows `keyword` (`FROM:` or `TO:`) in any case.
fn after_keyword<'a>(rest: &'a [u8], keyword: &[u8]) -> Result<&'a [u8], SyntaxError> {
    match rest.split_at_checked(keyword.len()) {
        Some((front, path)) if front.eq_ignore_ascii_case(keyword) => Ok(path.trim_ascii_start()),
        _ => Err(SyntaxError::PathMissing),
    }
}

fn path_error(error: PathError, malformed: SyntaxError) -> SyntaxError {
    match error {
        PathError::Missing => SyntaxError::PathMissing,
        PathError::Malformed => malformed,
        PathError::TooLong => SyntaxError::TooLong,
    }
}

fn mail(rest: &[u8], extensions: Extensions) -> Result<Mail<'_>, SyntaxError> {
    let rest = after_keyword(rest, b"FROM:")?;
    let (path, rest) = take_path(rest).map_err(|error| path_error(error, SyntaxError::Sender))?;
    let path = match path {
        Path::Null => ReversePath::Null,
        Path::Mailbox(mailbox) => ReversePath::Mailbox(mailbox),
        Path::Bare(_) => return Err(SyntaxError::Sender),
    };
    let (mut size, mut body, mut utf8, mut ret, mut envid) = (None, None, None, None, None);
    for parameter in parameter::parameters(rest)? {
        if extensions.basic && parameter.is("SIZE") {
            let problem = "5.5.4 SIZE wants a number";
            let octets = parameter.value(problem)?;
            place(&mut size, parameter::size(octets).ok_or(SyntaxError::BadParameter(problem))?)?;
        } else if extensions.basic && parameter.is("BODY") {
            let problem = "5.5.4 BODY is 7BIT, 8BITMIME or BINARYMIME";
            let kind = parameter::body(parameter.value(problem)?).ok_or(SyntaxError::BadParameter(problem))?;
            if kind == BodyType::Binary && !extensions.chunking {
                return Err(SyntaxError::BadParameter(problem));
            }
            place(&mut body, kind)?;
        } else if extensions.smtputf8 && parameter.is("SMTPUTF8") {
            if parameter.value.is_some() {
                return Err(SyntaxError::BadParameter("5.5.4 SMTPUTF8 takes no value"));
            }
            place(&mut utf8, Utf8::Yes)?;
        } else if extensions.dsn && parameter.is("RET") {
            let problem = "5.5.4 RET is FULL or HDRS";
            place(&mut ret, parameter::ret(parameter.value(problem)?).ok_or(SyntaxError::BadParameter(problem))?)?;
        } else if extensions.dsn && parameter.is("ENVID") {
            let problem = "5.5.4 ENVID wants xtext of at most 100 octets";
            place(&mut envid, parameter::envid(parameter.value(problem)?).ok_or(SyntaxError::BadParameter(problem))?)?;
        } else {
            return Err(SyntaxError::UnknownParameter);
        }
    }
    let ascii =
        matches!(path, ReversePath::Null) || matches!(path, ReversePath::Mailbox(mailbox) if mailbox.is_ascii());
    if !ascii && utf8.is_none() {
        return Err(SyntaxError::Utf8NotAsked);
    }
    Ok(Mail { path, size, body, utf8: utf8.unwrap_or_default(), ret, envid })
}

fn rcpt(rest: &[u8], extensions: Extensions) -> Result<Rcpt<'_>, SyntaxError> {
    let rest = after_keyword(rest, b"TO:")?;
    let (path, rest) = take_path(rest).map_err(|error| path_error(error, SyntaxError::Recipient))?;
    let path = match path {
        Path::Mailbox(mailbox) => ForwardPath::Mailbox(mailbox),
        Path::Bare(name) if name.eq_ignore_ascii_case("postmaster") => ForwardPath::Postmaster,
        Path::Bare(_) | Path::Null => return Err(SyntaxError::Recipient),
    };
    let (mut notify, mut orcpt) = (None, None);
    for parameter in parameter::parameters(rest)? {
        if extensions.dsn && parameter.is("NOTIFY") {
            let problem = "5.5.4 NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY";
            place(
                &mut notify,
                parameter::notify(parameter.value(problem)?).ok_or(SyntaxError::BadParameter(problem))?,
            )?;
        } else if extensions.dsn && parameter.is("ORCPT") {
            let problem = "5.5.4 ORCPT wants a type, a semicolon and xtext";
            place(&mut orcpt, parameter::orcpt(parameter.value(problem)?).ok_or(SyntaxError::BadParameter(problem))?)?;
        } else {
            return Err(SyntaxError::UnknownParameter);
        }
    }
    Ok(Rcpt { path, notify: notify.unwrap_or_default(), orcpt })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::Mailbox;

    fn parse(line: &str) -> Result<Command<'_>, SyntaxError> {
        parse_command(line.as_bytes(), Extensions::ALL)
    }

    fn code(line: &str) -> u16 {
        parse(line).map_or_else(|error| error.refusal().code(), |_| 0)
    }

    #[test]
    fn verbs_in_any_case_with_spaces_at_the_end() {
        assert_eq!(parse("quit  "), Ok(Command::Quit));
        assert_eq!(parse("DaTa"), Ok(Command::Data));
        assert_eq!(parse("NOOP anything at all"), Ok(Command::Noop));
        assert_eq!(parse("ehlo [127.0.0.1]"), Ok(Command::Greet(Greeting::Ehlo, "[127.0.0.1]")));
        for line in ["DATA x", "RSET x", "QUIT x", "EHLO", "HELO ", "EHLO a b", "HELO (x)", "VRFY"] {
            assert_eq!(code(line), 501, "{line}");
        }
    }

    #[test]
    fn what_is_no_command() {
        for line in ["", " ", "MAILFROM:<a@b>", "XYZZY", "LONGVERBINDEED x"] {
            assert_eq!(code(line), 500, "{line}");
        }
        for line in ["EXPN x", "ETRN x", "STARTTLS", "AUTH PLAIN x"] {
            assert_eq!(code(line), 502, "{line}");
        }
        for line in ["GET / HTTP/1.1", "POST / HTTP/1.1", "CONNECT a:25 HTTP/1.0"] {
            assert_eq!(code(line), 421, "{line}");
        }
        for line in
            [&b"NO\0OP"[..], b"NOOP\0", b"NOOP \x7f", b"NOOP \t", b"MAIL FROM:<a@b>\rX", b"\xff\xfe", b"NOOP \xff"]
        {
            assert_eq!(parse_command(line, Extensions::ALL), Err(SyntaxError::Octet));
        }
    }

    #[test]
    fn mail_with_everything() {
        let line = "MAIL FROM:<a@b> SIZE=12 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x+2By";
        let expected = Mail {
            path: ReversePath::Mailbox(Mailbox { local_part: "a", domain: "b" }),
            size: Some(12),
            body: Some(BodyType::EightBit),
            utf8: Utf8::Yes,
            ret: Some(Return::Headers),
            envid: Some("x+2By"),
        };
        assert_eq!(parse(line), Ok(Command::Mail(expected)));
        assert!(parse("mail from: <>  size=0 ").is_ok());
        assert!(parse("MAIL FROM:<ü@b> SMTPUTF8").is_ok());
    }

    #[test]
    fn mail_refused() {
        for line in ["MAIL", "MAIL FROM", "MAIL FROM:", "MAIL FROM:a@b", "MAIL TO:<a@b>", "MAIL FROM:<a@b>SIZE=1"] {
            assert_eq!(code(line), 501, "{line}");
        }
        for parameter in
            ["SIZE=abc", "SIZE=", "SIZE", "SIZE=-1", "BODY=9BIT", "BODY=", "RET=", "RET=BOTH", "SMTPUTF8=1"]
        {
            assert_eq!(code(&format!("MAIL FROM:<a@b> {parameter}")), 501, "{parameter}");
        }
        for parameter in ["ENVID=", "ENVID=a+0Ab", "ENVID=a=b", "SIZE=1 SIZE=1", "RET=FULL RET=FULL"] {
            assert_eq!(code(&format!("MAIL FROM:<a@b> {parameter}")), 501, "{parameter}");
        }
        for parameter in ["FOO", "FOO=BAR", "=", "AUTH=<>", "NOTIFY=NEVER", "SIZE:1"] {
            assert_eq!(code(&format!("MAIL FROM:<a@b> {parameter}")), 555, "{parameter}");
        }
        assert_eq!(code("MAIL FROM:<ü@b>"), 553);
        assert_eq!(parse_command(b"MAIL FROM:<a@b> SIZE=1", Extensions::NONE), Err(SyntaxError::UnknownParameter));
        let edge = format!("MAIL FROM:<a@b> SIZE={}", "9".repeat(25));
        assert!(matches!(parse(&edge), Ok(Command::Mail(Mail { size: Some(u64::MAX), .. }))));
    }

    #[test]
    fn recipients() {
        assert!(matches!(parse("RCPT TO:<PostMaster>"), Ok(Command::Rcpt(Rcpt { path: ForwardPath::Postmaster, .. }))));
        let line = "rcpt to:<a@b> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x@y";
        let Ok(Command::Rcpt(rcpt)) = parse(line) else { panic!("{line}") };
        assert_eq!(rcpt.orcpt, Some("rfc822;x@y"));
        assert!(rcpt.is_ascii());
        for line in ["RCPT TO:<>", "RCPT TO:<someone>", "RCPT TO:a@b", "RCPT TO:<a@b> NOTIFY=", "RCPT TO:<a@b> ORCPT=x"]
        {
            assert_eq!(code(line), 501, "{line}");
        }
        assert_eq!(code("RCPT TO:<a@b> SIZE=1"), 555);
    }

    #[test]
    fn chunks() {
        assert_eq!(parse("BDAT 10"), Ok(Command::Bdat { size: 10, last: false }));
        assert_eq!(parse("bdat 0 last"), Ok(Command::Bdat { size: 0, last: true }));
        for line in ["BDAT", "BDAT -1", "BDAT x", "BDAT 1 FIRST", "BDAT 1 LAST x", "BDAT LAST"] {
            assert_eq!(parse(line), Err(SyntaxError::ChunkSize), "{line}");
        }
        // The octets follow whether CHUNKING was offered or not: the session must know how many.
        assert!(parse_command(b"BDAT 1", Extensions::NONE).is_ok());
    }
}
