//! The factory: a root, an intermediate below it, and a certificate for every device.

use std::{
    fs,
    path::{Path, PathBuf},
};

use model::Timestamp;

use crate::{
    cli::Failure,
    data_folder::write_file,
    simulate::{Authority, Identity},
};

/// What the factory made.
pub(super) struct Factory {
    /// Where it put the files.
    pub(super) folder: PathBuf,
    /// The intermediate's certificate, PEM: what the operator enrolls.
    pub(super) intermediate_pem: String,
    /// The devices, in order.
    pub(super) devices: Vec<Made>,
}

/// A device as it left the factory.
pub(super) struct Made {
    /// Its name: the common name of its certificate, and its registration ID.
    pub(super) id: String,
    /// The same, with its certificate and its key.
    pub(super) identity: Identity,
}

impl Factory {
    /// Makes `n_devices` devices and writes what belongs to each into `folder`.
    pub(super) fn build(folder: &Path, n_devices: usize, now: Timestamp) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let root = Authority::root("Demo factory root", 1, now)?;
        let (intermediate, intermediate_key) = root.below("Demo factory line 4", now)?;
        write_file(&folder.join("root.pem"), root.pem().as_bytes())?;
        write_file(&folder.join("intermediate.pem"), intermediate.pem().as_bytes())?;
        write_file(&folder.join("intermediate.key"), intermediate_key.as_bytes())?;

        let width = n_devices.to_string().len().max(2);
        let mut devices = Vec::with_capacity(n_devices);
        for number in 1..=n_devices {
            let id = format!("press-{number:0width$}");
            let certificate = intermediate.issue(&id, now)?;
            write_file(&folder.join(format!("{id}.pem")), certificate.chain_pem.as_bytes())?;
            write_file(&folder.join(format!("{id}.key")), certificate.key_pem.as_bytes())?;
            let identity = Identity::with_certificate(&id, &certificate)?;
            devices.push(Made { id, identity });
        }
        let intermediate_pem = intermediate.pem().to_owned();
        Ok(Self { folder: folder.to_owned(), intermediate_pem, devices })
    }
}
