//! The settings, one function a section: names, defaults, bounds. `induct.example.toml` explains
//! each in the same order.

mod devices;
mod listen;
mod outside;

use std::time::Duration;

use app::{
    deprovision::DeprovisionSettings,
    limits::{Rate, RateSettings},
};
use model::{AllocationPolicy, HubName};
use toml::Value;

use self::{
    devices::{amqp, attempts, events, messages, mqtt},
    listen::listen,
    outside::{crls, remote_hubs, secrets, webhook},
};
use super::{
    Attestation, Config, Deprovision, Given, Hub, Limits, Log, LogFormat, LogLevel, Origin,
    Registrations, Service, Store, Tls, TlsFiles, lookup,
    reader::{Reader, Section},
};
use crate::ports::Environment;

/// The most hubs (O §6.3).
const MAX_HUBS: usize = 50;
const MIB: usize = 1024 * 1024;

pub(super) fn read(reader: &mut Reader, given: &Given, environment: &Environment) -> Config {
    let service = reader.section("service", service);
    let listen = reader.section("listen", listen);
    let tls = reader.section("tls", tls);
    let hubs = hubs(reader, &service);
    let data_folder = data_folder(reader, given, environment);
    let attestation = reader.section("attestation", attestation);
    let mqtt = reader.section("mqtt", mqtt);
    let amqp = reader.section("amqp", amqp);
    let events = reader.section("events", events);
    let messages = reader.section("messages", messages);
    let registrations = reader.section("registrations", registrations);
    let deprovision = reader.section("deprovision", deprovision);
    let limits = reader.section("limits", limits);
    let rates = reader.section("rates", rates);
    let attempts = reader.section("attempts", attempts);
    let master_key = secrets(reader, environment);
    let webhook = reader.section("webhook", webhook);
    let crls = reader.section("crls", crls);
    let remote_hubs = reader.section("remote_hubs", remote_hubs);
    let log = reader.section("log", log);
    let store = reader.section("store", store);
    Config {
        service,
        listen,
        tls,
        hubs,
        data_folder,
        attestation,
        mqtt,
        amqp,
        events,
        messages,
        registrations,
        deprovision,
        limits,
        rates,
        attempts,
        master_key,
        webhook,
        crls,
        remote_hubs,
        log,
        store,
    }
}

fn service(section: &mut Section<'_>) -> Service {
    let host_names = section.list("host_names", &["localhost"], host_name);
    let policies = [
        ("hashed", AllocationPolicy::Hashed),
        ("geoLatency", AllocationPolicy::GeoLatency),
        ("static", AllocationPolicy::Static),
    ];
    let allocation_policy = section.choice("allocation_policy", &policies, "hashed");
    // Java's SDK takes 2 to 5 only (D §1.6).
    let retry_after_secs = section.integer("retry_after_secs", 3, 2..=5);
    Service {
        host_names,
        allocation_policy: allocation_policy.unwrap_or(AllocationPolicy::Hashed),
        retry_after_secs: u32::try_from(retry_after_secs).unwrap_or(3),
    }
}

fn tls(section: &mut Section<'_>) -> Tls {
    let certificate = section.path("certificate");
    let key = section.path("key");
    let rsa_certificate = section.path("rsa_certificate");
    let rsa_key = section.path("rsa_key");
    let ca = section.path("ca");
    let reload = secs(section, "reload_secs", 10, 1, 86_400);
    let rsa = match (rsa_certificate, rsa_key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            section.problem("rsa_key", "is missing; `rsa_certificate` needs its private key");
            None
        }
        (None, Some(_)) => {
            section.problem("rsa_certificate", "is missing; `rsa_key` belongs to a certificate");
            None
        }
    };
    let files = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key, rsa, ca }),
        (None, None) => {
            if rsa.is_some() {
                section.problem("certificate", "is missing; the RSA pair only stands beside it");
            }
            if ca.is_some() {
                section.problem(
                    "ca",
                    "is for a `certificate` of your own; without one, Induct's own CA signs",
                );
            }
            None
        }
        (Some(_), None) => {
            section.problem("key", "is missing; `certificate` needs its private key");
            None
        }
        (None, Some(_)) => {
            section.problem("certificate", "is missing; `key` belongs to a certificate");
            None
        }
    };
    Tls { files, reload }
}

