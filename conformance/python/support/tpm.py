"""TPMs in software, Debian's `swtpm`, with a certificate of their maker's as real ones have it, and
a device that is provisioned with `tpm2-tools` and HTTPS alone."""

import base64
import hashlib
import os
import signal
import struct
import subprocess
import time
from urllib.parse import quote

import requests

from .waiting import LIMIT_SECS, eventually

# Where the TCG wants an endorsement key and its certificate, and where clients look for a storage
# root key.
ENDORSEMENT_KEY, ENDORSEMENT_CERTIFICATE, STORAGE_ROOT_KEY = "0x81010001", "0x1c00002", "0x81000001"
STORAGE_ROOT = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt"
# What tpm2-tools write before a credential: a magic number, and the version of their format.
CREDENTIAL_HEAD = struct.pack(">II", 0xBADCC0DE, 1)


class Maker:
    """Makes TPMs, and certifies each one's endorsement key: an issuer below a root of its own."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "localca.conf").write_text(
            f"statedir = {folder}\nsigningkey = {folder}/issuer.key\n"
            f"issuercert = {folder}/issuer.pem\ncertserial = {folder}/serial\n"
        )
        (folder / "localca.options").touch()
        (folder / "setup.conf").write_text(
            f"create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {folder}/localca.conf\n"
            f"create_certs_tool_options = {folder}/localca.options\nactive_pcr_banks = sha256\n"
        )

    @property
    def root(self):
        return (self.folder / "swtpm-localca-rootca-cert.pem").read_text()

    @property
    def issuer(self):
        return (self.folder / "issuer.pem").read_text()

    def make(self, folder):
        (folder / "state").mkdir()
        run("swtpm_setup", "--tpm2", "--create-ek-cert", "--tpmstate", f"dir://{folder}/state",
            "--config", self.folder / "setup.conf")
        return SoftwareTpm(folder)


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"


class SoftwareTpm:
    """A TPM that is switched on within a `with`."""

    def __init__(self, folder):
        self.folder, self.socket = folder, folder / "socket"

    def __enter__(self):
        # It listens when the first process ends.
        run("swtpm", "socket", "--tpm2", "--daemon", "--pid", f"file={self.folder}/pid",
            "--tpmstate", f"dir={self.folder}/state", "--flags", "not-need-init,startup-clear",
            "--server", f"type=unixio,path={self.socket}", "--ctrl", f"type=unixio,path={self.socket}.ctrl")
        self.tool("createprimary", "-C", "o", "-a", STORAGE_ROOT, "-c", "storage-root.ctx")
        self.tool("evictcontrol", "-C", "o", "-c", "storage-root.ctx", STORAGE_ROOT_KEY)
        self.tool("flushcontext", "-t")
        return self

    def __exit__(self, *_):
        os.kill(int((self.folder / "pid").read_text()), signal.SIGTERM)

    def tool(self, name, *arguments):
        environment = {**os.environ, "TPM2TOOLS_TCTI": f"swtpm:path={self.socket}"}
        run(f"tpm2_{name}", *arguments, cwd=self.folder, env=environment)

    def public(self, handle):
        """The public half of a key, TPM2B_PUBLIC."""
        self.tool("readpublic", "-c", handle, "-f", "tss", "-o", "public")
        return (self.folder / "public").read_bytes()

    @property
    def registration_id(self):
        """The name that clients make of an endorsement key."""
        digest = hashlib.sha256(self.public(ENDORSEMENT_KEY)).digest()
        return base64.b32encode(digest).decode().lower().rstrip("=")

    @property
    def certificate(self):
        """What its maker certified, DER in base64."""
        self.tool("nvread", "-C", "o", "-o", "certificate", ENDORSEMENT_CERTIFICATE)
        return base64.b64encode((self.folder / "certificate").read_bytes()).decode()

    def activate(self, blob):
        """Takes the key in an activation blob into the TPM: `key.ctx`."""
        credential, credential_seed, duplicate, seed, public, _ = split(blob)
        files = {"credential": CREDENTIAL_HEAD + credential + credential_seed, "duplicate": duplicate,
                 "seed": seed, "public": public}
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        self.tool("startauthsession", "--policy-session", "-S", "session.ctx")
        self.tool("policysecret", "-S", "session.ctx", "-c", "e")
        self.tool("activatecredential", "-c", STORAGE_ROOT_KEY, "-C", ENDORSEMENT_KEY, "-P", "session:session.ctx",
                  "-i", "credential", "-o", "wrapping-key")
        self.tool("flushcontext", "session.ctx")
        self.tool("import", "-C", STORAGE_ROOT_KEY, "-i", "duplicate", "-s", "seed", "-k", "wrapping-key", "-u", "public",
                  "-r", "private")
        self.tool("load", "-C", STORAGE_ROOT_KEY, "-u", "public", "-r", "private", "-c", "key.ctx")
        self.tool("flushcontext", "-t")

    def token(self, resource, policy=None):
        """A SAS token, signed with the key that was last taken."""
        audience, expiry = quote(resource, safe=""), int(time.time()) + 600
        (self.folder / "text").write_text(f"{audience}\n{expiry}")
        self.tool("hmac", "-c", "key.ctx", "-g", "sha256", "-o", "signature", "text")
        self.tool("flushcontext", "-t")
        signature = quote(base64.b64encode((self.folder / "signature").read_bytes()), safe="")
        token = f"SharedAccessSignature sr={audience}&sig={signature}&se={expiry}"
        return f"{token}&skn={policy}" if policy else token


def split(blob):
    """The six parts of an activation blob; each begins with its length in two bytes."""
    parts = []
    while blob:
        end = 2 + int.from_bytes(blob[:2], "big")
        parts.append(blob[:end])
        blob = blob[end:]
    return parts


def base64_of_pem(pem):
    return "".join(line for line in pem.splitlines() if not line.startswith("-"))


class TpmDevice:
    """A device at the provisioning service. It shows the certificates it is given, the endorsement
    key's own first, which the vendor's clients do not."""

    def __init__(self, world, tpm, certificates=(), registration_id=None):
        self.tpm, self.registration_id = tpm, registration_id or tpm.registration_id
        self.resource = f"{world['idScope']}/registrations/{self.registration_id}"
        self.address = f"https://{world['provisioning']['host']}/{self.resource}"
        self.keys = {
            "endorsementKey": base64.b64encode(tpm.public(ENDORSEMENT_KEY)).decode(),
            "storageRootKey": base64.b64encode(tpm.public(STORAGE_ROOT_KEY)).decode(),
        }
        self.shown = {"endorsementCertificates": list(certificates)} if certificates else {}
        self.token = None

    def call(self, method, path, token=None, body=None):
        return requests.request(
            method,
            f"{self.address}/{path}",
            params={"api-version": "2021-06-01"},
            headers={"Authorization": token} if token else {},
            json=body,
            timeout=LIMIT_SECS,
        )

    def ask(self, token=None):
        body = {"registrationId": self.registration_id, "tpm": {**self.keys, **self.shown}}
        return self.call("PUT", "register", token, body)

    def register(self):
        """The registration's state once it is settled. The key of the hub is in the TPM then."""
        self.take_challenge()
        return self.answer()

    def take_challenge(self):
        challenge = self.ask()
        assert challenge.status_code == 401, challenge.text
        told = challenge.json()
        self.tpm.activate(base64.b64decode(told["authenticationKey"]))
        self.token = self.tpm.token(self.resource, told["keyName"])

    def answer(self):
        accepted = self.ask(self.token)
        assert accepted.status_code == 202, accepted.text
        settled = eventually(lambda: self.settled(accepted.json()["operationId"]), "the registration settled")
        state = settled["registrationState"]
        if settled["status"] == "assigned":
            self.tpm.activate(base64.b64decode(state["tpm"]["authenticationKey"]))
        return state

    def settled(self, operation_id):
        answer = self.call("GET", f"operations/{operation_id}", self.token)
        assert answer.ok, answer.text
        return None if answer.json()["status"] == "assigning" else answer.json()
