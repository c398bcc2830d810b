-- Keys rotate. 'next': published, does not sign yet; 'active': signs; 'retired': only published, for tokens that are
-- still alive. `private_key` is PKCS#8 PEM, or its ciphertext.
-- `signs_from`: since when, or from when on, it signs. `longest_token`: how many seconds the longest token lives that it
-- may have signed.
CREATE TABLE rotating_keys (
    kid           TEXT    NOT NULL PRIMARY KEY,
    algorithm     TEXT    NOT NULL,
    private_key   TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('next', 'active', 'retired')),
    signs_from    INTEGER NOT NULL,
    retired_at    INTEGER CHECK ((retired_at IS NOT NULL) = (state = 'retired')),
    longest_token INTEGER NOT NULL
) STRICT;

-- What the keys there are have signed is not known: a token lives 366 days at the most. When a retired one was retired
-- is not known either: not after this moment.
INSERT INTO rotating_keys
SELECT kid, algorithm, private_key, created_at, state, created_at,
       CASE state WHEN 'retired' THEN unixepoch() END, 31622400
FROM signing_keys;

DROP TABLE signing_keys;
ALTER TABLE rotating_keys RENAME TO signing_keys;