fn hubs(reader: &mut Reader, service: &Service) -> Vec<Hub> {
    let listed = reader.sections("hubs", |section| {
        let name = section.checked("name", "", label);
        let host = section.checked("host", "", |text| {
            HubName::parse(text).map(|host| host.as_str().to_owned()).map_err(|_| {
                format!(
                    "`{text}` is not a host name such as hub-1.localhost: letters, digits and \
                     dashes, with at least one dot"
                )
            })
        });
        let weight = section.integer("weight", 1, 1..=1_000);
        Listed {
            name,
            host: HubName::parse(&host).ok(),
            weight: u32::try_from(weight).unwrap_or(1),
            apply_allocation_policy: section.flag("apply_allocation_policy", true),
        }
    });
    let Some(listed) = listed else { return default_hubs(reader) };
    if listed.is_empty() || listed.len() > MAX_HUBS {
        let n = listed.len();
        reader.problem("hubs", format!("has {n} hubs; there may be 1 to {MAX_HUBS}"));
    }
    let mut hubs: Vec<Hub> = Vec::new();
    for (i, hub) in listed.into_iter().enumerate() {
        let path = |key| format!("hubs[{i}].{key}");
        let Some(host) = hub.host else {
            if !reader.has_problem(&path("host")) {
                let text = "is needed: what devices are told, such as hub-1.localhost";
                reader.problem(&path("host"), text.to_owned());
            }
            continue;
        };
        let name = if hub.name.is_empty() {
            let name = first_label(&host);
            reader.amend(&path("name"), Value::from(name.as_str()));
            name
        } else {
            hub.name
        };
        let mut problem = |key, text| reader.problem(&path(key), text);
        if hubs.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
            problem("name", format!("another hub is called `{name}` already"));
        }
        if hubs.iter().any(|other| other.host == host) {
            problem("host", format!("another hub has the host name `{host}` already"));
        }
        if service.host_names.iter().any(|name| name == host.as_str()) {
            problem(
                "host",
                format!(
                    "`{host}` is a name of the provisioning service as well; the name a client \
                     calls must tell which of them it means"
                ),
            );
        }
        let Listed { weight, apply_allocation_policy, .. } = hub;
        hubs.push(Hub { name, host, weight, apply_allocation_policy });
    }
    hubs
}

/// A hub as it was read, its host possibly missing.
struct Listed {
    name: String,
    host: Option<HubName>,
    weight: u32,
    apply_allocation_policy: bool,
}

fn default_hubs(reader: &mut Reader) -> Vec<Hub> {
    let host = "hub-1.localhost";
    let values = [
        ("name", Value::from("hub-1")),
        ("host", Value::from(host)),
        ("weight", Value::from(1)),
        ("apply_allocation_policy", Value::from(true)),
    ];
    for (key, value) in values {
        reader.note_default(format!("hubs[0].{key}"), value);
    }
    let name = HubName::parse(host).ok();
    name.map(|host| Hub {
        name: "hub-1".to_owned(),
        host,
        weight: 1,
        apply_allocation_policy: true,
    })
    .into_iter()
    .collect()
}

fn data_folder(
    reader: &mut Reader,
    given: &Given,
    environment: &Environment,
) -> std::path::PathBuf {
    let configured = reader.section("data", |section| {
        let folder = section.path("folder");
        let shown = |path: &std::path::Path| Value::String(path.display().to_string());
        if let Some(folder) = &given.data {
            let folder = environment.working_folder.join(folder);
            section.overrule(shown(&folder), Origin::CommandLine);
            return Some(folder);
        }
        folder.or_else(|| {
            let folder = lookup::default_data_folder(environment)?;
            section.overrule(shown(&folder), Origin::Default);
            Some(folder)
        })
    });
    configured.unwrap_or_else(|| {
        reader.other_problem(lookup::no_home());
        std::path::PathBuf::new()
    })
}

