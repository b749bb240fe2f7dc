-- What the service is configured with while it runs, assignments on remote hubs, the audit log,
-- and secrets at rest. The previous release does not survive it: it cannot open sealed secrets,
-- and refuses schema 2 by its number. Go back to it with a backup made before.
--
-- Part one of two. Between the two, in the same transaction, a data key is made and the secrets
-- of the columns named `plain_…` are sealed into those of the old names.
--
-- A sealed value: one byte for the form, four for the data key's number, twelve of nonce, the
-- ciphertext, sixteen of tag; bound to table, primary key and column (AES-256-GCM).

-- The data keys, wrapped by the master key. `check_value` tells a wrong master key from a damaged
-- row.
CREATE TABLE data_keys (
  id INTEGER PRIMARY KEY NOT NULL,
  wrapped BLOB NOT NULL,
  check_value BLOB NOT NULL
) STRICT;

-- `hubs_version` is the number of the last change set that wrote or deleted a linked hub or the
-- service's settings. `to_scrub` is 1 while the file may still hold remains of secrets that were
-- sealed anew.
INSERT INTO counters (name, value) VALUES ('hubs_version', 0), ('to_scrub', 1);

ALTER TABLE individual_enrollments RENAME COLUMN primary_key TO plain_primary_key;
ALTER TABLE individual_enrollments RENAME COLUMN secondary_key TO plain_secondary_key;
ALTER TABLE individual_enrollments RENAME COLUMN webhook_url TO plain_webhook_url;
ALTER TABLE individual_enrollments ADD COLUMN primary_key BLOB;
ALTER TABLE individual_enrollments ADD COLUMN secondary_key BLOB;
ALTER TABLE individual_enrollments ADD COLUMN webhook_url BLOB;

ALTER TABLE enrollment_groups RENAME COLUMN primary_key TO plain_primary_key;
ALTER TABLE enrollment_groups RENAME COLUMN secondary_key TO plain_secondary_key;
ALTER TABLE enrollment_groups RENAME COLUMN webhook_url TO plain_webhook_url;
ALTER TABLE enrollment_groups ADD COLUMN primary_key BLOB;
ALTER TABLE enrollment_groups ADD COLUMN secondary_key BLOB;
ALTER TABLE enrollment_groups ADD COLUMN webhook_url BLOB;

ALTER TABLE devices RENAME COLUMN primary_key TO plain_primary_key;
ALTER TABLE devices RENAME COLUMN secondary_key TO plain_secondary_key;
ALTER TABLE devices ADD COLUMN primary_key BLOB;
ALTER TABLE devices ADD COLUMN secondary_key BLOB;

-- Policies of the first release have the etag of 16 zero bytes, times of 0 and version 1.
ALTER TABLE access_policies RENAME TO plain_access_policies;
CREATE TABLE access_policies (
  hub TEXT NOT NULL,
  name TEXT NOT NULL,
  primary_key BLOB,
  secondary_key BLOB,
  rights INTEGER NOT NULL,
  etag TEXT NOT NULL,
  created INTEGER NOT NULL,
  last_updated INTEGER NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (hub, name)
) STRICT, WITHOUT ROWID;
INSERT INTO access_policies
  (hub, name, primary_key, secondary_key, rights, etag, created, last_updated, version)
  SELECT hub, name, NULL, NULL, rights,
    'IjAwMDAwMDAwLTAwMDAtNDAwMC04MDAwLTAwMDAwMDAwMDAwMCI=', 0, 0, 1
  FROM plain_access_policies;

-- The verification code that was handed out last, until it is used.
ALTER TABLE ca_certificates ADD COLUMN pending_code TEXT;

-- An assignment that a remote hub takes part in, and when it goes on.
ALTER TABLE registration_records ADD COLUMN due INTEGER;
ALTER TABLE registration_records ADD COLUMN pending TEXT;
ALTER TABLE registration_records ADD COLUMN pending_primary_key BLOB;
ALTER TABLE registration_records ADD COLUMN pending_secondary_key BLOB;
CREATE INDEX records_by_due ON registration_records (due, key) WHERE due IS NOT NULL;

CREATE TABLE remote_removals (
  hub TEXT NOT NULL,
  device_id TEXT NOT NULL,
  n_failures INTEGER NOT NULL,
  due INTEGER NOT NULL,
  last_error TEXT,
  version INTEGER NOT NULL,
  PRIMARY KEY (hub, device_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX removals_by_due ON remote_removals (due);

-- A built-in hub has neither port nor policy nor key.
CREATE TABLE linked_hubs (
  name TEXT PRIMARY KEY NOT NULL,
  kind TEXT NOT NULL,
  port INTEGER,
  policy TEXT,
  key BLOB,
  weight INTEGER NOT NULL,
  apply_allocation_policy INTEGER NOT NULL,
  declared INTEGER NOT NULL,
  etag TEXT NOT NULL,
  created INTEGER NOT NULL,
  last_updated INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row, or none as long as nobody changed a setting.
CREATE TABLE service_settings (
  id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
  allocation_policy TEXT NOT NULL,
  operator_api_on_loopback_only INTEGER NOT NULL,
  ip_rules TEXT NOT NULL,
  etag TEXT NOT NULL,
  last_updated INTEGER NOT NULL
) STRICT;

-- The lines are chained: `hash` covers all other columns, `previous` is the hash of the line
-- before. Nothing here is ever updated or deleted.
CREATE TABLE audit_lines (
  number INTEGER PRIMARY KEY NOT NULL,
  at INTEGER NOT NULL,
  policy TEXT NOT NULL,
  address TEXT,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  before TEXT,
  after TEXT,
  etag TEXT,
  previous BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_target ON audit_lines (target, number);

-- Where the chain ends, apart from the lines, so that lines cut off at the end are missed.
CREATE TABLE audit_head (
  id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
  number INTEGER NOT NULL,
  hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_head (id, number, hash) VALUES (1, 0, zeroblob(32));
