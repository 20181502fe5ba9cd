//! Rows of `[shaping]`.

use std::path::PathBuf;
use std::time::Duration;

use super::{default, derived, section};
use crate::value::{BindingAge, ShapingMode};

section! {
    /// Traffic shaping: rules on what next hops reply decide how much mail leaves, see `shaping.md`. Every decision is a
    /// row of the log with the format `shaping`; without one, of `shapinglog.ec` in `log_dir`.
    ShapingOptions from ShapingStanza {
        /// Whether rules are followed.
        mode: ShapingMode = default("on");
        /// The files of rules, read one after the other; `starter` are the rules that come with the server. A relative
        /// path starts at the folder in which the server was started.
        rules: Vec<String> = default("starter");
        /// The file in which a restart finds what is in force, how far warm-ups have come, and what was counted.
        state: PathBuf = derived("shaping.state in data_dir").restart();
        /// How often the state is written. A decision is written within a second.
        state_interval: Duration = default("10s").range("1s", "1h");
        /// Since when bindings send, as the name and the day: warm-ups that begin, and name no day of their own, count
        /// from there. Of a binding that is not among them they count from the first delivery.
        in_use_since: Vec<BindingAge> = default("");
    }
}
