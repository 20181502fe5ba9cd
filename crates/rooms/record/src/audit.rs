//! Rows of the shaping log: one decision of traffic shaping each, applied or not.
//!
//! `time@S@effect@rule@scope@site@binding@tenant@matched@tried@domain@stage@code@change@text`. What time or an operator
//! did has no evidence: those fields are empty.

use crate::recorder::Timestamps;
use crate::row::{Moment, Row};
use message::Event;

/// Appends the row of a decision; other events have none.
pub(crate) fn shaping_row(out: &mut Vec<u8>, event: &Event<'_>, timestamps: Timestamps) {
    let Event::Shaped(shaped) = event else { return };
    let row = Row::begin(out, Moment(shaped.at, timestamps))
        .field("S")
        .field(shaped.effect)
        .text(shaped.rule)
        .field(shaped.scope)
        .text(shaped.site)
        .text(shaped.binding)
        .text(shaped.tenant);
    let Some(evidence) = &shaped.evidence else {
        return row.text("").text("").text("").text("").text("").text(shaped.change).last("");
    };
    let row = row.field(evidence.matched);
    let row = match evidence.tried {
        Some(tried) => row.field(tried),
        None => row.field(""),
    };
    row.text(evidence.domain)
        .field(evidence.stage.number())
        .field(evidence.code)
        .text(shaped.change)
        .last(evidence.text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use message::{Shaped, ShapedBy, Stage, UnixMicros};

    #[test]
    fn a_row_stays_one_row_whatever_a_reply_says() {
        let evidence = ShapedBy {
            matched: 3,
            tried: None,
            domain: "b.test",
            stage: Stage::DuringMail,
            code: 421,
            text: "4.7.0 slow\r\ndown @ once",
        };
        let shaped = Shaped {
            at: UnixMicros::from_seconds(1_800_000_000),
            rule: "slow@down",
            effect: "applied",
            scope: "binding-site",
            site: "mx.b.test",
            binding: "a",
            tenant: "",
            change: "connections 100% to 50%",
            evidence: Some(evidence),
        };
        let mut out = vec![];
        shaping_row(&mut out, &Event::Shaped(shaped), Timestamps::Seconds);
        shaping_row(&mut out, &Event::Shaped(Shaped { evidence: None, ..shaped }), Timestamps::Seconds);
        let text = String::from_utf8(out).expect("ASCII");
        let rows: Vec<&str> = text.lines().collect();
        let start = "1800000000@S@applied@slow\\@down@binding-site@mx.b.test@a@";
        assert_eq!(rows[0], format!("{start}@3@@b.test@2@421@connections 100% to 50%@4.7.0 slow  down @ once"));
        assert_eq!(rows[1], format!("{start}@@@@@@connections 100% to 50%@"));
        assert_eq!(rows.len(), 2);
    }
}
