//! The factory: a root, an intermediate below it, and a certificate for every device.

use std::{
    fs,
    path::{Path, PathBuf},
};

use model::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use time::OffsetDateTime;

use crate::{cli::Failure, data_folder::write_file};

const DAY_SECS: i64 = 24 * 60 * 60;

/// What the factory made.
pub(super) struct Factory {
    /// Where it put the files.
    pub(super) folder: PathBuf,
    /// The intermediate's certificate, PEM: what the operator enrolls.
    pub(super) intermediate_pem: String,
    /// The devices, in order.
    pub(super) devices: Vec<DeviceFiles>,
}

/// One device's credentials.
pub(super) struct DeviceFiles {
    /// Its name: the common name of its certificate, and its registration ID.
    pub(super) id: String,
    /// Its certificate and the intermediate's, PEM.
    pub(super) chain_pem: String,
    /// Its private key, PEM.
    pub(super) key_pem: String,
}

impl Factory {
    /// Makes `n_devices` devices and writes what belongs to each into `folder`.
    pub(super) fn build(folder: &Path, n_devices: usize, now: Timestamp) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let root_key = KeyPair::generate()?;
        let root_params = ca_params("Demo factory root", 1, now)?;
        let root = root_params.self_signed(&root_key)?;
        let root_issuer = Issuer::from_params(&root_params, &root_key);

        let intermediate_key = KeyPair::generate()?;
        let mut intermediate_params = ca_params("Demo factory line 4", 0, now)?;
        intermediate_params.use_authority_key_identifier_extension = true;
        let intermediate = intermediate_params.signed_by(&intermediate_key, &root_issuer)?;
        let intermediate_issuer = Issuer::from_params(&intermediate_params, &intermediate_key);
        let intermediate_pem = intermediate.pem();
        write_file(&folder.join("root.pem"), root.pem().as_bytes())?;
        write_file(&folder.join("intermediate.pem"), intermediate_pem.as_bytes())?;
        write_file(&folder.join("intermediate.key"), intermediate_key.serialize_pem().as_bytes())?;

        let width = n_devices.to_string().len().max(2);
        let mut devices = Vec::with_capacity(n_devices);
        for number in 1..=n_devices {
            let id = format!("press-{number:0width$}");
            let key = KeyPair::generate()?;
            let certificate = device_params(&id, now)?.signed_by(&key, &intermediate_issuer)?;
            let chain_pem = format!("{}{intermediate_pem}", certificate.pem());
            let key_pem = key.serialize_pem();
            write_file(&folder.join(format!("{id}.pem")), chain_pem.as_bytes())?;
            write_file(&folder.join(format!("{id}.key")), key_pem.as_bytes())?;
            devices.push(DeviceFiles { id, chain_pem, key_pem });
        }
        Ok(Self { folder: folder.to_owned(), intermediate_pem, devices })
    }
}

fn ca_params(name: &str, path_length: u8, now: Timestamp) -> Result<CertificateParams, Failure> {
    let mut params = named(name, 365, now)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn device_params(name: &str, now: Timestamp) -> Result<CertificateParams, Failure> {
    let mut params = named(name, 30, now)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn named(name: &str, days: i64, now: Timestamp) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = now.unix_secs();
    params.not_before = OffsetDateTime::from_unix_timestamp(now.saturating_sub(60))?;
    params.not_after = OffsetDateTime::from_unix_timestamp(now.saturating_add(days * DAY_SECS))?;
    Ok(params)
}
