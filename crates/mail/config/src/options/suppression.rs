//! Rows of `[suppression]` and `[auto_suppression.…]`.

use std::path::PathBuf;
use std::time::Duration;

use super::{default, derived, section};
use crate::value::{SuppressedKind, SuppressionAction, SuppressionCause};

section! {
    /// The suppression list: addresses that get no mail. `posthaste suppression` changes it while the server runs.
    SuppressionOptions from SuppressionStanza {
        /// What becomes of a recipient on the list. The reply says that the address is suppressed, and neither why nor
        /// since when.
        action: SuppressionAction = default("off");
        /// Which mail this server sends: entries for the other kind do not hold for it.
        kind: SuppressedKind = default("all");
        /// The directory of the list.
        folder: PathBuf = derived("suppression in data_dir").restart();
    }
}

section! {
    /// A rule that puts recipients on the suppression list by itself. Each rule counts for itself, and in memory: a restart
    /// begins anew. A failure counts when a host or this server gives a recipient up; a bounce or a complaint that comes
    /// back counts only if a mark of ours says whom it is about.
    AutoSuppressionOptions from AutoSuppressionStanza {
        /// Bounce classes, or `complaint`.
        causes: Vec<SuppressionCause> = default("");
        /// So many of them put a recipient on the list.
        count: u32 = default("1").range("1", "16");
        /// When they happened within this time.
        period: Duration = default("30d").range("1m", "3650d");
        /// How long the recipient stays on the list; 0s is for ever.
        duration: Duration = default("0s").range("0s", "3650d");
    }
}
