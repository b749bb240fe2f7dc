//! From configuration to the parts of Induct: which store, which doors, with which settings. No
//! rules live here.

use std::{path::Path, sync::Arc};

use app::{
    App, AppSettings,
    first_start::{Declared, DeclaredHub},
    ports::Bell,
    remote::RemoteSettings,
};
use attest::chain;
use decide::{attestation::AttestSettings, register::RegisterSettings};
use http_door::HttpSettings;
use listen::ListenSettings;
use model::{HubAccess, IdScope, LinkedHub, Quotas};
use store::Store;
use store_sqlite::{MasterKey, SqliteSettings};

use crate::{
    client::{ClientError, read_pem},
    config::Config,
    data_folder::{DataFolder, ListeningHub},
    ports::{SystemClock, SystemEntropy},
    remote_hub::{HttpsRemoteHubs, RemoteHubSettings, system_roots},
    webhook::{HttpsAllocationHook, WebhookSettings},
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
        hub_limits: app::device::HubLimits::default(),
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
