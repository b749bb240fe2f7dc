-- Revocation lists of CAs: what they say, where they come from, whom they revoke. The previous
-- release refuses schema 8 by its number. Go back to it with a backup made before.

-- One list for one CA: its name and its key (`subject_and_key`). `subject` is the hash of its name,
-- by which the lists that may matter to a certificate are found. A list that is only followed and
-- was never fetched has no `sha256`; one that is not followed has no `url` and no `due`.
CREATE TABLE crls (
  id INTEGER PRIMARY KEY,
  subject_and_key BLOB NOT NULL UNIQUE,
  subject BLOB NOT NULL,
  ca TEXT NOT NULL,
  sha256 BLOB,
  number TEXT,
  scope BLOB,
  this_update INTEGER,
  next_update INTEGER,
  revoked INTEGER NOT NULL,
  taken_in INTEGER,
  url TEXT,
  every_secs INTEGER,
  entity_tag TEXT,
  due INTEGER,
  last_success INTEGER,
  last_error TEXT,
  failures INTEGER NOT NULL,
  etag TEXT NOT NULL,
  created INTEGER NOT NULL,
  last_updated INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;
CREATE INDEX crls_by_subject ON crls (subject);
CREATE INDEX crls_by_due ON crls (due) WHERE due IS NOT NULL;

-- The serial numbers on the lists, without leading zero bytes.
CREATE TABLE crl_entries (
  crl INTEGER NOT NULL,
  serial BLOB NOT NULL,
  PRIMARY KEY (crl, serial)
) STRICT, WITHOUT ROWID;
