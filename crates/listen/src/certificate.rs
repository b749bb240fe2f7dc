//! The server's certificate, and how it is exchanged while connections come and go.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::digest;
use rustls::SignatureAlgorithm;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tracing::info;
use zeroize::Zeroizing;

use crate::ListenError;

/// The most we read of a certificate or key file, in bytes.
const MAX_FILE_BYTES: u64 = 1_024 * 1_024;

/// What the server shows to prove who it is: a chain and its key, and optionally an RSA pair beside it.
///
/// A clone is the same certificate: an exchange through one is seen by all, from the next handshake
/// on. Open connections keep what they have.
#[derive(Clone)]
pub struct ServerCertificate {
    first: Arc<Pair>,
    rsa: Option<Arc<Pair>>,
}

/// One chain with its key, and the files it came from.
struct Pair {
    current: RwLock<Arc<CertifiedKey>>,
    files: Option<Files>,
    n_exchanges: AtomicU64,
}

struct Files {
    chain: PathBuf,
    key: PathBuf,
    /// The SHA-256 of what both files held when the current pair was read.
    /// Held during a reload, so that two reloads do not overtake each other.
    seen: Mutex<Vec<u8>>,
}

impl ServerCertificate {
    /// The certificate chain (leaf first, without the root) and private key in these PEM texts.
    ///
    /// # Errors
    /// [`ListenError::BadChain`], [`ListenError::BadKey`], or [`ListenError::Mismatch`] when they do not
    /// belong together.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> Result<Self, ListenError> {
        let origin = Origin { chain: "the certificate text".into(), key: "the key text".into() };
        let loaded = load(chain_pem.as_bytes(), key_pem.as_bytes(), &origin)?;
        Ok(Self { first: Arc::new(Pair::new(loaded, None)), rsa: None })
    }

    /// The certificate chain and key in these PEM files, which [`Self::reload_if_changed`] reads again.
    ///
    /// # Errors
    /// As [`Self::from_pem`], and [`ListenError::Read`] or [`ListenError::TooLarge`] (above 1 MiB).
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, ListenError> {
        let (loaded, seen) = read(chain, key)?;
        let files = Files { chain: chain.into(), key: key.into(), seen: Mutex::new(seen) };
        Ok(Self { first: Arc::new(Pair::new(loaded, Some(files))), rsa: None })
    }

    /// Adds `rsa` for clients that cannot use the first certificate.
    ///
    /// Which one a client gets is decided by the signature schemes and cipher suites it offers: the
    /// first certificate if its key can sign with one of them, else the RSA one. An RSA-2048 key costs
    /// the server 2.5 times the work of a P-256 key, so the first should be P-256.
    ///
    /// # Errors
    /// [`ListenError::NotRsa`] when `rsa` has another kind of key.
    pub fn with_rsa(self, rsa: Self) -> Result<Self, ListenError> {
        if rsa.first.current().key.algorithm() != SignatureAlgorithm::RSA {
            return Err(ListenError::NotRsa { origin: rsa.first.origin().chain });
        }
        Ok(Self { first: self.first, rsa: Some(rsa.first) })
    }

    /// Reads the files again and exchanges what changed; says whether anything was exchanged.
    ///
    /// A chore for a timer: it reads whole files (at most 1 MiB each) and blocks for that long. It compares
    /// contents, so a file that was only touched changes nothing, and a change within the clock's
    /// resolution is not missed. Certificates given as text never change.
    ///
    /// # Errors
    /// As [`Self::from_files`], and [`ListenError::NotRsa`]. The certificate in use stays, and the error is
    /// repeated on every call until the files are right again. Somebody replacing two files one after the
    /// other causes one [`ListenError::Mismatch`] if the chore runs between them; the next run succeeds.
    pub fn reload_if_changed(&self) -> Result<bool, ListenError> {
        let first = self.first.reload(|_| true);
        let rsa = match &self.rsa {
            Some(pair) => pair.reload(|new| new.key.algorithm() == SignatureAlgorithm::RSA),
            None => Ok(false),
        };
        Ok(first? | rsa?)
    }

    /// The chain in use, leaf first; the first one, where there is an RSA one beside it.
    #[must_use]
    pub fn chain_der(&self) -> Vec<CertificateDer<'static>> {
        self.first.current().cert.clone()
    }

    /// How often a certificate was exchanged since the start.
    pub(crate) fn n_exchanges(&self) -> u64 {
        let of = |pair: &Arc<Pair>| pair.n_exchanges.load(Ordering::Acquire);
        of(&self.first) + self.rsa.as_ref().map_or(0, of)
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCertificate")
            .field("chain", &self.first.origin().chain)
            .field("has_rsa", &self.rsa.is_some())
            .field("key", &"[secret]")
            .finish()
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has already struck out the schemes that fit none of the client's cipher suites.
        let serves =
            |pair: &CertifiedKey| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        let first = self.first.current();
        if serves(&first) {
            return Some(first);
        }
        let rsa = self.rsa.as_ref().map(|pair| pair.current()).filter(|pair| serves(pair));
        // With neither, the first makes rustls say in the log what the client lacks.
        Some(rsa.unwrap_or(first))
    }
}

