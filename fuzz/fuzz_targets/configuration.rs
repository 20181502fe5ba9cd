//! A configuration file.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Err(errors) = config::Config::parse("fuzz.toml", text)
    {
        assert!(!errors.is_empty());
        errors.iter().for_each(|error| drop(error.to_string()));
    }
});
