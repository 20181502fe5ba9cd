//! Rows of `[listener.…]`: how mail comes in, and what a client may do.

use std::time::Duration;

use super::{default, derived, section};
use crate::value::{
    AddHeader, BindAddress, Bytes, DomainSet, EarlyTalker, HostName, LineEndings, NetworkSet, Protocol, ProxyProtocol,
};

section! {
    /// A listener: the addresses it binds and the limits of the sessions it accepts.
    ListenerOptions from ListenerStanza {
        /// What is spoken on this listener.
        protocol: Protocol = default("smtp");
        /// The addresses to listen on: `"192.0.2.1:25"`, `"[2001:db8::1]:25"`, or `"unix:/path"`. Port 0 takes any free
        /// port. There is no default: a listener says where it listens.
        bind: Vec<BindAddress> = default("");
        /// Connections that the kernel may hold until the server takes them.
        backlog: u32 = default("4096").range("1", "65535");
        /// Whether replies leave at once (TCP_NODELAY).
        nodelay: bool = default("true");
        /// The name in the greeting, in the EHLO reply and in the trace header.
        banner_hostname: HostName = derived("the server's hostname");

        /// The networks whose clients may send to any domain. Nobody, unless it says so here.
        relay_from: NetworkSet = default("");
        /// The domains to which anybody may send: exact names, `"*.suffix"`, `"/regex/"`.
        relay_domains: DomainSet = default("");
        /// Whether the null reverse-path `<>` is accepted. Bounces come with it, so a server that refuses it loses them.
        allow_null_sender: bool = default("true");
        /// Whether MAIL is refused before EHLO or HELO.
        require_ehlo: bool = default("true");

        /// Sessions of this listener at the same time. A further client is told 421 4.4.5.
        max_sessions: u32 = default("20000").range("1", "10000000");
        /// Sessions from one client network at the same time.
        max_sessions_per_network: u32 = default("200").range("1", "10000000");
        /// Length of the prefix that makes one IPv4 client network.
        network_prefix_v4: u32 = default("32").range("8", "32");
        /// Length of the prefix that makes one IPv6 client network.
        network_prefix_v6: u32 = default("64").range("16", "128");
        /// Messages in one session; 0 is any number.
        max_messages_per_session: u32 = default("0");
        /// Recipients of one message. Further ones are told 452 4.5.3 (RFC 5321 section 4.5.3.1.10 asks for 100 at
        /// least).
        max_recipients: u32 = default("1000").range("1", "1000000");
        /// Recipients in one session; 0 is any number.
        max_recipients_per_session: u32 = default("0");
        /// Largest message in bytes, as announced with SIZE (RFC 1870).
        max_message_size: Bytes = default("50MiB").range("1KiB", "1TiB");

        /// Refused commands after which a session ends with 421.
        max_errors: u32 = default("20").range("1", "1000000");
        /// Unknown commands after which a session ends with 421.
        max_unknown_commands: u32 = default("10").range("1", "1000000");
        /// Commands without progress (NOOP, RSET, VRFY, HELP, repeated EHLO) after which a session ends with 421.
        max_idle_commands: u32 = default("100").range("1", "1000000");
        /// Longest command line in bytes. A longer one is refused with 500 5.5.2 and skipped.
        command_line_limit: Bytes = default("4096B").range("512B", "64KiB");
        /// Longest line of a message in bytes.
        text_line_limit: Bytes = default("10MiB").range("1000B", "1GiB");
        /// Largest header section in bytes.
        header_limit: Bytes = default("1MiB").range("4KiB", "1GiB");
        /// Fields in one header section.
        header_fields: u32 = default("10000").range("100", "10000000");
        /// Received fields after which a message is taken to be in a loop (RFC 5321 section 6.3).
        max_received: u32 = default("100").range("10", "10000");

        /// How long a session may stay silent between commands.
        idle_timeout: Duration = default("5m").range("1s", "1d");
        /// How long one command may take from its first byte to its last.
        command_timeout: Duration = default("1m").range("1s", "1h");
        /// How long the data of a message may pause.
        data_timeout: Duration = default("3m").range("1s", "1d");
        /// How long a client may leave replies unread.
        write_timeout: Duration = default("1m").range("1s", "1h");
        /// Bytes a second that message data must reach on average, after a grace of `data_timeout`; 0 is any rate.
        min_data_rate: Bytes = default("500B").range("0B", "1GiB");
        /// How long a session may last in all. It ends with 421 at the next pause between transactions.
        session_time_limit: Duration = default("1h").range("1s", "30d");

        /// How long the greeting is held back to find clients that talk first; 0 greets at once.
        greeting_delay: Duration = default("0s").range("0s", "1m");
        /// What happens to a client that talks before it was greeted.
        early_talker: EarlyTalker = default("reject");
        /// What happens to a bare CR or LF. `reject` closes every form of SMTP smuggling; `fix` makes it CRLF.
        line_endings: LineEndings = default("reject");

        /// Whether connections start with the header of the PROXY protocol, version 1 or 2.
        proxy_protocol: ProxyProtocol = default("off");
        /// The networks from which that header is believed. A connection from elsewhere is closed.
        proxy_from: NetworkSet = default("");
        /// How long the header may take.
        proxy_timeout: Duration = default("10s").range("100ms", "5m");

        /// Whether a missing Date field is added.
        add_date: AddHeader = default("submission");
        /// Whether a missing Message-ID field is added.
        add_message_id: AddHeader = default("submission");
        /// Whether a Received field is added (RFC 5321 section 4.4).
        add_received: bool = default("true");

        /// Offers PIPELINING (RFC 2920).
        pipelining: bool = default("true");
        /// Offers CHUNKING and BINARYMIME (RFC 3030).
        chunking: bool = default("true");
        /// Offers SMTPUTF8 (RFC 6531).
        smtputf8: bool = default("true");
        /// Offers DSN (RFC 3461).
        dsn: bool = default("true");
    }
}
