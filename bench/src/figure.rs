//! One measured number.

use serde_json::json;

/// One measured number.
pub(crate) struct Figure<'a> {
    pub(crate) bench: &'a str,
    pub(crate) figure: &'a str,
    pub(crate) value: f64,
    pub(crate) unit: &'a str,
    /// The mail server it is of, if not this one.
    pub(crate) peer: Option<&'a str>,
}

impl Figure<'_> {
    /// One JSON object.
    pub(crate) fn json(&self) -> String {
        let mut value = json!({
            "bench": self.bench, "figure": self.figure, "value": self.value, "unit": self.unit,
        });
        if let Some(peer) = self.peer {
            value["peer"] = peer.into();
        }
        value.to_string()
    }

    /// One line.
    pub(crate) fn text(&self) -> String {
        let peer = self.peer.unwrap_or("posthaste");
        format!("{:10} {:34} {:>14.2} {:10} {peer}", self.bench, self.figure, self.value, self.unit)
    }
}
