-- The families of refresh tokens of a client and owner are counted with each new one. A shared client has the tokens of many
-- users.
CREATE INDEX refresh_tokens_by_owner ON refresh_tokens
    (client_id, CASE WHEN json_valid(token_grant) THEN json_extract(token_grant, '$.owner') END)
WHERE used_at IS NULL;
