//! From configuration to the parts of Induct: which store, which doors, with which settings. No
//! rules live here.

use std::{path::Path, sync::Arc};

use amqp::{AmqpDoor, AmqpSettings};
use app::{
    App, AppSettings,
    deprovision::DeprovisionSettings,
    device::HubLimits,
    first_start::{Declared, DeclaredHub},
    ports::Bell,
    remote::RemoteSettings,
};
use attest::chain;
use decide::{
    attestation::AttestSettings,
    hub::{event::Retention, message::MessageLimits},
    register::RegisterSettings,
};
use http_door::{HttpDoor, HttpSettings};
use listen::ListenSettings;
use model::{HubAccess, IdScope, LinkedHub, Quotas};
use mqtt::{MqttDoor, MqttSettings};
use store::Store;
use store_sqlite::{MasterKey, SqliteSettings};

use crate::{
    client::{ClientError, read_pem},
    config::Config,
    crl_fetcher::{CrlFetcherSettings, HttpsCrlFetcher},
    data_folder::{DataFolder, ListeningHub},
    ports::{SystemClock, SystemEntropy},
    remote_hub::{HttpsRemoteHubs, RemoteHubSettings, system_roots},
    webhook::{HttpsAllocationHook, WebhookSettings},
    websocket_doors::WebSocketDoors,
};

/// The use cases on this store; the bell wakes whoever works off what remote hubs have to be
/// told.
///
/// # Errors
/// A file of CAs cannot be read.
pub fn app(
    config: &Config,
    id_scope: IdScope,
    store: Arc<dyn Store>,
    bell: Arc<dyn Bell>,
) -> Result<App, ClientError> {
    let roots = system_roots();
    let trusted = |ca_file: Option<&Path>| {
        let own = ca_file.map(read_pem).transpose()?.unwrap_or_default();
        Ok::<_, ClientError>(format!("{roots}\n{own}"))
    };
    let webhook = &config.webhook;
    let hook = HttpsAllocationHook::new(WebhookSettings {
        ca_pem: trusted(webhook.ca_file.as_deref())?,
        time_limit: webhook.timeout,
        allow_http_on_loopback: webhook.allow_http_on_loopback,
    });
    let remote = &config.remote_hubs;
    let hubs = HttpsRemoteHubs::new(
        RemoteHubSettings {
            ca_pem: trusted(remote.ca_file.as_deref())?,
            connect_timeout: remote.connect_timeout,
            request_timeout: remote.request_timeout,
        },
        Arc::new(SystemClock),
    );
    let of_remote =
        RemoteSettings { deadline_secs: remote.deadline_secs, max_at_once: remote.max_at_once };
    let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
    let app = App::new(store, clock, entropy, Arc::new(hook), app_settings(config, id_scope));
    let crls = &config.crls;
    let fetcher = HttpsCrlFetcher::new(CrlFetcherSettings {
        ca_pem: trusted(crls.ca_file.as_deref())?,
        time_limit: crls.timeout,
        allow_http: crls.allow_http,
        allow_private_addresses: crls.allow_private_addresses,
    });
    let app = app.with_crl_fetcher(fetcher);
    let app = app.with_storm_settings(config.attempts);
    Ok(app.with_remote_hubs(Arc::new(hubs), bell, of_remote))
}

/// What the use cases are told.
#[must_use]
pub fn app_settings(config: &Config, id_scope: IdScope) -> AppSettings {
    let attestation = &config.attestation;
    let limits = &config.limits;
    AppSettings {
        service_hosts: config.service.host_names.clone(),
        register: RegisterSettings {
            attest: AttestSettings {
                id_scope,
                clock_skew_secs: attestation.clock_skew_secs,
                limits: chain::Limits {
                    max_certificates: attestation.max_chain_certificates,
                    max_certificate_bytes: attestation.max_certificate_bytes,
                    max_rsa_bits: attestation.max_rsa_bits,
                },
            },
            max_registrations: limits.registrations,
        },
        quotas: Quotas {
            registrations: limits.registrations,
            individual_enrollments: limits.individual_enrollments,
            x509_groups: limits.x509_groups,
            symmetric_key_groups: limits.symmetric_key_groups,
            ca_certificates: limits.ca_certificates,
            linked_hubs: limits.linked_hubs,
        },
        rates: config.rates,
        hub_limits: hub_limits(config),
    }
}

/// How devices are taken out that a plan is about.
#[must_use]
pub fn deprovisioning(config: &Config) -> DeprovisionSettings {
    let deprovision = &config.deprovision;
    DeprovisionSettings {
        devices_per_second: deprovision.devices_per_second,
        max_at_once: deprovision.max_at_once,
        ..DeprovisionSettings::default()
    }
}

