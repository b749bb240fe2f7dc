//! A TPM 2.0 in software, and the vendor's clients' part of attestation done with its tools.
//!
//! Wants Debian's swtpm, tpm2-tools and libtss2-tcti-swtpm0; without them the tests that use it
//! fail.

use std::{fs, path::PathBuf, process::Command};

use tempfile::TempDir;

use super::signal;

/// Where the tools of the system are.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A running swtpm. Dropping it ends it.
pub(crate) struct Swtpm {
    folder: TempDir,
}

impl Swtpm {
    /// A new TPM, which has no persistent keys and no certificate.
    pub(crate) fn start() -> Self {
        let tpm = Self { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir(tpm.file("state")).expect("a folder");
        let (state, socket) = (tpm.text("state"), tpm.text("tpm.sock"));
        // It listens when the first process ends.
        let started = Command::new("swtpm")
            .args(["socket", "--tpm2", "--daemon", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={state}"), "--pid"])
            .arg(format!("file={}", tpm.text("pid")))
            .args(["--server", &format!("type=unixio,path={socket}")])
            .args(["--ctrl", &format!("type=unixio,path={socket}.ctrl")])
            .env("PATH", PATH)
            .output()
            .expect("apt-get install swtpm tpm2-tools libtss2-tcti-swtpm0");
        assert!(started.status.success(), "{started:?}");
        tpm
    }

    /// How tools reach it.
    pub(crate) fn tcti(&self) -> String {
        format!("swtpm:path={}", self.text("tpm.sock"))
    }

    /// A file beside it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The path of a file beside it.
    pub(crate) fn text(&self, name: &str) -> String {
        self.file(name).to_str().expect("UTF-8").to_owned()
    }

    /// Runs one of tpm2-tools in the folder beside the TPM: gives what it printed.
    pub(crate) fn tool(&self, line: &str) -> String {
        let mut words = line.split(' ');
        let tool = words.next().expect("a word");
        let output = Command::new(tool)
            .arg(format!("--tcti={}", self.tcti()))
            .args(words)
            .current_dir(self.folder.path())
            .env("PATH", PATH)
            .output()
            .expect("apt-get install tpm2-tools");
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Takes the key of an activation blob into the TPM, as the vendor's clients do (D appendix
    /// A.4): with the keys at the places where they expect them.
    pub(crate) fn activate(&self, blob: &[u8]) {
        let parts = attest::tpm::split(blob).expect("an activation blob");
        // The first eight bytes are tpm2-tools' own.
        let credential = [&[0xBA, 0xDC, 0xC0, 0xDE, 0, 0, 0, 1], parts[0], parts[1]].concat();
        let [_, _, duplicate, seed, public, _] = parts;
        let files = [
            ("credential", &credential[..]),
            ("duplicate", duplicate),
            ("seed", seed),
            ("public", public),
        ];
        for (name, content) in files {
            fs::write(self.file(name), content).expect("written");
        }
        self.tool("tpm2_startauthsession --policy-session -S session.ctx");
        self.tool("tpm2_policysecret -Q -S session.ctx -c e");
        self.tool(
            "tpm2_activatecredential -Q -c 0x81000001 -C 0x81010001 -i credential -o inner \
             -P session:session.ctx",
        );
        self.tool("tpm2_flushcontext session.ctx");
        self.tool(
            "tpm2_import -Q -C 0x81000001 -i duplicate -s seed -u public -r private -k inner",
        );
        self.tool("tpm2_load -Q -C 0x81000001 -u public -r private -c key.ctx");
        self.tool("tpm2_flushcontext -t");
    }

    /// A token for this resource, signed inside the TPM with the key of the last blob.
    pub(crate) fn sas_token(&self, resource: &str, expires_unix_secs: i64) -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let message = format!("{resource}\n{expires_unix_secs}");
        fs::write(self.file("message"), message).expect("written");
        self.tool("tpm2_hmac -Q -c key.ctx -g sha256 -o signature message");
        self.tool("tpm2_flushcontext -t");
        let signature = STANDARD.encode(fs::read(self.file("signature")).expect("a signature"));
        let signature = wire::percent::encode(&signature);
        format!("SharedAccessSignature sr={resource}&sig={signature}&se={expires_unix_secs}")
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.file("pid"))
            && let Ok(pid) = pid.trim().parse()
        {
            signal(pid, "TERM");
        }
    }
}
