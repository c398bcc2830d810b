-- Keys the issuer signs with. `private_key` is PKCS#8 PEM.
-- `state`: 'active' keys sign; 'retired' ones are only published, for tokens that are still alive.
CREATE TABLE signing_keys (
    kid         TEXT    NOT NULL PRIMARY KEY,
    algorithm   TEXT    NOT NULL,
    private_key TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('active', 'retired'))
) STRICT;