/// What hubs take from their devices and keep for them.
fn hub_limits(config: &Config) -> HubLimits {
    let (events, messages) = (&config.events, &config.messages);
    HubLimits {
        event_partitions: events.partitions,
        retention: Retention {
            max_age_secs: events.max_age_secs,
            max_partition_bytes: events.max_partition_bytes,
            ..Retention::default()
        },
        messages: MessageLimits {
            max_queue: messages.max_waiting,
            default_ttl_secs: messages.default_ttl_secs,
            max_ttl_secs: messages.max_ttl_secs,
            max_deliveries: messages.max_deliveries,
            ..MessageLimits::default()
        },
    }
}

/// What the configuration file says about what is kept in the store.
#[must_use]
pub fn declared(config: &Config) -> Declared {
    let hubs = config.hubs.iter().map(|hub| DeclaredHub {
        name: hub.host.clone(),
        weight: hub.weight,
        apply_allocation_policy: hub.apply_allocation_policy,
    });
    Declared { hubs: hubs.collect(), allocation_policy: config.service.allocation_policy }
}

/// The built-in ones of these hubs. One from the configuration file has its short name from
/// there, another one the first label of its host name.
#[must_use]
pub fn built_in_hubs(config: &Config, hubs: &[LinkedHub]) -> Vec<ListeningHub> {
    let built_in = hubs.iter().filter(|hub| hub.access == HubAccess::BuiltIn);
    let listening = built_in.map(|hub| {
        let declared = config.hubs.iter().find(|declared| declared.host == hub.name);
        let first_label = || hub.name.as_str().split('.').next().unwrap_or_default().to_owned();
        ListeningHub {
            name: declared.map_or_else(first_label, |declared| declared.name.clone()),
            host: hub.name.as_str().to_owned(),
        }
    });
    listening.collect()
}

/// What the store is told.
#[must_use]
pub fn store_settings(config: &Config, data: &DataFolder, master_key: MasterKey) -> SqliteSettings {
    SqliteSettings {
        path: data.database(),
        n_readers: config.store.readers,
        max_waiting: config.store.max_waiting,
        max_batch: config.store.max_batch,
        master_key,
    }
}

/// What the listener of the HTTPS door is told.
#[must_use]
pub fn listen_settings(config: &Config) -> ListenSettings {
    let listen = &config.listen;
    ListenSettings {
        addresses: listen.https.clone(),
        handshake_timeout: listen.handshake_timeout,
        max_connections: listen.max_connections,
        max_connections_per_address: listen.max_connections_per_address,
        shutdown_grace: listen.shutdown_grace,
    }
}

/// What the listener of the MQTT door is told; nothing when there is none.
#[must_use]
pub fn mqtt_listen_settings(config: &Config) -> Option<ListenSettings> {
    let listen = &config.listen;
    (!listen.mqtt.is_empty()).then(|| ListenSettings {
        addresses: listen.mqtt.clone(),
        max_connections: listen.max_mqtt_connections,
        max_connections_per_address: listen.max_mqtt_connections_per_address,
        ..listen_settings(config)
    })
}

/// What the listener of the AMQP door is told; nothing when there is none.
#[must_use]
pub fn amqp_listen_settings(config: &Config) -> Option<ListenSettings> {
    let listen = &config.listen;
    (!listen.amqp.is_empty()).then(|| ListenSettings {
        addresses: listen.amqp.clone(),
        max_connections: listen.max_amqp_connections,
        max_connections_per_address: listen.max_amqp_connections_per_address,
        ..listen_settings(config)
    })
}

/// The doors that have a port of their own and are reached in WebSockets as well.
#[derive(Debug)]
pub struct InnerDoors {
    /// MQTT.
    pub mqtt: MqttDoor,
    /// AMQP.
    pub amqp: AmqpDoor,
}

/// All doors. MQTT and AMQP come to the HTTPS door as well, in WebSockets.
#[must_use]
pub fn doors(config: &Config, app: &App) -> (HttpDoor, InnerDoors) {
    let mqtt = MqttDoor::new(app.clone(), mqtt_settings(config));
    let amqp = AmqpDoor::new(app.clone(), amqp_settings(config));
    let https = HttpDoor::new(app.clone(), http_settings(config));
    let in_websockets = WebSocketDoors {
        mqtt: config.mqtt.websockets.then(|| mqtt.clone()),
        amqp: config.amqp.websockets.then(|| amqp.clone()),
    };
    let https = match in_websockets.is_empty() {
        true => https,
        false => https.with_upgrades(Arc::new(in_websockets)),
    };
    (https, InnerDoors { mqtt, amqp })
}

/// What the HTTPS door is told.
#[must_use]
pub fn http_settings(config: &Config) -> HttpSettings {
    let listen = &config.listen;
    HttpSettings {
        max_body_bytes: listen.max_body_bytes,
        max_body_bytes_in_flight: listen.max_body_bytes_in_flight,
        header_read_timeout: listen.header_timeout,
        idle_timeout: listen.idle_timeout,
        request_timeout: listen.request_timeout,
        max_headers: listen.max_headers,
        max_header_bytes: listen.max_header_bytes,
        retry_after_secs: config.service.retry_after_secs,
        ..HttpSettings::default()
    }
}

