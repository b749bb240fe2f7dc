//! The server's certificate: from the operator's files, or from Induct's own CA in `tls/` of the
//! data folder.
//!
//! The CA is made once. Server certificates are issued from it when there is none, when the names
//! have changed and when one nears its end; clients that trust the CA notice nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use listen::{ListenError, ServerCertificate, authority};
use model::{HubName, Timestamp};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    config::{Config, TlsFiles},
    data_folder::{
        DESCRIPTORS_REMEDY, DataFolder, is_out_of_descriptors, private_folder, rename, write_file,
    },
};

/// The server's certificate, and how it is kept up to date.
#[derive(Debug, Clone)]
pub struct Certificates {
    certificate: ServerCertificate,
    own: Option<Own>,
    /// The CA that vouches for it, if it is known.
    pub ca: Option<PathBuf>,
    /// Whether Induct's own CA was made just now.
    pub made_ca: bool,
}

/// Why there is no certificate to serve with.
#[derive(Debug, Error)]
pub enum CertificatesError {
    /// One of the own CA's two files is gone.
    #[error(
        "{} is missing; restore it from a backup, or remove `ca.pem` and `ca.key` both to have a \
         new CA made, which clients then have to be given",
        path.display()
    )]
    Lost {
        /// The missing file.
        path: PathBuf,
    },
    /// The files are not what they should be, or no certificate could be made.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A file of the own CA cannot be read or written.
    #[error(
        "cannot {doing} {}; {}",
        path.display(),
        if is_out_of_descriptors(source) {
            DESCRIPTORS_REMEDY
        } else {
            "check who owns the data folder"
        }
    )]
    File {
        /// What was done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

impl Certificates {
    /// Finds or makes the certificate that this configuration and these built-in hubs want.
    ///
    /// # Errors
    /// [`CertificatesError`], whose text says what to do.
    pub fn prepare(
        config: &Config,
        data: &DataFolder,
        hubs: &[HubName],
        now: Timestamp,
    ) -> Result<Self, CertificatesError> {
        match &config.tls.files {
            Some(files) => Ok(Self {
                certificate: load(files)?,
                own: None,
                ca: files.ca.clone(),
                made_ca: false,
            }),
            None => {
                let own = Own { folder: data.tls(), names: names_without_hubs(config) };
                let names = own.names_with(hubs);
                let made_ca = own.make_if_missing(&names, now)?;
                if !made_ca {
                    own.renew_if_due(&names, now)?;
                }
                let certificate = own.load_or_renew(&names, now)?;
                Ok(Self { certificate, ca: Some(data.ca()), own: Some(own), made_ca })
            }
        }
    }

    /// The certificate to listen with; exchanges through any clone are seen by all.
    #[must_use]
    pub fn server(&self) -> ServerCertificate {
        self.certificate.clone()
    }

    /// The chore: issues anew what nears its end or lacks the name of one of these built-in hubs,
    /// and takes changed files into use. Blocks for as long as it reads files.
    pub fn run_once(&self, hubs: &[HubName], now: Timestamp) {
        if let Some(own) = &self.own
            && let Err(error) = own.renew_if_due(&own.names_with(hubs), now)
        {
            warn!(
                error = &error as &dyn std::error::Error,
                "cannot renew the certificate: {error}"
            );
        }
        if let Err(error) = self.certificate.reload_if_changed() {
            warn!(
                error = &error as &dyn std::error::Error,
                "the changed certificate files cannot be used, the old certificate stays: {error}"
            );
        }
    }
}

/// The own CA and what it issued.
#[derive(Debug, Clone)]
struct Own {
    folder: PathBuf,
    /// What the configuration says, without hubs.
    names: Vec<String>,
}

impl Own {
    /// Every name a client may call.
    fn names_with(&self, hubs: &[HubName]) -> Vec<String> {
        let hubs = hubs.iter().map(|hub| hub.as_str().to_owned());
        without_repeats(self.names.iter().cloned().chain(hubs))
    }

    /// Makes CA and certificates if there is no `tls` folder; says whether it did. All files
    /// appear at once, so a crash leaves no half of a CA behind.
    fn make_if_missing(&self, names: &[String], now: Timestamp) -> Result<bool, CertificatesError> {
        if self.file("ca.pem").exists() || self.file("ca.key").exists() {
            return Ok(false);
        }
        let made = authority::create(names, now.unix_secs())?;
        let (rsa_chain, rsa_key) =
            authority::issue_server_rsa(&made.ca_pem, &made.ca_key_pem, names, now.unix_secs())?;
        let files = [
            ("ca.key", &made.ca_key_pem),
            ("server.key", &made.key_pem),
            ("server.pem", &made.chain_pem),
            ("server-rsa.key", &rsa_key),
            ("server-rsa.pem", &rsa_chain),
            ("ca.pem", &made.ca_pem),
        ];
        if self.folder.exists() {
            // The operator removed the CA's files and kept the folder. `ca.pem` comes last.
            for (name, text) in files {
                self.write(name, text)?;
            }
            return Ok(true);
        }
        let beside = self.folder.with_extension("new");
        let failed = |source| file_error("make", &beside, source);
        if beside.exists() {
            fs::remove_dir_all(&beside).map_err(failed)?;
        }
        private_folder(&beside).map_err(failed)?;
        for (name, text) in files {
            let path = beside.join(name);
            write_file(&path, text.as_bytes()).map_err(|e| file_error("write", &path, e))?;
        }
        rename(&beside, &self.folder).map_err(|e| file_error("make", &self.folder, e))?;
        Ok(true)
    }

    /// Issues the certificates anew that do not serve for all names or not for long.
    fn renew_if_due(&self, names: &[String], now: Timestamp) -> Result<(), CertificatesError> {
        for kind in [Kind::P256, Kind::Rsa] {
            let path = self.file(kind.chain());
            let chain = match fs::read_to_string(&path) {
                Ok(chain) => chain,
                // It may be as good as ever.
                Err(error) if is_out_of_descriptors(&error) => {
                    return Err(file_error("read", &path, error));
                }
                // Whatever stands there is no certificate.
                Err(_) => String::new(),
            };
            if !authority::covers(&chain, names, now.unix_secs()) {
                self.issue(kind, names, now)?;
            }
        }
        Ok(())
    }

    /// Loads both certificates. A pair that does not belong together is what a crash between two
    /// files leaves behind, and is issued anew.
    fn load_or_renew(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<ServerCertificate, CertificatesError> {
        let load = |kind: Kind| {
            ServerCertificate::from_files(&self.file(kind.chain()), &self.file(kind.key()))
        };
        let load_or_renew = |kind: Kind| match load(kind) {
            Ok(certificate) => Ok(certificate),
            Err(error) => {
                warn!("issuing a new server certificate, because the old one is unusable: {error}");
                self.issue(kind, names, now)?;
                Ok::<_, CertificatesError>(load(kind)?)
            }
        };
        Ok(load_or_renew(Kind::P256)?.with_rsa(load_or_renew(Kind::Rsa)?)?)
    }

    fn issue(&self, kind: Kind, names: &[String], now: Timestamp) -> Result<(), CertificatesError> {
        let ca = self.read("ca.pem")?;
        let ca_key = self.read("ca.key")?;
        let (chain, key) = match kind {
            Kind::P256 => authority::issue_server(&ca, &ca_key, names, now.unix_secs()),
            Kind::Rsa => authority::issue_server_rsa(&ca, &ca_key, names, now.unix_secs()),
        }?;
        self.write(kind.key(), &key)?;
        self.write(kind.chain(), &chain)?;
        info!("issued {} for {}", self.file(kind.chain()).display(), names.join(", "));
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn read(&self, name: &str) -> Result<String, CertificatesError> {
        let path = self.file(name);
        fs::read_to_string(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => CertificatesError::Lost { path: path.clone() },
            _ => file_error("read", &path, source),
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<(), CertificatesError> {
        let path = self.file(name);
        write_file(&path, text.as_bytes()).map_err(|source| file_error("write", &path, source))
    }
}

/// Which of the two server certificates.
#[derive(Debug, Clone, Copy)]
enum Kind {
    P256,
    Rsa,
}

impl Kind {
    const fn chain(self) -> &'static str {
        match self {
            Self::P256 => "server.pem",
            Self::Rsa => "server-rsa.pem",
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::P256 => "server.key",
            Self::Rsa => "server-rsa.key",
        }
    }
}

fn load(files: &TlsFiles) -> Result<ServerCertificate, CertificatesError> {
    let first = ServerCertificate::from_files(&files.certificate, &files.key)?;
    Ok(match &files.rsa {
        Some((chain, key)) => first.with_rsa(ServerCertificate::from_files(chain, key)?)?,
        None => first,
    })
}

/// The names a client may call besides those of the hubs: the service's, this machine's own, and
/// the addresses listened on.
fn names_without_hubs(config: &Config) -> Vec<String> {
    let addresses = config.listen.https.iter().map(|address| address.ip());
    let addresses = addresses.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
    let of_service = config.service.host_names.iter().cloned();
    let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    without_repeats(of_service.chain(own).chain(addresses))
}

fn without_repeats(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in all {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn file_error(doing: &'static str, path: &Path, source: io::Error) -> CertificatesError {
    CertificatesError::File { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
