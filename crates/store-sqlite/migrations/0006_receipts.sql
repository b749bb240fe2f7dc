-- Deprovisionings: their plans, the receipts these become, and what remote hubs are told for them.
-- The previous release refuses schema 6 by its number: it would delete identities from remote hubs
-- that are only to be disabled. Go back to it with a backup made before.

-- A plan, and the receipt it becomes when it is applied. `document` is all of it but its counts,
-- which the store keeps beside the items: how many there are, of which state (`pending`, `unchanged`,
-- `done`, `failed`), how many wait for sessions to close (`closing`), how many sessions they ended
-- (`sessions`), the longest time in microseconds until one was closed (`slowest`), the last moment
-- at which one was (`last_closed`), and how many steps on remote hubs stand how.
CREATE TABLE receipts (
  id TEXT PRIMARY KEY NOT NULL,
  created INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  state TEXT NOT NULL,
  finished INTEGER,
  document TEXT NOT NULL,
  version INTEGER NOT NULL,
  items INTEGER NOT NULL DEFAULT 0,
  pending INTEGER NOT NULL DEFAULT 0,
  unchanged INTEGER NOT NULL DEFAULT 0,
  done INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  closing INTEGER NOT NULL DEFAULT 0,
  sessions INTEGER NOT NULL DEFAULT 0,
  slowest INTEGER,
  last_closed INTEGER,
  remote_pending INTEGER NOT NULL DEFAULT 0,
  remote_done INTEGER NOT NULL DEFAULT 0,
  remote_failed INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX receipts_by_created ON receipts (created, id);
CREATE INDEX receipts_by_state ON receipts (state, created, id);

-- One device of a plan. `key` is its registration ID in lower case behind `registration:`, or its
-- device ID behind `identity:`. `open` is 1 while something of ours is to be done or waited for.
CREATE TABLE receipt_items (
  receipt TEXT NOT NULL,
  number INTEGER NOT NULL,
  key TEXT NOT NULL,
  state TEXT NOT NULL,
  open INTEGER NOT NULL,
  document TEXT NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (receipt, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX receipt_items_by_key ON receipt_items (receipt, key);
CREATE INDEX receipt_items_open ON receipt_items (receipt, number) WHERE open = 1;
CREATE INDEX receipt_items_by_state ON receipt_items (receipt, state, number);

-- What a remote hub is to be told about an identity: `delete`, `disable` or `enable`, with the
-- status reason that marks our own disabling and the one that was there before; and the item that
-- hears of it.
ALTER TABLE remote_removals ADD COLUMN task TEXT NOT NULL DEFAULT 'delete';
ALTER TABLE remote_removals ADD COLUMN reason TEXT;
ALTER TABLE remote_removals ADD COLUMN receipt TEXT;
ALTER TABLE remote_removals ADD COLUMN item INTEGER;

-- What is due is looked for hub by hub, so that the backlog of one does not stand before the others'.
CREATE INDEX removals_by_hub ON remote_removals (hub, due, device_id);