/// What the MQTT door is told.
#[must_use]
pub fn mqtt_settings(config: &Config) -> MqttSettings {
    let mqtt = &config.mqtt;
    MqttSettings {
        connect_timeout: mqtt.connect_timeout,
        max_connect_bytes: mqtt.max_connect_bytes,
        max_provisioning_packet_bytes: mqtt.max_provisioning_packet_bytes,
        max_hub_packet_bytes: mqtt.max_hub_packet_bytes,
        packet_timeout: mqtt.packet_timeout,
        keep_alive_cap: mqtt.keep_alive_cap,
        provisioning_idle_cap: mqtt.provisioning_idle_cap,
        request_timeout: config.listen.request_timeout,
        write_timeout: mqtt.write_timeout,
        retry_after_secs: config.service.retry_after_secs,
        max_in_flight_events: mqtt.max_in_flight_events,
        max_in_flight_messages: mqtt.max_in_flight_messages,
        room_bytes: mqtt.max_buffered_bytes,
    }
}

/// What the AMQP door is told.
#[must_use]
pub fn amqp_settings(config: &Config) -> AmqpSettings {
    let amqp = &config.amqp;
    let longest = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    AmqpSettings {
        connect_timeout: amqp.connect_timeout,
        tpm_timeout: amqp.tpm_timeout,
        proof_timeout: amqp.proof_timeout,
        max_message_bytes: longest(amqp.max_message_bytes),
        max_provisioning_message_bytes: longest(amqp.max_provisioning_message_bytes),
        credit: amqp.credit,
        max_devices_per_connection: amqp.max_devices_per_connection,
        max_waiting_bytes: amqp.max_waiting_bytes,
        frame_timeout: amqp.frame_timeout,
        idle_timeout: amqp.idle_timeout,
        request_timeout: config.listen.request_timeout,
        write_timeout: amqp.write_timeout,
        retry_after_secs: config.service.retry_after_secs,
        max_in_flight_events: amqp.max_in_flight_events,
        max_in_flight_messages: amqp.max_in_flight_messages,
        room_bytes: amqp.max_buffered_bytes,
        ..AmqpSettings::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Given, parse},
        ports::Environment,
    };

    fn config(text: &str) -> Config {
        let given = Given { config: None, data: Some("data".into()) };
        parse(text, None, &given, &Environment::default()).expect("legal").config
    }

    #[test]
    fn defaults_are_those_that_the_parts_document() {
        let config = config("");
        let same = |ours: String, theirs: String| assert_eq!(ours, theirs);
        same(format!("{:?}", mqtt_settings(&config)), format!("{:?}", MqttSettings::default()));
        same(format!("{:?}", amqp_settings(&config)), format!("{:?}", AmqpSettings::default()));
        same(format!("{:?}", hub_limits(&config)), format!("{:?}", HubLimits::default()));
        same(format!("{:?}", http_settings(&config)), format!("{:?}", HttpSettings::default()));
    }

    #[test]
    fn each_door_has_its_own_addresses_and_limits() {
        let config = config(
            "[listen]\nhttps = ['127.0.0.1:0']\nmqtt = ['[::1]:0']\n\
             amqp = ['[::2]:0']\nmax_connections = 1\nmax_mqtt_connections = 2\n\
             max_amqp_connections = 6\nmax_connections_per_address = 3\n\
             max_mqtt_connections_per_address = 4\nmax_amqp_connections_per_address = 5\n\
             handshake_timeout_secs = 7\n",
        );
        let figures = |settings: &ListenSettings| {
            let address = settings.addresses[0].to_string();
            (address, settings.max_connections, settings.max_connections_per_address)
        };
        let mqtt = mqtt_listen_settings(&config).expect("a door");
        assert_eq!(figures(&listen_settings(&config)), ("127.0.0.1:0".to_owned(), 1, 3));
        let amqp = amqp_listen_settings(&config).expect("a door");
        assert_eq!(figures(&mqtt), ("[::1]:0".to_owned(), 2, 4));
        assert_eq!(figures(&amqp), ("[::2]:0".to_owned(), 6, 5));
        assert_eq!((mqtt.handshake_timeout.as_secs(), amqp.handshake_timeout.as_secs()), (7, 7));
    }

    #[test]
    fn a_door_without_addresses_is_none() {
        let (no_mqtt, no_amqp) = (config("[listen]\nmqtt = []\n"), config("[listen]\namqp = []\n"));
        assert!(mqtt_listen_settings(&no_mqtt).is_none());
        assert!(amqp_listen_settings(&no_mqtt).is_some());
        assert!(amqp_listen_settings(&no_amqp).is_none());
        assert!(mqtt_listen_settings(&no_amqp).is_some());
    }
}
