-- The revision of revocations with which a row came or was changed: so it is read what is new, and only that.
ALTER TABLE revoked_tokens ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
ALTER TABLE client_not_before ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
CREATE INDEX revoked_tokens_by_revision ON revoked_tokens (revision);
CREATE INDEX client_not_before_by_revision ON client_not_before (revision);

-- An owner's tokens are counted for its quota.
CREATE INDEX tokens_by_client_and_owner ON tokens (client_id, owner, owner_issuer, expires_at, revoked_at);
