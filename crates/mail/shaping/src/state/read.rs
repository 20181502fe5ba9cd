//! Octets become a shaper's knowledge, or an error: all of them are read before anything is taken over.

use super::{HEADER, Imported, MAGIC, StateError, VERSION};
use crate::adjustment::{Adjustment, Cause, Share, Timed};
use crate::quantity::{Rate, Threshold};
use crate::ramp::Ramp;
use crate::rule::{Recovery, ShapedOption, WHOLE};
use crate::scope::{ScopeKind, ScopeName};
use crate::shaper::{Proof, Shaper};
use crate::table::Key;
use crate::window::{Buckets, SLOTS, Window};
use message::UnixMicros;
use std::time::Duration;

impl Shaper {
    /// Takes over what [`Shaper::export`] gave, into a shaper that has seen nothing yet. What ended while the server was
    /// down is left out, and so is the evidence of rules that have changed; what rules that are gone have adjusted stands
    /// until its end.
    ///
    /// # Errors
    /// See [`StateError`]; the shaper is as it was.
    pub fn import(&mut self, now: UnixMicros, state: &[u8]) -> Result<Imported, StateError> {
        let mut reader = Reader { rest: payload(state)? };
        let adjustments = reader.list(|reader| Some((reader.scope()?, reader.adjustment()?)))?;
        let ramps = reader.list(|reader| {
            let (rule, scope) = (reader.text()?, reader.scope()?);
            let (born, day, sent) = (reader.moment()?, reader.u32()?, reader.u64()?);
            Some((rule, scope, Ramp { born, day, sent }))
        })?;
        let evidence = reader.list(|reader| {
            let (rule, threshold, scope) = (reader.text()?, reader.threshold()?, reader.scope()?);
            Some((rule, threshold, scope, reader.proof(threshold)?))
        })?;
        if !reader.rest.is_empty() {
            return Err(StateError::Content);
        }
        let mut imported = Imported::default();
        for (scope, mut adjustment) in adjustments {
            while adjustment.take_ended(now).is_some() {}
            if adjustment.is_empty() {
                imported.dropped += 1;
            } else {
                self.live.change(scope.borrowed(), now, |slot| *slot = adjustment);
                imported.adjustments += 1;
            }
        }
        for (rule, scope, ramp) in ramps {
            match self.rules.named(rule).filter(|number| self.rules.get(*number).warm_up().is_some()) {
                Some(number) => {
                    self.ramps.touch(Key { tag: self.tags[number], scope: scope.borrowed() }, || ramp);
                    imported.ramps += 1;
                }
                None => imported.dropped += 1,
            }
        }
        for (rule, threshold, scope, proof) in evidence {
            let same = |number: &usize| {
                let rule = self.rules.get(*number);
                rule.threshold == threshold && rule.scope == scope.kind
            };
            match self.rules.named(rule).filter(same) {
                Some(number) => {
                    self.evidence.touch(Key { tag: self.tags[number], scope: scope.borrowed() }, || proof);
                    imported.evidence += 1;
                }
                None => imported.dropped += 1,
            }
        }
        Ok(imported)
    }
}

/// What stands behind a header that is sound.
fn payload(state: &[u8]) -> Result<&[u8], StateError> {
    let mut header = Reader { rest: state.get(..HEADER).ok_or(StateError::Foreign)? };
    let payload = &state[HEADER..];
    if header.take(MAGIC.len()) != Some(&MAGIC) {
        return Err(StateError::Foreign);
    }
    let mut fields = || Some((header.u32()?, header.u32()?, header.u64()?));
    let (version, checksum, length) = fields().ok_or(StateError::Foreign)?;
    match version {
        0 => Err(StateError::Foreign),
        1..=VERSION if length != payload.len() as u64 => Err(StateError::Length),
        1..=VERSION if checksum != crc32c::crc32c(payload) => Err(StateError::Checksum),
        1..=VERSION => Ok(payload),
        version => Err(StateError::Newer { version }),
    }
}

