//! The limits of the door.

use std::time::Duration;

/// Limits of every connection and session; each has a default that works.
#[derive(Debug, Clone)]
pub struct MqttSettings {
    /// How long a client may take from the open connection to the end of its CONNECT. Default: 10
    /// seconds.
    pub connect_timeout: Duration,
    /// The largest CONNECT, in bytes, fixed header included. Default: 16 KiB. A token has at most
    /// 8 KiB, a user name as well; a will has the rest.
    pub max_connect_bytes: usize,
    /// The largest packet of a provisioning session, in bytes. Default: 128 KiB. (A register body
    /// may have less: `wire` says how much.)
    pub max_provisioning_packet_bytes: usize,
    /// The largest packet of a hub session, in bytes. Default: 264 KiB: a message of 256 KiB with
    /// its properties (H §4.2.6), and some for its topic.
    pub max_hub_packet_bytes: usize,
    /// How long a packet may take from its first byte to its last; waiting for [`room_bytes`] does
    /// not count. Default: 60 seconds.
    ///
    /// [`room_bytes`]: Self::room_bytes
    pub packet_timeout: Duration,
    /// The longest keep-alive that is honoured, and what a hub session has that asked for none.
    /// Default: 1767 seconds (29.45 minutes, H §4.2.1).
    pub keep_alive_cap: Duration,
    /// How long a provisioning session that asked for no keep-alive may be silent. Default: 5
    /// minutes. Two clients ask for none and are silent between polls (D §2.1).
    pub provisioning_idle_cap: Duration,
    /// How long the store, and a webhook, may take to answer a request of a provisioning session.
    /// Default: 30 seconds, as on HTTPS. A client that waits for anything longer than 60 seconds
    /// gives up (D §2.8).
    pub request_timeout: Duration,
    /// How long what we send may wait for a client that does not read. Default: 30 seconds.
    pub write_timeout: Duration,
    /// `retry-after` of every provisioning answer that is not final, in seconds. Default: 3. Java's
    /// SDK takes 2 to 5 only (D §4).
    pub retry_after_secs: u32,
    /// How many events of one session may be on their way to the store at once; no more packets
    /// are read while there are so many. Default: 16.
    pub max_in_flight_events: usize,
    /// How many cloud-to-device messages one session may have been sent and not acknowledged yet.
    /// Default: 10.
    pub max_in_flight_messages: usize,
    /// How many bytes packets larger than 4 KiB may occupy together, of all sessions of a door. A
    /// session waits for room before it reads such a packet, and is served in its turn. A quarter
    /// of it is for those who are not connected to a hub: until then nobody has proven anything,
    /// and strangers keep no device waiting. Default: 64 MiB.
    pub room_bytes: usize,
}

impl MqttSettings {
    /// How long a session may be silent: one and a half times its keep-alive, as MQTT says, and
    /// never longer than the cap; `for_none` for one that asked for none.
    pub(crate) fn patience(&self, keep_alive_secs: u16, for_none: Duration) -> Duration {
        match keep_alive_secs {
            0 => for_none,
            secs => self.keep_alive_cap.min(Duration::from_millis(u64::from(secs) * 1500)),
        }
    }
}

impl Default for MqttSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            max_connect_bytes: 16 * 1024,
            max_provisioning_packet_bytes: 128 * 1024,
            max_hub_packet_bytes: 264 * 1024,
            packet_timeout: Duration::from_secs(60),
            keep_alive_cap: Duration::from_secs(1767),
            provisioning_idle_cap: Duration::from_secs(300),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            retry_after_secs: 3,
            max_in_flight_events: 16,
            max_in_flight_messages: 10,
            room_bytes: 64 * 1024 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(keep_alive_secs: u16, patience_ms: u64) {
        let settings = MqttSettings::default();
        let patience = settings.patience(keep_alive_secs, settings.provisioning_idle_cap);
        assert_eq!(patience, Duration::from_millis(patience_ms), "{keep_alive_secs} s");
    }

    #[test]
    fn a_session_may_be_silent_for_one_and_a_half_times_its_keep_alive() {
        check(60, 90_000);
        check(1, 1_500);
    }

    #[test]
    fn no_keep_alive_is_longer_than_the_cap() {
        check(1178, 1_767_000);
        check(u16::MAX, 1_767_000);
    }

    #[test]
    fn a_session_without_keep_alive_is_not_dropped_quickly() {
        check(0, 300_000);
    }
}
