//! What devices do at their hubs: MQTT, AMQP, events, messages.

use app::refusals::StormSettings;

use super::{MIB, secs};
use crate::config::{Amqp, Events, Messages, Mqtt, reader::Section};

/// The most partitions of a hub, as the vendor has it (H §5.5).
const MAX_PARTITIONS: usize = 32;

pub(super) fn mqtt(section: &mut Section<'_>) -> Mqtt {
    // Defaults: D §2.1 and §2.7, H §4.2 and §10.
    Mqtt {
        websockets: section.flag("websockets", true),
        connect_timeout: secs(section, "connect_timeout_secs", 10, 1, 300),
        keep_alive_cap: secs(section, "keep_alive_cap_secs", 1_767, 10, 86_400),
        provisioning_idle_cap: secs(section, "provisioning_idle_cap_secs", 300, 10, 86_400),
        packet_timeout: secs(section, "packet_timeout_secs", 60, 1, 600),
        write_timeout: secs(section, "write_timeout_secs", 30, 1, 600),
        max_connect_bytes: section.count("max_connect_bytes", 16 * 1024, 2 * 1024..=64 * 1024),
        max_provisioning_packet_bytes: section.count(
            "max_provisioning_packet_bytes",
            128 * 1024,
            16 * 1024..=MIB,
        ),
        max_hub_packet_bytes: section.count("max_hub_packet_bytes", 264 * 1024, 16 * 1024..=MIB),
        max_in_flight_events: section.count("max_in_flight_events", 16, 1..=1_000),
        max_in_flight_messages: section.count("max_in_flight_messages", 10, 1..=50),
        max_buffered_bytes: section.count("max_buffered_bytes", 64 * MIB, MIB..=2_048 * MIB),
    }
}

pub(super) fn amqp(section: &mut Section<'_>) -> Amqp {
    // Defaults: D §3, H §4.3.
    Amqp {
        websockets: section.flag("websockets", true),
        connect_timeout: secs(section, "connect_timeout_secs", 10, 1, 300),
        tpm_timeout: secs(section, "tpm_timeout_secs", 60, 5, 600),
        proof_timeout: secs(section, "proof_timeout_secs", 60, 5, 600),
        idle_timeout: secs(section, "idle_timeout_secs", 120, 10, 3_600),
        frame_timeout: secs(section, "frame_timeout_secs", 60, 1, 600),
        write_timeout: secs(section, "write_timeout_secs", 30, 1, 600),
        max_provisioning_message_bytes: section.count(
            "max_provisioning_message_bytes",
            128 * 1024,
            16 * 1024..=MIB,
        ),
        max_message_bytes: section.count("max_message_bytes", 264 * 1024, 16 * 1024..=MIB),
        credit: u32::try_from(section.integer("credit", 100, 1..=1_000)).unwrap_or(100),
        max_devices_per_connection: section.count("max_devices_per_connection", 1_000, 1..=10_000),
        max_waiting_bytes: section.count("max_waiting_bytes", MIB, 64 * 1024..=64 * MIB),
        max_in_flight_events: section.count("max_in_flight_events", 16, 1..=1_000),
        max_in_flight_messages: section.count("max_in_flight_messages", 10, 1..=50),
        max_buffered_bytes: section.count("max_buffered_bytes", 64 * MIB, MIB..=2_048 * MIB),
    }
}

pub(super) fn events(section: &mut Section<'_>) -> Events {
    let partitions = section.count("partitions", 4, 1..=MAX_PARTITIONS);
    let retention_hours = section.integer("retention_hours", 24, 1..=7 * 24);
    let megabytes = section.count("max_megabytes_per_partition", 256, 1..=1024 * 1024);
    Events {
        partitions: u16::try_from(partitions).unwrap_or(4),
        max_age_secs: retention_hours * 3_600,
        max_partition_bytes: u64::try_from(megabytes.saturating_mul(MIB)).unwrap_or(u64::MAX),
    }
}

pub(super) fn messages(section: &mut Section<'_>) -> Messages {
    let mut count = |key, default: u32, most: i64| {
        u32::try_from(section.integer(key, i64::from(default), 1..=most)).unwrap_or(default)
    };
    // Defaults: H §10.
    let max_waiting = count("max_waiting", 50, 1_000);
    let max_deliveries = count("max_deliveries", 10, 100);
    let default_ttl_secs = section.integer("default_ttl_secs", 3_600, 1..=30 * 86_400);
    let max_ttl_secs = section.integer("max_ttl_secs", 2 * 86_400, 1..=30 * 86_400);
    if default_ttl_secs > max_ttl_secs {
        section.problem(
            "default_ttl_secs",
            format!("is more than `max_ttl_secs`, {max_ttl_secs}, which no message may outlast"),
        );
    }
    Messages { max_waiting, default_ttl_secs, max_ttl_secs, max_deliveries }
}

pub(super) fn attempts(section: &mut Section<'_>) -> StormSettings {
    let default = StormSettings::default();
    let keep = section.count("keep", 100_000, 1..=10_000_000);
    let max_remembered =
        section.count("max_remembered_refusals", default.max_remembered, 0..=10_000_000);
    let keep_attempts = u64::try_from(keep).unwrap_or(default.keep_attempts);
    StormSettings { max_remembered, keep_attempts, ..default }
}
