//! Addresses of channels: split or refused, and what was split is the address.
#![no_main]
use fabric::Uri;

libfuzzer_sys::fuzz_target!(|input: &str| {
    let Ok(uri) = Uri::parse(input) else { return };
    assert_eq!(uri.as_str(), input);
    assert!(input.starts_with(&format!("{}:{}", uri.scheme(), uri.rest())));
    assert!(uri.rest().ends_with(uri.address()) && !uri.address().is_empty());
    for (name, value) in uri.options() {
        assert!(!name.is_empty() && !value.is_empty() && uri.option(name).is_some());
    }
});
