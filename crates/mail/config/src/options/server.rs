//! Rows of `[server]`, `[console]` and `[policy]`.

use std::path::PathBuf;
use std::time::Duration;

use super::{default, derived, section};
use crate::value::{Bytes, Durability, HeaderName, HostName, Mailbox, TcpAddress};

section! {
    /// The server as a whole: its name, where it keeps its things, and the limits that every part shares.
    ServerOptions from ServerStanza {
        /// The name this server gives itself in greetings, trace headers and bounces, unless a listener or a binding
        /// says otherwise. It should resolve to an address of this machine.
        hostname: HostName = derived("the machine's name");
        /// A number that no other node of the same estate has. It is part of every message id, so that ids of two
        /// nodes never collide.
        node: u32 = default("0").range("0", "65535").restart();
        /// The directory of what must survive: the spool and everything derived from it.
        data_dir: PathBuf = default("/var/spool/posthaste").restart();
        /// The directory that relative paths of `[log.…]` start from.
        log_dir: PathBuf = default("/var/log/posthaste");
        /// The directory of what a restart may lose: sockets and process ids.
        run_dir: PathBuf = default("/run/posthaste").restart();
        /// What a 250 means: that the message is on stable storage, has been handed to the operating system, or is in
        /// memory. The class is written to the logs.
        durability: Durability = default("durable");
        /// Where mail for the bare `<postmaster>` goes. Such mail is always accepted.
        postmaster: Mailbox = derived("postmaster@ and the server's hostname");
        /// The header field whose value names the tenant that a message belongs to. Without it the tenant is the domain
        /// of the reverse-path.
        tenant_header: HeaderName = default("X-Tenant");
        /// Header fields of which the first that a message has names its priority: `urgent`, `high`, `normal` or `low`.
        /// Mail without it, or with another word, is `normal`. In each queue urgent mail has eight of fifteen
        /// transactions, high four, normal two and low one, as long as each has mail.
        priority_header: Vec<HeaderName> = default("");
        /// Outbound connections in all. When they are used up, queues wait; nothing fails.
        max_connections_out: u32 = default("20000").range("1", "1000000");
        /// Outbound connections beyond `max_connections_out` that are kept for destinations with little mail, so that
        /// a few large ones cannot starve the rest.
        reserve_connections_out: u32 = default("200").range("0", "100000");
        /// A message larger than this goes to the journal while it arrives and is never held in memory whole.
        large_message_threshold: Bytes = default("1MiB").range("64KiB", "1GiB");
        /// Queued messages whose bodies may stay in memory after they were stored. Beyond it bodies are read back from
        /// the spool when their turn comes.
        max_resident_messages: u32 = default("32768").range("0", "16777216");
        /// How long a stopping server waits for transactions and deliveries under way before it ends them.
        drain_timeout: Duration = default("30s").range("0s", "1h");
    }
}

section! {
    /// The operator's access.
    ConsoleOptions from ConsoleStanza {
        /// The socket on which `posthaste console` and the online tools reach the server.
        socket: PathBuf = derived("console.sock in run_dir");
        /// Where the HTTP API, the dashboard and the metrics listen; empty is nowhere.
        http: Vec<TcpAddress> = default("").later("this release serves no HTTP console, so nothing listens there");
    }
}

section! {
    /// Policy: what decides about a message besides the options here.
    PolicyOptions from PolicyStanza {
        /// Scripts that are asked in every phase of a session, in this order.
        script: Vec<PathBuf> = default("")
            .later("this release runs no policy scripts, so no message passes through it");
    }
}
