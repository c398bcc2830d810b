-- An owner's name means something together with the issuer that gave it: two authorities may each have a user `1`.
-- NULL: the owner is the operator's word (`owner` of a client), or the row is older than this column. What an exchanged
-- token was made from names its issuer, where the operator had it copied.
ALTER TABLE tokens ADD COLUMN owner_issuer TEXT;
UPDATE tokens SET owner_issuer = json_extract(original_claims, '$.iss')
WHERE owner IS NOT NULL
  AND CASE WHEN json_valid(original_claims) THEN json_type(original_claims, '$.iss') = 'text' ELSE FALSE END;
