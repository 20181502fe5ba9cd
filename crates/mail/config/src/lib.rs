//! The configuration: TOML text to typed, validated, immutable generations.
//!
//! The caller reads the file and passes its name and text; [`Config::parse`] returns a generation or all errors, each with
//! file, line and column. The rooms read the fields of [`Config`]; delivery asks [`Config::domain_options`] for what the
//! fall-back order of scopes makes of a domain and a binding. The one table of all options is in `options/`.
//!
//! Pure: no files, no sockets, no clock. Budget: parsing is linear in the text (about 10 MB/s) and off every hot path;
//! `NetworkSet::contains` and `DomainSet::contains` are asked once per session and per recipient, allocate nothing, and
//! take well under a microsecond; `domain_options` takes about one and is meant to be kept by the caller.
//! `benches/cost.rs` measures them.
//!
//! ```text
//! text ─► toml (sections, entries, places) ─► assemble (sections, stanzas, checks) ─► Config
//!                                                 ▲                                     │ domain_options
//!                              options (rows) ────┘            scopes (fall-back) ◄─────┘
//! ```

mod assemble;
mod builtin;
mod check;
mod config;
mod document;
mod error;
mod locate;
mod options;
mod pattern;
mod put;
mod returns;
mod scopes;
mod show;
mod suggest;
mod toml;
mod value;

pub use builtin::{DEFAULT_FILE_NAME, default_text, demo_text};
pub use config::{
    AutoSuppression, BindingGroup, Config, DEFAULT_BINDING, Egress, Explanation, Listener, Log, Named, Origin, Pool,
    Surroundings, Tenant,
};
pub use document::options_markdown;
pub use error::{ConfigError, ConfigWarning, Position};
pub use options::{
    AutoSuppressionOptions, BindingGroupOptions, BounceOptions, Change, ConsoleOptions, DefaultValue, DomainOptions,
    EgressOptions, EngineOptions, FeedbackOptions, ListenerOptions, LogOptions, MemoryOptions, OptionRow,
    PolicyOptions, PoolOptions, ResolverOptions, Scopes, SectionRows, ServerOptions, ShapingOptions, Spec,
    SpoolOptions, SuppressionOptions, TenantOptions, option_table,
};
pub use returns::{ReturnAddresses, ReturnKind};
pub use show::UnknownScope;
pub use value::{
    AddHeader, AddressList, BindAddress, BindingAge, Bytes, ConnectionRamp, DomainSet, Durability, EarlyTalker,
    EgressProxy, HeaderName, HeaderTest, HostName, IntakeAction, Ipv6Use, Kind, LineEndings, LmtpTarget, LogEvent,
    LogFormat, Login, Mailbox, MarkPrefix, MemoryAmount, Network, NetworkSet, OptionalDomain, OptionalName, Percent,
    Protocol, ProxyProtocol, Rate, RetryLimit, Route, ShapingMode, Store, SuppressedKind, SuppressionAction,
    SuppressionCause, TcpAddress, WeekWindow, closed_until, parse_duration,
};
