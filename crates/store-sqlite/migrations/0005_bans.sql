-- Bans, what each registration rests on, and what ends sessions. The previous release refuses schema
-- 5 by its number: it would admit who is banned. Go back to it with a backup made before.

-- `bans` counts them, so that nothing is looked for while there are none; `bans_version` is the number
-- of the last change set that wrote or deleted a ban or a revocation list.
INSERT INTO counters (name, value) VALUES ('bans_version', 0), ('bans', 0);

ALTER TABLE service_settings ADD COLUMN disenroll_ends_sessions INTEGER NOT NULL DEFAULT 0;
ALTER TABLE enrollment_groups ADD COLUMN disenroll_ends_sessions INTEGER;
ALTER TABLE enrollment_groups ADD COLUMN stale_crl TEXT;

-- The keys of the bans that could be about the TPM and its certificates. TPMs are asked anew soon.
ALTER TABLE tpm_challenges ADD COLUMN ban_keys TEXT NOT NULL DEFAULT '[]';

-- `key` is the one text of a subject, which is a document. `ca_subject` is the hash of a CA's name, so
-- that a banned CA is found by its name whoever has its certificate; null for other subjects. `tbs`
-- is the hash of what a banned certificate's issuer signed, where the certificate is known.
CREATE TABLE bans (
  key TEXT PRIMARY KEY NOT NULL,
  subject TEXT NOT NULL,
  ca_subject BLOB,
  tbs BLOB,
  kind TEXT NOT NULL,
  reason TEXT,
  policy TEXT NOT NULL,
  address TEXT,
  created INTEGER NOT NULL,
  expires INTEGER,
  receipt TEXT,
  version INTEGER NOT NULL
) STRICT;

CREATE INDEX bans_by_ca ON bans (ca_subject) WHERE ca_subject IS NOT NULL;
CREATE INDEX bans_by_tbs ON bans (tbs) WHERE tbs IS NOT NULL;

-- Certificates that registrations rest on or that were shown for them, each once however many devices
-- share it; a row goes with the last registration that needs it. `der` is null for one that was
-- never shown; the columns from `sha1` on are null for one that no admission rests on.
CREATE TABLE known_certificates (
  id INTEGER PRIMARY KEY NOT NULL,
  sha256 BLOB NOT NULL UNIQUE,
  der BLOB,
  sha1 BLOB,
  tbs BLOB,
  subject_and_key BLOB,
  subject BLOB,
  issuer BLOB,
  serial TEXT,
  subject_name TEXT
) STRICT;

CREATE INDEX known_certificates_by_sha1 ON known_certificates (sha1) WHERE sha1 IS NOT NULL;
CREATE INDEX known_certificates_by_tbs ON known_certificates (tbs) WHERE tbs IS NOT NULL;
CREATE INDEX known_certificates_by_ca
  ON known_certificates (subject_and_key) WHERE subject_and_key IS NOT NULL;
CREATE INDEX known_certificates_by_serial
  ON known_certificates (issuer, serial) WHERE issuer IS NOT NULL;

-- What the registration of a key (the lower-case ID) proved itself with. No secret is among it.
-- `endorsement_hash` is the SHA-256 of the endorsement key. A row goes with its record, or
-- with the last identity whose former registration it is of.
CREATE TABLE grounds (
  key TEXT PRIMARY KEY NOT NULL,
  proof TEXT NOT NULL,
  endorsement_key BLOB,
  storage_root_key BLOB,
  endorsement_hash BLOB
) STRICT, WITHOUT ROWID;

CREATE INDEX grounds_by_endorsement
  ON grounds (endorsement_hash, key) WHERE endorsement_hash IS NOT NULL;

-- The certificates of its verified path (`shown` is 0) and those it showed, as sent (1), in order.
CREATE TABLE grounds_certificates (
  key TEXT NOT NULL,
  shown INTEGER NOT NULL,
  position INTEGER NOT NULL,
  certificate INTEGER NOT NULL,
  PRIMARY KEY (key, shown, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX grounds_by_certificate ON grounds_certificates (certificate, shown, key);

-- Where an identity came from.
CREATE INDEX records_by_device ON registration_records (hub, device_id) WHERE hub IS NOT NULL;

-- The key of the group that the device was provisioned by before its individual enrollment took it
-- over; an individual enrollment has no word of its own on whether its end ends sessions.
ALTER TABLE registration_records ADD COLUMN taken_from TEXT;

-- Of an identity whose registration record was deleted, what that record rested on, so that the end
-- of the enrollment is known when the device connects.
ALTER TABLE devices ADD COLUMN former_kind TEXT;
ALTER TABLE devices ADD COLUMN former_enrollment TEXT;
ALTER TABLE devices ADD COLUMN former_registration TEXT;
ALTER TABLE devices ADD COLUMN former_taken_from TEXT;

-- What deleted groups said of the sessions that rest on them, where they said anything. Those nobody
-- rests on any more go when the next one comes.
CREATE TABLE gone_groups (
  key TEXT PRIMARY KEY NOT NULL,
  disenroll_ends_sessions INTEGER NOT NULL
) STRICT;
CREATE INDEX devices_by_former ON devices (lower(former_enrollment), lower(former_registration))
  WHERE former_kind = 'group';
CREATE INDEX devices_by_former_registration
  ON devices (lower(former_registration), hub, device_id)
  WHERE former_registration IS NOT NULL;

-- The same of identities on hubs elsewhere, of which there is no row. `key` is the lower-case
-- registration ID. A row goes when the hub has deleted the identity, or when it is assigned again.
CREATE TABLE former_remotes (
  hub TEXT NOT NULL,
  device_id TEXT NOT NULL,
  key TEXT NOT NULL,
  registration_id TEXT NOT NULL,
  enrollment_kind TEXT NOT NULL,
  enrollment_key TEXT NOT NULL,
  enrollment_id TEXT NOT NULL,
  PRIMARY KEY (hub, device_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX former_remotes_by_registration ON former_remotes (key);
CREATE INDEX former_remotes_by_group ON former_remotes (enrollment_key, key)
  WHERE enrollment_kind = 'group';
