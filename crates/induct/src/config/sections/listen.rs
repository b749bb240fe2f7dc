//! Where the doors are, and what holds before anything is said there.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{MIB, secs};
use crate::config::{Listen, reader::Section};

/// Where MQTT is spoken: the port that every device SDK has built in (D §2.1).
const MQTT_PORT: u16 = 8883;
/// The same for AMQP (D §0.3).
const AMQP_PORT: u16 = 5671;

pub(super) fn listen(section: &mut Section<'_>) -> Listen {
    let https = section.list("https", &["127.0.0.1:8443"], |text| address(text, 443));
    let mut beside =
        |key, port| section.list_or_none(key, &beside(&https, port), |text| address(text, port));
    let mqtt = beside("mqtt", MQTT_PORT);
    let amqp = beside("amqp", AMQP_PORT);
    refuse_twins(section, &[("https", &https), ("mqtt", &mqtt), ("amqp", &amqp)]);
    let listen = Listen {
        https,
        mqtt,
        amqp,
        max_connections: section.count("max_connections", 10_000, 1..=1_000_000),
        max_connections_per_address: section.count(
            "max_connections_per_address",
            1_000,
            1..=1_000_000,
        ),
        max_mqtt_connections: section.count("max_mqtt_connections", 50_000, 1..=1_000_000),
        max_mqtt_connections_per_address: section.count(
            "max_mqtt_connections_per_address",
            10_000,
            1..=1_000_000,
        ),
        max_amqp_connections: section.count("max_amqp_connections", 20_000, 1..=1_000_000),
        max_amqp_connections_per_address: section.count(
            "max_amqp_connections_per_address",
            4_000,
            1..=1_000_000,
        ),
        handshake_timeout: secs(section, "handshake_timeout_secs", 10, 1, 300),
        header_timeout: secs(section, "header_timeout_secs", 10, 1, 300),
        request_timeout: secs(section, "request_timeout_secs", 30, 1, 600),
        idle_timeout: secs(section, "idle_timeout_secs", 180, 1, 86_400),
        max_headers: section.count("max_headers", 64, 16..=1_024),
        max_header_bytes: section.count("max_header_bytes", 32 * 1024, 8 * 1024..=MIB),
        max_body_bytes: section.count("max_body_bytes", MIB, 64 * 1024..=64 * MIB),
        max_body_bytes_in_flight: section.count(
            "max_body_bytes_in_flight",
            64 * MIB,
            64 * 1024..=2_048 * MIB,
        ),
        shutdown_grace: secs(section, "shutdown_grace_secs", 10, 0, 600),
    };
    if listen.max_body_bytes_in_flight < listen.max_body_bytes {
        section.problem(
            "max_body_bytes_in_flight",
            format!(
                "is less than `max_body_bytes`, {}, which one body may have",
                listen.max_body_bytes
            ),
        );
    }
    listen
}

/// Where a door with this port is unless somebody says: beside the HTTPS door, and on a port of
/// the system's choice where that is.
fn beside(https: &[SocketAddr], usual_port: u16) -> Vec<String> {
    let mut texts = Vec::new();
    for address in https {
        let port = if address.port() == 0 { 0 } else { usual_port };
        let text = SocketAddr::new(address.ip(), port).to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

fn address(text: &str, usual_port: u16) -> Result<SocketAddr, String> {
    text.parse::<SocketAddr>().map_err(|_| {
        let here = if usual_port < 1_024 { 8_000 + usual_port } else { usual_port };
        format!(
            "`{text}` is not an address with a port, such as 127.0.0.1:{here} or [::]:{usual_port}"
        )
    })
}

/// No address may stand at two doors, or twice at one.
fn refuse_twins(section: &mut Section<'_>, doors: &[(&'static str, &[SocketAddr])]) {
    let mut seen = BTreeMap::new();
    for (door, addresses) in doors {
        for address in addresses.iter().filter(|address| address.port() != 0) {
            match seen.insert(*address, *door) {
                Some(other) if other == *door => {
                    section.problem(door, format!("{address} stands there twice"));
                }
                Some(other) => {
                    section.problem(door, format!("{address} stands in `{other}` as well"));
                    seen.insert(*address, other);
                }
                None => {}
            }
        }
    }
}
