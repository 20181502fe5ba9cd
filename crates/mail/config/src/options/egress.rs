//! Rows of `[egress.…]`, which mail leaves by which binding, and of `[tenant.…]`, whose mail gets which share.

use super::{default, section};
use crate::value::{DomainSet, HeaderTest, OptionalName};

section! {
    /// Which mail leaves by which binding or binding group. The sections are tried in the order of the file, and the
    /// first whose conditions all hold decides; mail that none takes leaves by the binding `default`. A condition that
    /// is not given holds for all mail.
    EgressOptions from EgressStanza {
        /// Domains of the reverse-path. The null reverse-path `<>` has none, and only `"*"` takes it.
        sender: DomainSet = default("");
        /// Domains of the recipient.
        recipient: DomainSet = default("");
        /// Header fields of the message: `"Name: value"`, or `"Name"` for any value. One of them is enough. Names and
        /// values are compared without regard to case; the first field of a name counts.
        header: Vec<HeaderTest> = default("");
        /// Tenants: the value of the `tenant_header` of `[server]`, or the domain of the reverse-path if the message
        /// has no such header field.
        tenant: Vec<String> = default("");
        /// The binding to leave by.
        binding: OptionalName = default("");
        /// The binding group to leave by: its bindings share the mail by weight. The recipients of a message leave by the
        /// same binding.
        binding_group: OptionalName = default("");
    }
}

section! {
    /// Shares of tenants in every queue. A tenant is named by the `tenant_header` of `[server]`, or by the domain of the
    /// reverse-path if the message has no such header field; names are compared without regard to case. Within a
    /// priority, tenants that have mail in a queue take turns by weight. All mail of tenants without a section counts as
    /// one more tenant, of weight 1. 255 tenants can have a section.
    TenantOptions from TenantStanza {
        /// The share of the tenant in proportion to those of the others that have mail in the same queue.
        weight: u32 = default("1").range("1", "1000");
    }
}
