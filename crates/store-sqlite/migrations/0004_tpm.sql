-- TPMs: what they were asked, and the keys they were given for their hubs. The previous release
-- refuses schema 4 by its number: it does not know groups of TPMs. Go back to it with a backup made
-- before.

-- What TPMs were asked and have not answered, or still poll with. Of a registration ID (`key` is its
-- lower-case form) the latest few stay, those to an enrolled storage root key counted apart; `number` grows by one with each, twenty digits, so that the
-- order of the texts is that of the numbers: sealed values are bound to rows by texts. `names` are
-- the hashes that groups are found by. `challenge_key` is sealed.
CREATE TABLE tpm_challenges (
  key TEXT NOT NULL,
  number TEXT NOT NULL,
  registration_id TEXT NOT NULL,
  endorsement_key BLOB NOT NULL,
  storage_root_key BLOB NOT NULL,
  enrolled_root INTEGER NOT NULL,
  certificates TEXT NOT NULL,
  names TEXT NOT NULL,
  challenge_key BLOB,
  expires INTEGER NOT NULL,
  PRIMARY KEY (key, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX tpm_challenges_by_expiry ON tpm_challenges (expires);

-- A device's key on its hub, wrapped for its TPM: public as such.
ALTER TABLE registration_records ADD COLUMN wrapped_hub_key BLOB;
