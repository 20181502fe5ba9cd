//! A shaper's knowledge becomes octets.

use super::{HEADER, MAGIC, VERSION};
use crate::adjustment::{Adjustment, Cause, Share, Timed};
use crate::quantity::Threshold;
use crate::rule::Rule;
use crate::scope::{ScopeKind, ScopeName};
use crate::shaper::Shaper;
use crate::window::{Buckets, Window};
use std::collections::HashMap;
use std::time::Duration;

impl Shaper {
    /// What is adjusted, the ramps and the evidence, as octets for [`Shaper::import`]. What dry runs would have adjusted
    /// is not among it, nor is the pace of messages. Takes time and memory for all that is held: a few hundred octets
    /// each.
    pub fn export(&self) -> Vec<u8> {
        let mut octets = vec![];
        self.export_into(&mut octets);
        octets
    }

    /// As [`Shaper::export`], in the place of what a buffer holds: one that was used before needs no new memory.
    pub fn export_into(&self, octets: &mut Vec<u8>) {
        octets.clear();
        octets.resize(HEADER, 0);
        let mut writer = Writer { octets };
        writer.u32(self.live.len() as u32);
        for (scope, adjustment) in self.live.iter() {
            writer.scope(scope);
            writer.adjustment(adjustment);
        }
        let names: HashMap<u32, &Rule> = self.tags.iter().copied().zip(self.rules.iter()).collect();
        let ramps: Vec<_> =
            self.ramps.iter().filter_map(|(_, tag, scope, ramp)| Some((names.get(&tag)?, scope, ramp))).collect();
        writer.u32(ramps.len() as u32);
        for (rule, scope, ramp) in ramps {
            writer.text(&rule.name);
            writer.scope(scope);
            writer.u64(ramp.born.0);
            writer.u32(ramp.day);
            writer.u64(ramp.sent);
        }
        let evidence: Vec<_> =
            self.evidence.iter().filter_map(|(_, tag, scope, proof)| Some((names.get(&tag)?, scope, proof))).collect();
        writer.u32(evidence.len() as u32);
        for (rule, scope, proof) in evidence {
            writer.text(&rule.name);
            writer.threshold(rule.threshold);
            writer.scope(scope);
            writer.u64(proof.quiet_until.0);
            match &proof.matched {
                Window::Recent(moments) => moments.iter().for_each(|moment| writer.u64(*moment)),
                Window::Buckets(buckets) => writer.buckets(buckets),
            }
            if let Some(tried) = &proof.tried {
                writer.buckets(tried);
            }
        }
        writer.finish();
    }
}

/// Octets in the making; numbers are little-endian.
struct Writer<'a> {
    octets: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn u8(&mut self, number: u8) {
        self.octets.push(number);
    }

    fn u32(&mut self, number: u32) {
        self.octets.extend_from_slice(&number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.octets.extend_from_slice(&number.to_le_bytes());
    }

    fn duration(&mut self, duration: Duration) {
        self.u64(duration.as_secs());
    }

    /// Names are bounded by 255 octets where they come in.
    fn text(&mut self, text: &str) {
        debug_assert!(text.len() <= 255, "{text}");
        self.u8(text.len() as u8);
        self.octets.extend_from_slice(text.as_bytes());
    }

    fn scope(&mut self, scope: &ScopeName) {
        self.u8(scope.kind as u8);
        match scope.kind {
            ScopeKind::Site => self.text(&scope.site),
            ScopeKind::BindingSite => {
                self.text(&scope.site);
                self.text(&scope.binding);
            }
            ScopeKind::TenantSite => {
                self.text(&scope.site);
                self.text(&scope.tenant);
            }
            ScopeKind::Tenant => self.text(&scope.tenant),
        }
    }

    fn cause(&mut self, cause: &Cause) {
        self.text(&cause.rule);
        self.u32(cause.priority as u32);
    }

    fn timed<T>(&mut self, timed: &Timed<T>) {
        self.u64(timed.until.0);
        self.cause(&timed.cause);
    }

    fn share(&mut self, share: &Share) {
        self.u32(share.part);
        self.u64(share.since.0);
        self.u32(share.recovery.step);
        self.duration(share.recovery.every);
        self.u64(share.floor);
        self.u64(share.whole);
        self.cause(&share.cause);
    }

    /// Which parts there are, a bit each, and the parts.
    fn adjustment(&mut self, adjustment: &Adjustment) {
        let Adjustment { suspension, connection_share, connection_limit, rate_share, rate_limit, options } = adjustment;
        let parts = [
            suspension.is_some(),
            connection_share.is_some(),
            connection_limit.is_some(),
            rate_share.is_some(),
            rate_limit.is_some(),
        ];
        self.u8(parts.iter().enumerate().fold(0, |bits, (bit, there)| bits | u8::from(*there) << bit));
        if let Some(timed) = suspension {
            self.timed(timed);
        }
        if let Some(share) = connection_share {
            self.share(share);
        }
        if let Some(timed) = connection_limit {
            self.u32(timed.value);
            self.timed(timed);
        }
        if let Some(share) = rate_share {
            self.share(share);
        }
        if let Some(timed) = rate_limit {
            self.u64(timed.value.messages_per_day());
            self.timed(timed);
        }
        self.u8(options.len() as u8);
        for (option, timed) in options {
            self.u8(*option as u8);
            self.u32(timed.value);
            self.timed(timed);
        }
    }

    fn threshold(&mut self, threshold: Threshold) {
        let (kind, number, period, at_least) = match threshold {
            Threshold::Immediate => (0, 0, Duration::ZERO, 0),
            Threshold::Count { count, period } => (1, count, period, 0),
            Threshold::Share { permille, period, at_least } => (2, u32::from(permille), period, at_least),
        };
        self.u8(kind);
        self.u32(number);
        self.duration(period);
        self.u32(at_least);
    }

    fn buckets(&mut self, buckets: &Buckets) {
        self.u64(buckets.head);
        buckets.counts.iter().for_each(|count| self.u32(*count));
    }

    /// Puts the header before what was written.
    fn finish(self) {
        let (header, content) = self.octets.split_at_mut(HEADER);
        header[..8].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[12..16].copy_from_slice(&crc32c::crc32c(content).to_le_bytes());
        header[16..].copy_from_slice(&(content.len() as u64).to_le_bytes());
    }
}
