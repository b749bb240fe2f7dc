//! The limits of the door.

use std::time::Duration;

/// Limits of every connection and request; each has a default that works.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The largest request body read, in bytes. Default: 1 MiB. (A register request may have
    /// less: `wire` says how much.)
    pub max_body_bytes: usize,
    /// How many bytes of request bodies are held at once, of all connections together; bodies of
    /// up to 4 KiB do not count. A request waits for room no longer than [`request_timeout`], its
    /// body's arrival included, and is then answered with 503. Default: 64 MiB.
    ///
    /// [`request_timeout`]: Self::request_timeout
    pub max_body_bytes_in_flight: usize,
    /// How long a request's head may take from its first byte to its last. Default: 10 seconds.
    pub header_read_timeout: Duration,
    /// How long a connection may wait between requests, and how long an answer may take to be
    /// read. Default: 3 minutes. The C SDK registers and polls over one connection and opens no
    /// second one by itself (D §1.6), so this must be longer than its pauses.
    pub idle_timeout: Duration,
    /// How long a request's body may take to arrive, and how long a use case may take to answer,
    /// each for itself. Default: 30 seconds. Calls of methods and readers of events who wait have
    /// as much more as they may wait for.
    pub request_timeout: Duration,
    /// How many readers of events may wait for them at once, streams and long polls together. Each
    /// looks into the log whenever an event comes. Default: 256.
    pub max_event_readers: usize,
    /// How many headers a request may have. Default: 64.
    pub max_headers: usize,
    /// How many bytes a request's head may have, request line included. Default: 32 KiB.
    pub max_header_bytes: usize,
    /// `Retry-After` of every device answer that is not final, in seconds. Default: 3. Java's SDK
    /// takes 2 to 5 only (D §1.6).
    pub retry_after_secs: u32,
    /// The largest page of a query; who asks for more gets so many. Default: 1000.
    pub max_page: usize,
    /// The page of a query that asks for no size. Default: 100.
    pub default_page: usize,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            max_body_bytes: 1024 * 1024,
            max_body_bytes_in_flight: 64 * 1024 * 1024,
            header_read_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(180),
            request_timeout: Duration::from_secs(30),
            max_event_readers: 256,
            max_headers: 64,
            max_header_bytes: 32 * 1024,
            retry_after_secs: 3,
            max_page: wire::headers::MAX_PAGE_SIZE,
            default_page: wire::headers::DEFAULT_PAGE_SIZE,
        }
    }
}
