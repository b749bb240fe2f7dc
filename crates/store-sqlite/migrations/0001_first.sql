-- The tables of the first release. There is no previous release to survive it.
--
-- Ids are keyed in lower case beside the spelling the operator used. Timestamps are ticks of
-- 100 ns since 1970. Secrets have columns of their own, so that they can be encrypted by row and
-- column; nested parts are JSON. Unsigned 64-bit counters are kept as the signed number of the
-- same bits.

-- What is counted. `version` is the number of the last change set, `groups_version` that of the
-- last one that wrote or deleted a group or a CA certificate.
CREATE TABLE counters (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO counters (name, value) VALUES
  ('version', 0),
  ('groups_version', 0),
  ('individual_enrollments', 0),
  ('x509_groups', 0),
  ('symmetric_key_groups', 0),
  ('registrations', 0),
  ('orphaned_registrations', 0);

CREATE TABLE individual_enrollments (
  key TEXT PRIMARY KEY NOT NULL,
  registration_id TEXT NOT NULL,
  device_id TEXT,
  optional_device_information TEXT,
  attestation TEXT NOT NULL,
  primary_key TEXT,
  secondary_key TEXT,
  attestation_document TEXT,
  iot_edge INTEGER,
  iot_hub_host_name TEXT,
  initial_twin TEXT,
  etag TEXT NOT NULL,
  provisioning_status TEXT NOT NULL,
  reprovision_policy TEXT,
  created INTEGER NOT NULL,
  last_updated INTEGER NOT NULL,
  allocation_policy TEXT,
  iot_hubs TEXT,
  webhook_url TEXT,
  webhook_api_version TEXT,
  version INTEGER NOT NULL
) STRICT;

CREATE TABLE enrollment_groups (
  key TEXT PRIMARY KEY NOT NULL,
  group_id TEXT NOT NULL,
  attestation TEXT NOT NULL,
  primary_key TEXT,
  secondary_key TEXT,
  attestation_document TEXT,
  iot_edge INTEGER,
  iot_hub_host_name TEXT,
  initial_twin TEXT,
  etag TEXT NOT NULL,
  provisioning_status TEXT NOT NULL,
  reprovision_policy TEXT,
  created INTEGER NOT NULL,
  last_updated INTEGER NOT NULL,
  allocation_policy TEXT,
  iot_hubs TEXT,
  webhook_url TEXT,
  webhook_api_version TEXT,
  version INTEGER NOT NULL
) STRICT;

-- Every symmetric-key group is read when its device registers.
CREATE INDEX groups_by_attestation ON enrollment_groups (attestation, key);

CREATE TABLE ca_certificates (
  name TEXT PRIMARY KEY NOT NULL,
  certificate TEXT NOT NULL,
  verified INTEGER NOT NULL,
  etag TEXT NOT NULL,
  created INTEGER NOT NULL,
  last_updated INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;

-- Which CA certificates are kept where: in a group's slot (owner_kind 'group', the group's key)
-- or in the service's store (owner_kind 'store', the certificate's name). Found by the hash of
-- their subject; the hash of their issuer leads to the next one of a chain.
CREATE TABLE ca_keys (
  subject BLOB NOT NULL,
  owner_kind TEXT NOT NULL,
  owner_key TEXT NOT NULL,
  slot INTEGER NOT NULL,
  subject_and_key BLOB NOT NULL,
  issuer BLOB NOT NULL,
  PRIMARY KEY (subject, owner_kind, owner_key, slot)
) STRICT, WITHOUT ROWID;

CREATE INDEX ca_keys_by_owner ON ca_keys (owner_kind, owner_key);

-- Which groups refer to which CA certificates of the store, by name. The name need not exist.
CREATE TABLE ca_references (
  name TEXT NOT NULL,
  group_key TEXT NOT NULL,
  slot INTEGER NOT NULL,
  PRIMARY KEY (name, group_key, slot)
) STRICT, WITHOUT ROWID;

CREATE INDEX ca_references_by_group ON ca_references (group_key);

CREATE TABLE registration_records (
  key TEXT PRIMARY KEY NOT NULL,
  enrollment_kind TEXT NOT NULL,
  enrollment_key TEXT NOT NULL,
  enrollment_id TEXT NOT NULL,
  registration_id TEXT NOT NULL,
  created INTEGER NOT NULL,
  last_updated INTEGER NOT NULL,
  status TEXT NOT NULL,
  hub TEXT,
  device_id TEXT,
  substatus TEXT,
  initial_hub TEXT,
  failure_code INTEGER,
  failure_message TEXT,
  payload TEXT,
  etag TEXT NOT NULL,
  mechanism TEXT NOT NULL,
  operations TEXT NOT NULL,
  version INTEGER NOT NULL
) STRICT;

CREATE INDEX records_by_enrollment
  ON registration_records (enrollment_kind, enrollment_key, key);

-- A device is one row, so that no identity is without its twin and no twin without its identity.
CREATE TABLE devices (
  hub TEXT NOT NULL,
  device_id TEXT NOT NULL,
  generation_id TEXT NOT NULL,
  etag_counter INTEGER NOT NULL,
  status TEXT NOT NULL,
  status_reason TEXT,
  status_updated INTEGER,
  connected INTEGER NOT NULL,
  connection_state_updated INTEGER,
  last_activity INTEGER,
  cloud_to_device_messages INTEGER NOT NULL,
  authentication TEXT NOT NULL,
  primary_key TEXT,
  secondary_key TEXT,
  primary_thumbprint TEXT,
  secondary_thumbprint TEXT,
  iot_edge INTEGER NOT NULL,
  device_scope TEXT,
  parent_scopes TEXT NOT NULL,
  identity_version INTEGER NOT NULL,
  tags TEXT NOT NULL,
  desired TEXT NOT NULL,
  desired_metadata TEXT NOT NULL,
  desired_version INTEGER NOT NULL,
  reported TEXT NOT NULL,
  reported_metadata TEXT NOT NULL,
  reported_version INTEGER NOT NULL,
  twin_etag_counter INTEGER NOT NULL,
  twin_version_number INTEGER NOT NULL,
  twin_version INTEGER NOT NULL,
  PRIMARY KEY (hub, device_id)
) STRICT;

-- A registering device is looked up on every hub.
CREATE INDEX devices_by_id ON devices (device_id COLLATE NOCASE);

CREATE TABLE device_counts (
  hub TEXT PRIMARY KEY NOT NULL,
  total INTEGER NOT NULL,
  disabled INTEGER NOT NULL,
  connected INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Policies of the service have an empty `hub`.
CREATE TABLE access_policies (
  hub TEXT NOT NULL,
  name TEXT NOT NULL,
  primary_key TEXT NOT NULL,
  secondary_key TEXT NOT NULL,
  rights INTEGER NOT NULL,
  PRIMARY KEY (hub, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE instance_settings (
  name TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
