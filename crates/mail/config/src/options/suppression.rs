//! Rows of `[suppression]`.

use std::path::PathBuf;

use super::{default, derived, section};
use crate::value::{SuppressedKind, SuppressionAction};

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