/// Octets that are still to be read.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A number and so many items. Nothing is reserved for a number that is not true.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Option<T>) -> Result<Vec<T>, StateError> {
        let count = self.u32().ok_or(StateError::Content)?;
        let mut items = vec![];
        for _ in 0..count {
            items.push(item(self).ok_or(StateError::Content)?);
        }
        Ok(items)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|octets| octets[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn moment(&mut self) -> Option<UnixMicros> {
        self.u64().map(UnixMicros)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::from(self.u8()?);
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn scope(&mut self) -> Option<ScopeName> {
        let number = usize::from(self.u8()?);
        let kind = *ScopeKind::ALL.get(number)?;
        let (mut site, mut binding, mut tenant) = ("", "", "");
        match kind {
            ScopeKind::Site => site = self.text()?,
            ScopeKind::BindingSite => (site, binding) = (self.text()?, self.text()?),
            ScopeKind::TenantSite => (site, tenant) = (self.text()?, self.text()?),
            ScopeKind::Tenant => tenant = self.text()?,
        }
        Some(ScopeName { kind, site: site.into(), binding: binding.into(), tenant: tenant.into() })
    }

    fn cause(&mut self) -> Option<Cause> {
        let rule = self.text()?.into();
        Some(Cause { rule, priority: self.u32()? as i32 })
    }

    fn timed<T>(&mut self, value: T) -> Option<Timed<T>> {
        Some(Timed { value, until: self.moment()?, cause: self.cause()? })
    }

    fn share(&mut self) -> Option<Share> {
        let (part, since) = (self.u32()?, self.moment()?);
        let recovery = Recovery { step: self.u32()?, every: Duration::from_secs(self.u64()?) };
        let (floor, whole, cause) = (self.u64()?, self.u64()?, self.cause()?);
        let sound = (1..=WHOLE).contains(&part) && recovery.step > 0 && !recovery.every.is_zero();
        sound.then_some(Share { part, since, recovery, floor, whole, cause })
    }

    fn adjustment(&mut self) -> Option<Adjustment> {
        let parts = self.u8()?;
        let mut adjustment = Adjustment::default();
        if parts & 1 != 0 {
            adjustment.suspension = Some(self.timed(())?);
        }
        if parts & 2 != 0 {
            adjustment.connection_share = Some(self.share()?);
        }
        if parts & 4 != 0 {
            let value = self.u32()?;
            adjustment.connection_limit = Some(self.timed(value)?);
        }
        if parts & 8 != 0 {
            adjustment.rate_share = Some(self.share()?);
        }
        if parts & 16 != 0 {
            let value = Rate::per_day(self.u64()?);
            adjustment.rate_limit = Some(self.timed(value)?);
        }
        for _ in 0..self.u8()? {
            let number = usize::from(self.u8()?);
            let option = *ShapedOption::ALL.get(number)?;
            let value = self.u32()?;
            let timed = self.timed(value)?;
            if adjustment.options.iter().any(|(other, _)| *other == option) {
                return None;
            }
            adjustment.options.push((option, timed));
        }
        (parts < 32).then_some(adjustment)
    }

    fn threshold(&mut self) -> Option<Threshold> {
        let (kind, number) = (self.u8()?, self.u32()?);
        let (period, at_least) = (Duration::from_secs(self.u64()?), self.u32()?);
        match kind {
            0 => Some(Threshold::Immediate),
            1 => Some(Threshold::Count { count: number, period }),
            2 => Some(Threshold::Share { permille: u16::try_from(number).ok()?, period, at_least }),
            _ => None,
        }
    }

    fn proof(&mut self, threshold: Threshold) -> Option<Proof> {
        let quiet_until = self.moment()?;
        let mut proof = Proof { quiet_until, ..Proof::new(threshold) };
        match &mut proof.matched {
            Window::Recent(moments) => {
                for moment in moments {
                    *moment = self.u64()?;
                }
            }
            Window::Buckets(buckets) => *buckets = self.buckets()?,
        }
        if let Some(tried) = &mut proof.tried {
            **tried = self.buckets()?;
        }
        Some(proof)
    }

    fn buckets(&mut self) -> Option<Buckets> {
        let mut buckets = Buckets { head: self.u64()?, counts: [0; SLOTS] };
        for count in &mut buckets.counts {
            *count = self.u32()?;
        }
        Some(buckets)
    }
}
