//! Asking a TPM through tpm2-tools, which know every way to reach one.
//!
//! Nothing is left in the TPM but what `--persist` asks for: keys that had to be made for a look
//! are flushed again, those of other programs are not touched.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use crate::cli::{complaint::Complaint, input};

/// Where clients of the vendor's expect the endorsement key (D appendix A.2).
pub(super) const ENDORSEMENT_KEY: &str = "0x81010001";
/// Where they expect the storage root key.
pub(super) const STORAGE_ROOT_KEY: &str = "0x81000001";
/// Where the TCG's EK Credential Profile has the certificate of the RSA-2048 endorsement key.
const CERTIFICATE: &str = "0x01c00002";

/// The attributes of the storage root key's template.
const STORAGE_ATTRIBUTES: &str =
    "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";

/// How long one tool may take. A small TPM needs many seconds for an RSA key.
const PATIENCE: Duration = Duration::from_secs(180);

/// How many lines of what a tool complained about are repeated.
const MAX_LINES: usize = 4;

/// A TPM behind a TCTI.
pub(super) struct Tools {
    tcti: String,
    folder: TempDir,
}

/// What becomes of keys that are not where clients expect them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// They are made for this look only.
    Made,
    /// They are made, and kept where clients expect them.
    Kept,
}

impl Tools {
    /// The TPM behind this TCTI, such as `device:/dev/tpmrm0`.
    ///
    /// # Errors
    /// There is no place for temporary files.
    pub(super) fn new(tcti: String) -> io::Result<Self> {
        Ok(Self { tcti, folder: TempDir::new()? })
    }

    /// The endorsement key, TPM2B_PUBLIC.
    ///
    /// # Errors
    /// A tool is missing, the TPM cannot be reached, or it refuses.
    pub(super) async fn endorsement_key(&self, missing: Missing) -> Result<Vec<u8>, Complaint> {
        let file = self.file("ek.pub");
        if self.holds("handles-persistent", ENDORSEMENT_KEY).await? {
            self.read_public(ENDORSEMENT_KEY, &file).await?;
            return input::bytes("the endorsement key", &file);
        }
        let context = match missing {
            Missing::Kept => PathBuf::from(ENDORSEMENT_KEY),
            Missing::Made => self.file("ek.ctx"),
        };
        self.and_flush(async || {
            let options = ["-Q", "-G", "rsa", "-f", "tss", "-c", &text(&context)?];
            self.run("tpm2_createek", &[&options[..], &["-u", &text(&file)?]].concat()).await
        })
        .await?;
        input::bytes("the endorsement key", &file)
    }

    /// The storage root key, TPM2B_PUBLIC.
    ///
    /// # Errors
    /// As [`Self::endorsement_key`].
    pub(super) async fn storage_root_key(&self, missing: Missing) -> Result<Vec<u8>, Complaint> {
        let file = self.file("srk.pub");
        if self.holds("handles-persistent", STORAGE_ROOT_KEY).await? {
            self.read_public(STORAGE_ROOT_KEY, &file).await?;
            return input::bytes("the storage root key", &file);
        }
        let context = text(&self.file("srk.ctx"))?;
        self.and_flush(async || {
            let template = ["-Q", "-C", "o", "-g", "sha256", "-G", "rsa", "-a", STORAGE_ATTRIBUTES];
            self.run("tpm2_createprimary", &[&template[..], &["-c", &context]].concat()).await?;
            if missing == Missing::Kept {
                let options = ["-Q", "-C", "o", "-c", &context, STORAGE_ROOT_KEY];
                self.run("tpm2_evictcontrol", &options).await?;
            }
            self.read_public(&context, &file).await
        })
        .await?;
        input::bytes("the storage root key", &file)
    }

