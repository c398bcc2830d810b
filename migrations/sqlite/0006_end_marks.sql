-- `mark` tells one end from the next: a token that is issued after an end, under a clock that was set back since, carries
-- it and is not ended.
ALTER TABLE client_not_before ADD COLUMN mark TEXT NOT NULL DEFAULT '';
UPDATE client_not_before SET mark = lower(hex(randomblob(8)));

-- No token was signed with a time later than this one.
CREATE TABLE signed_until (
    at INTEGER NOT NULL
) STRICT;
INSERT INTO signed_until (at) VALUES (0);