impl Pair {
    fn new(loaded: CertifiedKey, files: Option<Files>) -> Self {
        Self { current: RwLock::new(Arc::new(loaded)), files, n_exchanges: AtomicU64::new(0) }
    }

    fn current(&self) -> Arc<CertifiedKey> {
        // The lock guards one pointer: a poisoned one still holds a whole value.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn origin(&self) -> Origin {
        match &self.files {
            Some(files) => Origin::files(&files.chain, &files.key),
            None => Origin { chain: "the certificate text".into(), key: "the key text".into() },
        }
    }

    fn reload(&self, fits: impl FnOnce(&CertifiedKey) -> bool) -> Result<bool, ListenError> {
        let Some(files) = &self.files else {
            return Ok(false);
        };
        let mut seen = files.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = Texts::read(&files.chain, &files.key)?;
        let now_seen = texts.fingerprint();
        if *seen == now_seen {
            return Ok(false);
        }
        let origin = self.origin();
        let loaded = load(&texts.chain, &texts.key, &origin)?;
        if !fits(&loaded) {
            return Err(ListenError::NotRsa { origin: origin.chain });
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        self.n_exchanges.fetch_add(1, Ordering::Release);
        *seen = now_seen;
        info!("server certificate exchanged: new handshakes use {}", origin.chain);
        Ok(true)
    }
}

/// What to call a chain and a key in messages.
struct Origin {
    chain: String,
    key: String,
}

impl Origin {
    fn files(chain: &Path, key: &Path) -> Self {
        Self { chain: format!("`{}`", chain.display()), key: format!("`{}`", key.display()) }
    }
}

/// The contents of a chain file and a key file.
struct Texts {
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Texts {
    fn read(chain: &Path, key: &Path) -> Result<Self, ListenError> {
        Ok(Self { chain: read_file(chain)?, key: Zeroizing::new(read_file(key)?) })
    }

    fn fingerprint(&self) -> Vec<u8> {
        let mut hash = digest::Context::new(&digest::SHA256);
        // The length in front keeps a byte that moves from one file to the other visible.
        hash.update(&(self.chain.len() as u64).to_be_bytes());
        hash.update(&self.chain);
        hash.update(&self.key);
        hash.finish().as_ref().to_vec()
    }
}

fn read(chain: &Path, key: &Path) -> Result<(CertifiedKey, Vec<u8>), ListenError> {
    let texts = Texts::read(chain, key)?;
    let loaded = load(&texts.chain, &texts.key, &Origin::files(chain, key))?;
    Ok((loaded, texts.fingerprint()))
}

fn read_file(path: &Path) -> Result<Vec<u8>, ListenError> {
    let cannot = |source| ListenError::Read { path: path.into(), source };
    let file = File::open(path).map_err(cannot)?;
    let mut content = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(cannot)?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(ListenError::TooLarge { path: path.into(), limit_bytes: MAX_FILE_BYTES });
    }
    Ok(content)
}

fn load(chain_pem: &[u8], key_pem: &[u8], origin: &Origin) -> Result<CertifiedKey, ListenError> {
    let bad_chain =
        |problem: String| ListenError::BadChain { origin: origin.chain.clone(), problem };
    let chain = CertificateDer::pem_slice_iter(chain_pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| bad_chain(error.to_string()))?;
    if chain.is_empty() {
        return Err(bad_chain("there is no `BEGIN CERTIFICATE` in it".into()));
    }
    // The parser's error may quote the text, so it is not passed on.
    let bad_key = || ListenError::BadKey { origin: origin.key.clone() };
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| bad_key())?;
    let key = provider().key_provider.load_private_key(key).map_err(|_| bad_key())?;
    let pair = CertifiedKey::new(chain, key);
    pair.keys_match().map_err(|source| ListenError::Mismatch {
        chain: origin.chain.clone(),
        key: origin.key.clone(),
        source,
    })?;
    Ok(pair)
}

/// The cryptography we use, given explicitly everywhere: never the process default.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
