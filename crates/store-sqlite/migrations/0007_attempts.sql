-- Attempts: what devices asked, what they showed without any secret, and what became of it. The
-- previous release refuses schema 7 by its number. Go back to it with a backup made before.

-- `number` grows by one with every attempt, and the oldest numbers go when there are more rows than
-- are kept. `device` is the registration ID or the device ID in lower case. `n`, `last` and
-- `last_tracking_id` move when the same refusal is given again. `asked`, `outcome` and `steps` are
-- documents. `known` is 1 for devices that have a record, an enrollment or an identity; of those, and
-- of the others, the oldest go by `place`, which grows by one in each of the two without a gap.
-- Nothing here is secret.
CREATE TABLE attempts (
  number INTEGER PRIMARY KEY,
  tracking_id TEXT NOT NULL,
  last_tracking_id TEXT,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  n INTEGER NOT NULL,
  door TEXT NOT NULL,
  address TEXT NOT NULL,
  device TEXT NOT NULL,
  asked TEXT NOT NULL,
  kind TEXT,
  leaf_sha256 BLOB,
  leaf_sha1 BLOB,
  endorsement_key BLOB,
  outcome TEXT NOT NULL,
  enrollment_kind TEXT,
  enrollment_id TEXT,
  steps TEXT NOT NULL,
  known INTEGER NOT NULL,
  place INTEGER NOT NULL
) STRICT;
CREATE INDEX attempts_by_place ON attempts (known, place);
CREATE INDEX attempts_by_tracking_id ON attempts (tracking_id);
CREATE INDEX attempts_by_last_tracking_id ON attempts (last_tracking_id)
  WHERE last_tracking_id IS NOT NULL;
CREATE INDEX attempts_by_device ON attempts (device);
CREATE INDEX attempts_by_sha256 ON attempts (leaf_sha256) WHERE leaf_sha256 IS NOT NULL;
CREATE INDEX attempts_by_sha1 ON attempts (leaf_sha1) WHERE leaf_sha1 IS NOT NULL;
CREATE INDEX attempts_by_endorsement_key ON attempts (endorsement_key)
  WHERE endorsement_key IS NOT NULL;
