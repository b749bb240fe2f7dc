//! From configuration to the parts of Induct: which store, which doors, with which settings. No
//! rules live here.

use std::sync::Arc;

use app::{App, AppSettings, ports::NoAllocationHook};
use attest::chain;
use decide::{
    attestation::AttestSettings, enrollment::EnrollmentLimits, register::RegisterSettings,
};
use http_door::HttpSettings;
use listen::ListenSettings;
use model::{HubName, HubSettings, IdScope, LinkedHub};
use store::Store;
use store_sqlite::SqliteSettings;

use crate::{
    config::Config,
    data_folder::DataFolder,
    ports::{SystemClock, SystemEntropy},
};

/// The use cases on this store.
#[must_use]
pub fn app(config: &Config, id_scope: IdScope, store: Arc<dyn Store>) -> App {
    let settings = app_settings(config, id_scope);
    let hook = Arc::new(NoAllocationHook);
    App::new(store, Arc::new(SystemClock), Arc::new(SystemEntropy), hook, settings)
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
            hubs: HubSettings {
                hubs: config
                    .hubs
                    .iter()
                    .map(|hub| LinkedHub {
                        name: hub.host.clone(),
                        weight: hub.weight,
                        apply_allocation_policy: hub.apply_allocation_policy,
                    })
                    .collect(),
                allocation_policy: config.service.allocation_policy,
            },
            max_registrations: limits.registrations,
        },
        enrollment_limits: EnrollmentLimits {
            individuals: limits.individual_enrollments,
            x509_groups: limits.x509_groups,
            symmetric_key_groups: limits.symmetric_key_groups,
        },
    }
}

/// The host names of the built-in hubs.
#[must_use]
pub fn hub_names(config: &Config) -> Vec<HubName> {
    config.hubs.iter().map(|hub| hub.host.clone()).collect()
}

/// What the store is told.
#[must_use]
pub fn store_settings(config: &Config, data: &DataFolder) -> SqliteSettings {
    SqliteSettings {
        path: data.database(),
        n_readers: config.store.readers,
        max_waiting: config.store.max_waiting,
        max_batch: config.store.max_batch,
    }
}

/// What the listener is told.
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
