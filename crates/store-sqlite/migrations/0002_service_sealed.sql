-- Part two: everything is sealed, the plain text goes. The previous release refuses the result,
-- as part one says.
ALTER TABLE individual_enrollments DROP COLUMN plain_primary_key;
ALTER TABLE individual_enrollments DROP COLUMN plain_secondary_key;
ALTER TABLE individual_enrollments DROP COLUMN plain_webhook_url;
ALTER TABLE enrollment_groups DROP COLUMN plain_primary_key;
ALTER TABLE enrollment_groups DROP COLUMN plain_secondary_key;
ALTER TABLE enrollment_groups DROP COLUMN plain_webhook_url;
ALTER TABLE devices DROP COLUMN plain_primary_key;
ALTER TABLE devices DROP COLUMN plain_secondary_key;
DROP TABLE plain_access_policies;
