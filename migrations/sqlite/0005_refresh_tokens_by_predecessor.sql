-- Looked for at each use of a refresh token.
CREATE INDEX refresh_tokens_by_predecessor ON refresh_tokens (predecessor);
