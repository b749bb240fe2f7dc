'use strict';
// Certificates for the tests, made with the `openssl` command line. Keys are P-256 unless asked.

const { execFileSync } = require('node:child_process');
const { mkdtempSync, rmSync, writeFileSync, readFileSync } = require('node:fs');
const { X509Certificate } = require('node:crypto');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const CA = 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign';
const LEAF = 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=clientAuth';
const KEYS = {
  ec: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'],
  rsa: ['-newkey', 'rsa:2048'],
};

/** `{cert, key}` as PEM. Without an issuer the certificate signs itself. */
function issue({ cn, extensions, issuer, kind = 'ec', from, until }) {
  const dir = mkdtempSync(join(tmpdir(), 'conformance-'));
  const file = (name) => join(dir, name);
  const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  try {
    writeFileSync(
      file('config'),
      [
        '[req]\ndistinguished_name=dn\nprompt=no\nstring_mask=utf8only',
        `[dn]\nCN=${cn}`,
        `[ext]\n${extensions}\nsubjectKeyIdentifier=hash`,
        `[ca]\ndefault_ca=own\n[own]\ndatabase=${file('index')}\nnew_certs_dir=${dir}\nrand_serial=yes`,
        'default_md=sha256\npolicy=any\nunique_subject=no\n[any]\ncommonName=supplied\n',
      ].join('\n'),
    );
    writeFileSync(file('index'), '');
    const request = ['req', '-config', file('config'), ...KEYS[kind], '-nodes', '-keyout', file('key')];
    const signer = issuer ?? { key: undefined };
    if (issuer) {
      writeFileSync(file('issuer'), signer.cert);
      writeFileSync(file('issuer.key'), signer.key);
    }
    if (from) {
      // Only `openssl ca` of this generation takes dates.
      openssl(...request, '-new', '-out', file('csr'));
      const by = issuer ? ['-cert', file('issuer'), '-keyfile', file('issuer.key')] : ['-selfsign', '-keyfile', file('key')];
      openssl('ca', '-batch', '-notext', '-config', file('config'), ...by, '-in', file('csr'), '-out', file('cert'),
        '-startdate', from, '-enddate', until, '-extfile', file('config'), '-extensions', 'ext');
    } else {
      const by = issuer ? ['-CA', file('issuer'), '-CAkey', file('issuer.key')] : [];
      openssl(...request, '-x509', '-days', '2', '-extensions', 'ext', ...by, '-out', file('cert'));
    }
    return { cert: readFileSync(file('cert'), 'utf8'), key: readFileSync(file('key'), 'utf8') };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function authority(cn, issuer) {
  return issue({ cn, issuer, extensions: CA });
}

/** A device's certificate. `how` may set `kind`, `extensions`, `from` and `until`. */
function leaf(cn, issuer, how = {}) {
  return issue({ cn, issuer, extensions: LEAF, ...how });
}

/** What the device presents: its own key, its certificate, then the given ones. */
function presenting(device, ...chain) {
  return { key: device.key, cert: [device, ...chain].map(({ cert }) => cert).join('') };
}

function sha1(device) {
  return new X509Certificate(device.cert).fingerprint.replaceAll(':', '');
}

function sha256(device) {
  return new X509Certificate(device.cert).fingerprint256.replaceAll(':', '');
}

module.exports = { CA, authority, leaf, presenting, sha1, sha256 };
