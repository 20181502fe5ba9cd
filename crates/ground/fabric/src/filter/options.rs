//! Filters by address: `?filter=count,trace,capture,faults` with `capture=PATH`, `capture_bytes=N` and `faults=…` ([`super::Faults::parse`]).
//!
//! Transports refuse options that they do not know, so these are taken out before a transport sees the address.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Capture, CaptureError, Counters, Faults, Filters, Trace, TraceSink};
use crate::tli::OpenError;
use crate::uri::{Uri, UriError};

/// The options of an address that are for filters.
pub const OPTIONS: [&str; 4] = ["filter", "capture", "capture_bytes", "faults"];

/// Size of a capture when the address names none.
const CAPTURE_BYTES: u64 = 64 << 20;

/// What filters by address need of the application.
#[derive(Clone, Default)]
pub struct Resources {
    /// Where `filter=trace` writes; without it, that is refused.
    pub trace: Option<TraceSink>,
    /// What `filter=count` adds to; without it, that is refused.
    pub counters: Option<Arc<Counters>>,
}

impl Filters {
    /// Takes the filters' options out of an address: what is left for the transport, and the filters behind those that are here already.
    ///
    /// # Errors
    /// When an option is wrong or lacks another, or a capture cannot be made.
    pub fn with_options(mut self, uri: &Uri, resources: &Resources) -> Result<(Uri, Self), OpenError> {
        let list = uri.option("filter").unwrap_or("");
        for (option, name) in [("capture", "capture"), ("capture_bytes", "capture"), ("faults", "faults")] {
            if uri.option(option).is_some() && !list.split(',').any(|it| it == name) {
                return Err(uri.wrong(option, "its filter in the list of filter=").into());
            }
        }
        for name in list.split(',').filter(|name| !name.is_empty()) {
            self = match name {
                "count" => {
                    let counters = resources.counters.clone();
                    self.observe(counters.ok_or_else(|| uri.wrong("count", "an application that reads counters"))?)
                }
                "trace" => {
                    let sink = resources.trace.clone();
                    let sink = sink.ok_or_else(|| uri.wrong("trace", "an application that shows traces"))?;
                    self.observe(Arc::new(Trace::new(sink)))
                }
                "capture" => self.observe(Arc::new(capture(uri)?)),
                "faults" => {
                    let text =
                        uri.option("faults").ok_or_else(|| uri.wrong(name, "an option faults= that says which"))?;
                    self.faults(Faults::parse(text).map_err(|error| uri.wrong(error.part, error.needed))?)
                }
                _ => return Err(uri.wrong(name, "a filter: count, trace, capture or faults").into()),
            };
        }
        Ok((without_options(uri)?, self))
    }
}

impl std::fmt::Debug for Resources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resources").field("counters", &self.counters).finish_non_exhaustive()
    }
}

fn capture(uri: &Uri) -> Result<Capture, OpenError> {
    let path = uri.option("capture").ok_or_else(|| uri.wrong("capture", "an option capture= with a path"))?;
    let bytes = match uri.option("capture_bytes") {
        Some(text) => text.parse().map_err(|_| uri.wrong(text, "a number of bytes"))?,
        None => CAPTURE_BYTES,
    };
    Capture::create(Path::new(path), uri.as_str(), bytes).map_err(|error| match error {
        CaptureError::Limit { .. } => uri.wrong("capture_bytes", "8192 bytes or more").into(),
        CaptureError::Create { source, .. } | CaptureError::Write { source, .. } => {
            let source = io::Error::new(source.kind(), format!("{path}: {source}"));
            OpenError::System { uri: uri.to_string(), operation: "making the capture", source }
        }
    })
}

fn without_options(uri: &Uri) -> Result<Uri, UriError> {
    let mut text = format!("{}:{}", uri.scheme(), uri.rest());
    let others = uri.options().filter(|(name, _)| !OPTIONS.contains(name));
    for (number, (name, value)) in others.enumerate() {
        text.extend([if number == 0 { "?" } else { "&" }, name, "=", value]);
    }
    Uri::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources() -> Resources {
        Resources { trace: Some(Arc::new(|_| ())), counters: Some(Arc::default()) }
    }

    #[test]
    fn options_of_filters_are_taken_out_and_the_rest_stays() {
        let uri =
            Uri::parse("tcp://127.0.0.1:1?via=epoll&filter=count,faults,trace&faults=delay:1ms&tls=on").expect("right");
        let (rest, filters) = Filters::none().with_options(&uri, &resources()).expect("right");
        assert_eq!(rest.as_str(), "tcp://127.0.0.1:1?via=epoll&tls=on");
        assert_eq!(format!("{filters:?}"), r#"["count", "faults", "trace"]"#);
        let plain = Uri::parse("ipc:x").expect("right");
        let (rest, filters) = Filters::none().with_options(&plain, &Resources::default()).expect("right");
        assert_eq!((rest, filters.is_empty()), (plain, true));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part, resources) in [
            ("ipc:x?filter=fast", "fast", resources()),
            ("ipc:x?filter=trace", "trace", Resources::default()),
            ("ipc:x?filter=count", "count", Resources::default()),
            ("ipc:x?filter=capture", "capture", resources()),
            ("ipc:x?filter=capture&capture=/dev/null&capture_bytes=1", "capture_bytes", resources()),
            ("ipc:x?filter=faults", "faults", resources()),
            ("ipc:x?filter=faults&faults=delay:x", "delay:x", resources()),
            ("ipc:x?faults=delay:1ms", "faults", resources()),
        ] {
            let uri = Uri::parse(text).expect("right in form");
            match Filters::none().with_options(&uri, &resources) {
                Err(OpenError::Uri(error)) => assert_eq!(error.part, part, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_capture_that_exists_is_not_overwritten() {
        let uri = Uri::parse("ipc:x?filter=capture&capture=/dev/null").expect("right");
        let error = Filters::none().with_options(&uri, &resources()).expect_err("it exists").to_string();
        assert!(error.contains("making the capture") && error.contains("/dev/null"), "{error}");
    }
}