    /// The endorsement key's certificate, DER, if the TPM holds one.
    ///
    /// # Errors
    /// As [`Self::endorsement_key`].
    pub(super) async fn certificate(&self) -> Result<Option<Vec<u8>>, Complaint> {
        if !self.holds("handles-nv-index", CERTIFICATE).await? {
            return Ok(None);
        }
        let file = self.file("ek.crt");
        self.run("tpm2_nvread", &["-Q", "-o", &text(&file)?, CERTIFICATE]).await?;
        let bytes = input::bytes("the endorsement certificate", &file)?;
        Ok(Some(unpadded(&bytes).to_vec()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn read_public(&self, object: &str, file: &Path) -> Result<(), Complaint> {
        let file = text(file)?;
        self.run("tpm2_readpublic", &["-Q", "-c", object, "-f", "tss", "-o", &file]).await?;
        Ok(())
    }

    /// Whether one of the TPM's handles of this kind is that one.
    async fn holds(&self, kind: &str, handle: &str) -> Result<bool, Complaint> {
        let is_it = |found: &String| number(found).is_some() && number(found) == number(handle);
        Ok(self.handles(kind).await?.iter().any(is_it))
    }

    async fn handles(&self, kind: &str) -> Result<Vec<String>, Complaint> {
        let listed = self.run("tpm2_getcap", &[kind]).await?;
        let handle = |line: &str| line.trim().strip_prefix("- ").map(|handle| handle.to_owned());
        Ok(listed.lines().filter_map(handle).collect())
    }

    /// Does something, and flushes what it left in the TPM's working memory, which has room for
    /// three keys only. A resource manager does so by itself.
    async fn and_flush<T>(
        &self,
        work: impl AsyncFnOnce() -> Result<T, Complaint>,
    ) -> Result<T, Complaint> {
        const KIND: &str = "handles-transient";
        let before = self.handles(KIND).await?;
        let outcome = work().await;
        for handle in self.handles(KIND).await.unwrap_or_default() {
            if !before.contains(&handle) {
                // It takes room until the TPM is reset, and the answer does not depend on it.
                let _ = self.run("tpm2_flushcontext", &[&handle]).await;
            }
        }
        outcome
    }

    /// Runs a tool: gives what it printed.
    async fn run<T: AsRef<str>>(&self, tool: &str, options: &[T]) -> Result<String, Complaint> {
        let child = Command::new(tool)
            .arg(format!("--tcti={}", self.tcti))
            .args(options.iter().map(AsRef::as_ref))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let cannot = |why: String| Complaint::new(format!("`{tool}` {why}"));
        let output = match timeout(PATIENCE, child).await {
            Err(_) => {
                let secs = PATIENCE.as_secs();
                return Err(cannot(format!("did not answer within {secs} seconds."))
                    .with_remedy("Does another program hold the TPM?"));
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Err(cannot("is not installed.".to_owned()).with_remedy(
                    "On Debian and Ubuntu: apt-get install -y tpm2-tools; and for a TPM in software \
                     (swtpm) libtss2-tcti-swtpm0. Or read the keys elsewhere, and pass their files \
                     with --ek and --srk.",
                ));
            }
            Ok(Err(error)) => return Err(cannot(format!("could not be run: {error}."))),
            Ok(Ok(output)) => output,
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let mut complaint = cannot(format!("failed with the TPM at `{}`.", self.tcti));
        complaint.facts.extend(said(&String::from_utf8_lossy(&output.stderr)));
        Err(complaint.with_remedy(
            "Is the TPM there, and may you use it (group tss, or root)? --tcti names another; --ek \
             and --srk take files.",
        ))
    }
}

/// A handle's number. The tools write none of the zeros in front of it.
fn number(handle: &str) -> Option<u32> {
    u32::from_str_radix(handle.trim_start_matches("0x"), 16).ok()
}

/// What is worth repeating of a tool's complaints: its own, without those of the layers below it.
fn said(stderr: &str) -> impl Iterator<Item = String> {
    let own =
        |line: &&str| line.starts_with("ERROR: ") && !line.starts_with("ERROR: Unable to run");
    stderr.lines().filter(own).take(MAX_LINES).map(|line| line.chars().take(200).collect())
}

/// A path as an argument.
fn text(path: &Path) -> Result<String, Complaint> {
    let not_text = || Complaint::new(format!("The path {} is not UTF-8.", path.display()));
    path.to_str().map(str::to_owned).ok_or_else(not_text)
}

/// A certificate without what follows it: some TPMs keep it in more room than it needs.
fn unpadded(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0x30, 0x82, high, low, ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low])) + 4;
            bytes.get(..length).unwrap_or(bytes)
        }
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_ends_where_it_says() {
        let padded = [&[0x30, 0x82, 0x00, 0x02, 0x30, 0x00][..], &[0xFF; 9]].concat();
        assert_eq!(unpadded(&padded), [0x30, 0x82, 0x00, 0x02, 0x30, 0x00]);
        for odd in [&[][..], &[0x30], &[0x30, 0x82, 0xFF, 0xFF, 0x00], b"text"] {
            assert_eq!(unpadded(odd), odd);
        }
    }

    #[test]
    fn only_the_tools_own_words_are_repeated() {
        let stderr = "WARNING:esys:src/x.c:303 Received TPM Error\n\
                      ERROR:esys:src/y.c:107 Esys Finish\n\
                      ERROR: Esys_GetCapability(0x101) - tpm:error(2.0): a TPM failure\n\
                      ERROR: Unable to run tpm2_getcap\n";
        let said: Vec<_> = said(stderr).collect();
        assert_eq!(said, ["ERROR: Esys_GetCapability(0x101) - tpm:error(2.0): a TPM failure"]);
    }
}
