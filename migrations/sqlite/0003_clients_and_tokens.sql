-- One counter per kind of content, raised by every change: other processes look at it to see whether to read again.
CREATE TABLE revisions (
    of    TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO revisions (of, value) VALUES ('keys', 0), ('clients', 0), ('revocations', 0);

-- Clients of the management API. `document` is a JSON object.
CREATE TABLE clients (
    client_id  TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

-- `hash` is what a secret is compared with, never the secret.
CREATE TABLE client_secrets (
    secret_id    TEXT    NOT NULL PRIMARY KEY,
    client_id    TEXT    NOT NULL REFERENCES clients (client_id) ON DELETE CASCADE,
    hash         TEXT    NOT NULL,
    last_four    TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER
) STRICT;
CREATE INDEX client_secrets_by_client ON client_secrets (client_id);

-- Access tokens that are worth a row: those with a name, and all of the plgd profile. Never the token itself.
-- `scope` is space-joined, `audience` a JSON array, `expires_at` NULL for never.
CREATE TABLE tokens (
    jti             TEXT    NOT NULL PRIMARY KEY,
    client_id       TEXT    NOT NULL,
    owner           TEXT,
    subject         TEXT    NOT NULL,
    name            TEXT,
    scope           TEXT    NOT NULL,
    audience        TEXT    NOT NULL,
    issued_at       INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER,
    original_claims TEXT
) STRICT;
CREATE INDEX tokens_by_client ON tokens (client_id, issued_at);
CREATE INDEX tokens_by_owner ON tokens (owner, issued_at);
CREATE INDEX tokens_by_issue ON tokens (issued_at);
CREATE INDEX tokens_by_expiry ON tokens (expires_at);

-- All that a client was issued up to the `iat` in `until` is revoked.
CREATE TABLE client_not_before (
    client_id  TEXT    NOT NULL PRIMARY KEY,
    until      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL
) STRICT;

-- `token_grant` is a JSON object. `reused`: the second use that a lost answer allows has been made.
CREATE TABLE refresh_tokens (
    hash              BLOB    NOT NULL PRIMARY KEY,
    family_id         TEXT    NOT NULL,
    client_id         TEXT    NOT NULL,
    token_grant       TEXT    NOT NULL,
    expires_at        INTEGER NOT NULL,
    used_at           INTEGER,
    reused            INTEGER NOT NULL DEFAULT 0,
    predecessor       BLOB,
    access_jti        TEXT    NOT NULL,
    access_expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX refresh_tokens_by_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_by_client ON refresh_tokens (client_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);

-- Client assertions that must not be used again before they expire. `id` is a hash of issuer and `jti`.
CREATE TABLE used_assertions (
    id         BLOB    NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX used_assertions_by_expiry ON used_assertions (expires_at);
