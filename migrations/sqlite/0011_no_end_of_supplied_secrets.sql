-- The last four characters of a secret are shown by which people tell secrets apart. Of one that people chose they help to
-- guess it, so only those of generated secrets are kept: the ones that are stored as SHA-256.
UPDATE client_secrets SET last_four = '' WHERE hash NOT LIKE 'sha256:%';
