//! The state of traffic shaping, as a disk gives it back.
#![no_main]
libfuzzer_sys::fuzz_target!(|state: &[u8]| {
    let mut shaper = shaping::Shaper::new(Default::default(), shaping::ShaperSettings::default());
    let _ = shaper.import(message::UnixMicros::from_seconds(1_800_000_000), state);
});
