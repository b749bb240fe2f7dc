-- What hubs know of connected devices: connections, subscriptions, the event log, messages to
-- devices and the feedback on them. The previous release refuses schema 3 by its number: it would
-- write over what connections own. Go back to it with a backup made before.

-- The number of the device's connection, 0 while it has none; and what it subscribed to, two bits
-- for each filter (0 not, 1 at most once, 2 at least once): desired properties, methods, twin
-- responses, messages, from the highest. Null when it never subscribed to anything.
ALTER TABLE devices ADD COLUMN connection INTEGER NOT NULL DEFAULT 0;
ALTER TABLE devices ADD COLUMN subscriptions INTEGER;

-- Devices could not connect before, and nothing could wait for them.
UPDATE devices SET connected = 0, cloud_to_device_messages = 0
  WHERE connected <> 0 OR cloud_to_device_messages <> 0;
UPDATE device_counts SET connected = 0;

-- So that a start finds those that were connected when the last process ended, and no others.
CREATE INDEX devices_connected ON devices (hub) WHERE connected = 1;

-- The partitions of the hubs' event logs that ever had an event. A row stays when all events of
-- the partition are gone, so that offsets never go back. `size_bytes` is the sum over its events.
CREATE TABLE event_partitions (
  id INTEGER PRIMARY KEY NOT NULL,
  hub TEXT NOT NULL,
  number INTEGER NOT NULL,
  first_offset INTEGER NOT NULL,
  next_offset INTEGER NOT NULL,
  last_enqueued INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  UNIQUE (hub, number)
) STRICT;

-- The key is the partition's id times 2 to the 48th plus the offset, so that a partition is one
-- range of the table's own tree: appended at its end, read along, trimmed at its beginning,
-- without a second index. `enqueued` never falls within a partition, so that a moment is found by
-- halving. Message properties are one document, or null when there are none.
CREATE TABLE events (
  key INTEGER PRIMARY KEY NOT NULL,
  enqueued INTEGER NOT NULL,
  size_bytes INTEGER NOT NULL,
  device_id TEXT NOT NULL,
  generation_id TEXT NOT NULL,
  auth_method TEXT NOT NULL,
  source TEXT NOT NULL,
  properties TEXT,
  body BLOB NOT NULL
) STRICT;

-- The numbers of a hub's messages and feedback that were given last.
CREATE TABLE message_numbers (
  hub TEXT PRIMARY KEY NOT NULL,
  last_message INTEGER NOT NULL,
  last_feedback INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The messages that wait for devices. Their number is in `devices.cloud_to_device_messages`.
CREATE TABLE cloud_messages (
  hub TEXT NOT NULL,
  device_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  enqueued INTEGER NOT NULL,
  expires INTEGER NOT NULL,
  delivery_count INTEGER NOT NULL,
  feedback TEXT NOT NULL,
  properties TEXT,
  body BLOB NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (hub, device_id, number)
) STRICT;
CREATE INDEX cloud_messages_by_expiry ON cloud_messages (expires);

CREATE TABLE feedback (
  hub TEXT NOT NULL,
  number INTEGER NOT NULL,
  message_id TEXT NOT NULL,
  status TEXT NOT NULL,
  at INTEGER NOT NULL,
  device_id TEXT NOT NULL,
  generation_id TEXT NOT NULL,
  PRIMARY KEY (hub, number)
) STRICT, WITHOUT ROWID;
