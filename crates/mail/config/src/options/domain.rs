//! Rows of `[domain."…"]`, `[binding.…]` and `[binding_group.…]`: how mail goes out. `scopes.rs` has the fall-back order.

use std::time::Duration;

use super::{Scopes, default, derived, section};
use crate::value::{
    AddressList, ConnectionRamp, EgressProxy, HostName, Ipv6Use, NetworkSet, OptionalDomain, OptionalName, Percent,
    Rate, RetryLimit, Route, WeekWindow,
};

section! {
    /// How mail for a domain goes out, by a binding. Every option may stand in a `[domain."PATTERN"]`, in a binding, in a
    /// binding group, or in a domain inside one of these; the most specific wins, option by option.
    DomainOptions from DomainStanza {
        /// Where the mail goes: by its MX records, to a fixed host, into a directory, or nowhere.
        route: Route = default("mx");
        /// The port of the hosts that MX records name.
        port: u32 = default("25").range("1", "65535");
        /// The local addresses to connect from, in turn; `"0.0.0.0"` or `"::"` or none leave the choice to the kernel.
        /// Otherwise hosts of a family that none of the addresses has are not used. An address that cannot be used is
        /// left aside for a minute, and longer each time.
        source: AddressList = default("").scopes(Scopes::BINDING.or(Scopes::BINDING_GROUP));
        /// The proxy that connections to hosts go through. `haproxy://` is sent a PROXY protocol header, version 2, with
        /// one of `source` as the source and the host as the destination; `socks5://` is asked to connect, from one of
        /// `source` to the proxy. While the proxy cannot be used, mail waits and no host is blamed.
        egress_proxy: EgressProxy = default("none").scopes(Scopes::BINDING.or(Scopes::BINDING_GROUP));
        /// How long the proxy may take for its own part: to be connected to, and to agree.
        egress_proxy_timeout: Duration = default("10s").range("10ms", "10m");
        /// The name given in EHLO.
        ehlo: HostName = derived("the server's hostname");
        /// Whether IPv6 addresses of a host are used, and whether first.
        ipv6: Ipv6Use = default("allow");
        /// The name of the site that the domain belongs to. Domains of one site share their connections, their start and
        /// their pauses. Without a name it is the set of hosts that the MX records name, so that domains with the same
        /// set are one site.
        site: OptionalName = default("");
        /// Connections to one site from one binding at the same time: to a domain, and to all others with the same set of
        /// MX hosts. A route of its own counts for itself.
        max_connections: u32 = default("32").range("1", "1000000");
        /// Connections at the same time of all queues together that take this value from the same section, whichever
        /// domains and bindings they have; 0 is any number.
        shared_max_connections: u32 = default("0").range("0", "1000000");
        /// Connections at the same time to one address of a host, of all queues together that take this value from the
        /// same section; 0 is any number. A host that has them all is passed over for others of the domain.
        max_connections_per_host: u32 = default("0").range("0", "1000000");
        /// Connections in a time, of all queues together that take this value from the same section.
        connection_rate: Rate = default("none");
        /// Recipients in a time, of all queues together that take this value from the same section. They leave evenly,
        /// at most a tenth of a second's at once; a queue that has to wait keeps its mail active and its turn.
        message_rate: Rate = default("none");
        /// How fast a queue comes to its number of connections. A destination that answers nothing holds two connections of a gradual
        /// queue and all of a straight one.
        connection_ramp: ConnectionRamp = default("gradual");
        /// Deliveries on one connection; 0 is any number.
        max_deliveries_per_connection: u32 = default("0");
        /// Recipients on one connection; 0 is any number. The last transaction may go beyond it.
        max_recipients_per_connection: u32 = default("0");
        /// Recipients of one message that go in one transaction.
        max_recipients_per_batch: u32 = default("100").range("1", "100000");
        /// Whether commands are sent together where the host offers PIPELINING (RFC 2920).
        pipelining: bool = default("true");
        /// Whether delivery rests. Mail is accepted and waits.
        suspend: bool = default("false");
        /// When delivery rests: mail is accepted and waits for the end of the window.
        curfew: Vec<WeekWindow> = default("");
        /// Whether mail goes nowhere: it is accepted, logged as delivered, and gone. It comes before `route`.
        blackhole: bool = default("false");
        /// Networks that are never connected to, whatever the DNS says of them.
        prohibited_hosts: NetworkSet = default("");
        /// Networks whose hosts are passed over as if the DNS did not name them. Mail of a domain without other hosts
        /// waits.
        skip_hosts: NetworkSet = default("");

        /// The wait after the first transient failure. It doubles with every further one.
        retry_interval: Duration = default("20m").range("1s", "30d");
        /// The longest wait between two attempts.
        max_retry_interval: Duration = default("12h").range("1s", "30d");
        /// By how much a wait may be shortened or lengthened at random, so that mail that failed together does not come
        /// back together.
        retry_jitter: Percent = default("10%").range("0%", "50%");
        /// Attempts after the first: `auto` is what fits into `message_expiration`, `none` leaves it to that alone.
        max_retries: RetryLimit = default("auto");
        /// Mail that is older than this is returned.
        message_expiration: Duration = default("1d").range("1s", "365d");

        /// Mail that is older than this is returned wherever it waits, also where its route holds it; 0s never does.
        max_message_age: Duration = default("0s").range("0s", "3650d");

        /// How long a connection may take.
        connect_timeout: Duration = default("5m").range("10ms", "1h");
        /// How long the greeting may take (RFC 5321 section 4.5.3.2.1).
        greeting_timeout: Duration = default("5m").range("10ms", "1h");
        /// How long the reply to EHLO may take.
        ehlo_timeout: Duration = default("5m").range("10ms", "1h");
        /// How long the reply to MAIL may take.
        mailfrom_timeout: Duration = default("5m").range("10ms", "1h");
        /// How long the reply to RCPT may take.
        rcptto_timeout: Duration = default("5m").range("10ms", "1h");
        /// How long the reply to DATA may take.
        data_timeout: Duration = default("2m").range("10ms", "1h");
        /// How long the body may pause, and how long the reply after its end may take.
        body_timeout: Duration = default("10m").range("10ms", "1d");
        /// How long the reply to RSET may take.
        rset_timeout: Duration = default("30s").range("10ms", "1h");
        /// How long a connection without work is kept.
        idle_timeout: Duration = default("5s").range("0s", "1h");

        /// Times in a row that no host of a domain could be reached after which its mail as a whole is delayed: the
        /// domain is then tried once every `retry_interval`; 0 never does.
        mx_failures_to_delay: u32 = default("50");
        /// How long no host of a domain could be reached after which its mail as a whole is delayed in the same way; 0s
        /// never does.
        connect_timeout_to_delay: Duration = default("15m").range("0s", "30d");
        /// How long a host that failed is passed over.
        host_failure_retry: Duration = default("2m").range("0s", "1d");
        /// Failed look-ups of MX records in a row after which the domain's own address is tried; 0 never does.
        mx_failures_fallback_to_a: u32 = default("3");

        /// Failed look-ups in a row after which the mail of a domain is returned; 0 never does.
        dns_failures_to_purge: u32 = default("0");

        /// The domain of a return path of its own for each recipient, signed with the first of the `keys` of `[bounce]`, so
        /// that a bounce tells whom it is about. The message then leaves with one recipient a transaction. Mail with the
        /// null reverse-path `<>` leaves as it is.
        verp_domain: OptionalDomain = default("");
        /// Whether a header field with a signed mark leads complaints back to the recipient, who is not named in it in
        /// plain. The message then leaves with one recipient a transaction.
        feedback_mark: bool = default("false");

        /// Whether the sender is told that a message could not be delivered (RFC 3464).
        generate_bounces: bool = default("true");
        /// Whether the sender is told that a message is late.
        generate_delay_dsn: bool = default("false");
        /// How late a message is when its sender is told.
        delay_dsn_interval: Duration = default("1h").range("1m", "30d");
    }
}

section! {
    /// A binding group: bindings that share the mail given to the group, and the options they have in common.
    BindingGroupOptions from BindingGroupStanza {
        /// The bindings of the group.
        bindings: Vec<String> = default("");
        /// The share of each binding, in the order of `bindings`; without it they share alike.
        weights: Vec<u32> = default("");
    }
}
