//! The limits of the door.

use std::time::Duration;

/// Limits of every connection; each has a default that works.
#[derive(Debug, Clone)]
pub struct AmqpSettings {
    /// How long a client may take from the open connection to its `sasl-init`, and from there (or
    /// from the open connection, without SASL) to its `open`. Default: 10 seconds.
    pub connect_timeout: Duration,
    /// How long a TPM may take for the SASL exchange; small ones need seconds for each key.
    /// Default: 60 seconds.
    pub tpm_timeout: Duration,
    /// How long a client may take from its `open` until it has proven something: with a token, or
    /// with a link that is accepted. Default: 60 seconds.
    pub proof_timeout: Duration,
    /// The longest frame we take, in bytes, once a client has proven something; before, 16 KiB is
    /// the longest. It is the `max-frame-size` of our `open`. Default: 64 KiB, which clients count
    /// on (H §4.3.1).
    pub max_frame_bytes: usize,
    /// The longest message a device or the service side may send, in bytes. Default: 264 KiB: a
    /// message of 256 KiB with its properties (H §4.3.4), and some for its encoding.
    pub max_message_bytes: u64,
    /// The longest message on a provisioning link, in bytes. Default: 128 KiB. (A register body may
    /// have less: `wire` says how much.)
    pub max_provisioning_message_bytes: u64,
    /// How many messages of one link may be under way to us: the credit it is granted. Default:
    /// 100 (H §4.3.4).
    pub credit: u32,
    /// How many devices one connection may carry. Default: 1,000.
    pub max_devices_per_connection: usize,
    /// How many bytes of messages may wait on one connection for the store. No more frames of it
    /// are read while there are so many. Default: 1 MiB.
    pub max_waiting_bytes: usize,
    /// How long a frame, and a message of many frames, may take from its first byte to its last;
    /// waiting for [`room_bytes`] does not count. Default: 60 seconds.
    ///
    /// [`room_bytes`]: Self::room_bytes
    pub frame_timeout: Duration,
    /// The `idle-time-out` of our `open`. A client that sends nothing for twice as long is gone.
    /// Default: 2 minutes (60 to 240 seconds are usual, H §4.3.1).
    pub idle_timeout: Duration,
    /// How long the store, and a webhook, may take to answer a request. Default: 30 seconds, as on
    /// HTTPS.
    pub request_timeout: Duration,
    /// How long what we send may wait for a client that does not read. Default: 30 seconds.
    pub write_timeout: Duration,
    /// `retry-after` of every provisioning answer that is not final, in seconds. Default: 3. Java's
    /// SDK takes 2 to 5 only (D §4).
    pub retry_after_secs: u32,
    /// How many events of one device may be on their way to the store at once. Default: 16.
    pub max_in_flight_events: usize,
    /// How many cloud-to-device messages one device may have been sent and not settled yet.
    /// Default: 10.
    pub max_in_flight_messages: usize,
    /// How many bytes frames larger than 4 KiB and messages of many frames may occupy together, of
    /// all connections of a door. A connection waits for room before it reads them, and is served
    /// in its turn. A quarter of it is for those that have not proven anything to a hub: strangers
    /// keep no device waiting. Default: 64 MiB.
    pub room_bytes: usize,
}

impl Default for AmqpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            tpm_timeout: Duration::from_secs(60),
            proof_timeout: Duration::from_secs(60),
            max_frame_bytes: 64 * 1024,
            max_message_bytes: 264 * 1024,
            max_provisioning_message_bytes: 128 * 1024,
            credit: 100,
            max_devices_per_connection: 1000,
            max_waiting_bytes: 1024 * 1024,
            frame_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(120),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            retry_after_secs: 3,
            max_in_flight_events: 16,
            max_in_flight_messages: 10,
            room_bytes: 64 * 1024 * 1024,
        }
    }
}