fn attestation(section: &mut Section<'_>) -> Attestation {
    let limits = attest::chain::Limits::default();
    let default_skew = attest::sas::Settings::default().clock_skew_secs;
    Attestation {
        clock_skew_secs: section.integer("clock_skew_secs", default_skew, 0..=86_400),
        max_chain_certificates: section.count(
            "max_chain_certificates",
            limits.max_certificates,
            1..=100,
        ),
        max_certificate_bytes: section.count(
            "max_certificate_bytes",
            limits.max_certificate_bytes,
            1_024..=64 * 1024,
        ),
        max_rsa_bits: section.count("max_rsa_bits", limits.max_rsa_bits, 2_048..=8_192),
    }
}

fn registrations(section: &mut Section<'_>) -> Registrations {
    let hours = section.integer("orphan_expiry_hours", 0, 0..=10 * 365 * 24);
    Registrations { orphan_expiry_secs: (hours > 0).then_some(hours * 3_600) }
}

fn deprovision(section: &mut Section<'_>) -> Deprovision {
    let defaults = DeprovisionSettings::default();
    let per_second = i64::from(defaults.devices_per_second);
    let per_second = section.integer("devices_per_second", per_second, 0..=1_000_000);
    Deprovision {
        devices_per_second: u32::try_from(per_second).unwrap_or_default(),
        max_at_once: section.count("max_at_once", defaults.max_at_once, 1..=256),
    }
}

fn limits(section: &mut Section<'_>) -> Limits {
    let mut limit = |key, default: i64| {
        let number = section.integer(key, default, 0..=1_000_000_000);
        u64::try_from(number).unwrap_or_default()
    };
    // Defaults: D §6.
    Limits {
        registrations: limit("registrations", 1_000_000),
        individual_enrollments: limit("individual_enrollments", 1_000_000),
        x509_groups: limit("x509_groups", 100),
        symmetric_key_groups: limit("symmetric_key_groups", 100),
        ca_certificates: limit("ca_certificates", 25),
        linked_hubs: limit("linked_hubs", 50),
    }
}

/// Rates are off unless someone wants them (D §6).
fn rates(section: &mut Section<'_>) -> RateSettings {
    let mut rate = |key, per_secs| {
        let n = u32::try_from(section.integer(key, 0, 0..=1_000_000)).unwrap_or_default();
        (n > 0).then_some(Rate { n, per_secs })
    };
    RateSettings {
        registrations: rate("registrations_per_minute", 60),
        operator_calls: rate("operator_calls_per_minute", 60),
        device_registrations: rate("device_registrations_per_minute", 60),
        device_polls: rate("device_polls_per_10_secs", 10),
        device_calls_per_address: rate("device_calls_per_address_per_minute", 60),
        operator_calls_per_address: rate("operator_calls_per_address_per_minute", 60),
        max_remembered: section.count("max_remembered", 100_000, 100..=10_000_000),
    }
}

fn log(section: &mut Section<'_>) -> Log {
    let levels = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    Log {
        level: section.choice("level", &levels, "info").unwrap_or(LogLevel::Info),
        format: section.choice("format", &formats, "text").unwrap_or(LogFormat::Text),
    }
}

fn store(section: &mut Section<'_>) -> Store {
    Store {
        readers: section.count("readers", 4, 1..=64),
        max_batch: section.count("max_batch", 256, 1..=10_000),
        max_waiting: section.count("max_waiting", 1_024, 1..=100_000),
    }
}

fn secs(section: &mut Section<'_>, key: &str, default: i64, least: i64, most: i64) -> Duration {
    let secs = section.integer(key, default, least..=most);
    Duration::from_secs(u64::try_from(secs).unwrap_or_default())
}

/// A DNS name or IP address without port, in lower case.
fn host_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let labels_fit = text.split('.').all(|label| {
        (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    });
    if text.len() <= 253 && text.chars().all(fits) && labels_fit {
        return Ok(text.to_ascii_lowercase());
    }
    Err(match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.parse::<u16>().is_ok() => {
            format!("`{text}` has a port; write `{host}` here and the port into listen.https")
        }
        _ => format!("`{text}` is not a host name such as provisioning.example.com"),
    })
}

/// A hub's short name.
fn label(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    if (1..=63).contains(&text.len()) && text.chars().all(fits) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a name of 1 to 63 letters, digits, dashes or underscores"))
    }
}

fn first_label(host: &HubName) -> String {
    host.as_str().split('.').next().unwrap_or_default().to_owned()
}
