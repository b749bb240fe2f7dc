"""Certificates for the tests, made with the `openssl` command line. Keys are P-256."""

import hashlib
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

AUTHORITY = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
LEAF = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature", "extendedKeyUsage=clientAuth"]


@dataclass
class Certificate:
    """A certificate and its key, as files, because the clients take files."""

    cert_file: Path
    key_file: Path

    @property
    def pem(self):
        return self.cert_file.read_text()

    @property
    def der(self):
        return ssl.PEM_cert_to_DER_cert(self.pem)

    @property
    def sha1(self):
        return hashlib.sha1(self.der).hexdigest().upper()

    def presenting(self, *chain):
        """The same device with the certificates above its own in its file."""
        file = self.cert_file.with_suffix(".chain.pem")
        file.write_text("".join(one.pem for one in (self, *chain)))
        return Certificate(file, self.key_file)


def issue(folder, name, extensions, issuer=None):
    """Without an issuer the certificate signs itself. The name may hold a slash, as a module's does."""
    stem, subject = name.replace("/", "_"), name.replace("/", r"\/")
    made = Certificate(folder / f"{stem}.pem", folder / f"{stem}.key")
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
               "-days", "2", "-subj", f"/CN={subject}", "-keyout", made.key_file, "-out", made.cert_file]
    for extension in extensions:
        command += ["-addext", extension]
    if issuer:
        command += ["-CA", issuer.cert_file, "-CAkey", issuer.key_file]
    # The default configuration would add extensions of its own.
    config = folder / "openssl.cnf"
    config.write_text("[req]\ndistinguished_name=dn\n[dn]\n")
    subprocess.run([*command, "-config", config], check=True, capture_output=True)
    return made


def authority(folder, name, issuer=None):
    return issue(folder, name, AUTHORITY, issuer)


def leaf(folder, name, issuer=None):
    return issue(folder, name, LEAF, issuer)
