//! Where the doors are, and what holds before anything is said there.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{MIB, secs};
use crate::config::{Listen, reader::Section};

/// Where MQTT is spoken: the port that every device SDK has built in (D §2.1).
const MQTT_PORT: u16 = 8883;

pub(super) fn listen(section: &mut Section<'_>) -> Listen {
    let https = section.list("https", &["127.0.0.1:8443"], |text| address(text, 443));
    let default = beside(&https);
    let mqtt = section.list_or_none("mqtt", &default, |text| address(text, MQTT_PORT));
    refuse_twins(section, &https, &mqtt);
    let listen = Listen {
        https,
        mqtt,
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

/// Where the MQTT door is unless somebody says: beside the HTTPS door, and on a port of the
/// system's choice where that is.
fn beside(https: &[SocketAddr]) -> Vec<String> {
    let mut texts = Vec::new();
    for address in https {
        let port = if address.port() == 0 { 0 } else { MQTT_PORT };
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

fn refuse_twins(section: &mut Section<'_>, https: &[SocketAddr], mqtt: &[SocketAddr]) {
    let mut seen = BTreeSet::new();
    for address in https.iter().filter(|address| address.port() != 0) {
        if !seen.insert(*address) {
            section.problem("https", format!("{address} stands there twice"));
        }
    }
    for address in mqtt.iter().filter(|address| address.port() != 0) {
        if https.contains(address) {
            section.problem("mqtt", format!("{address} stands in `https` as well"));
        } else if !seen.insert(*address) {
            section.problem("mqtt", format!("{address} stands there twice"));
        }
    }
}
