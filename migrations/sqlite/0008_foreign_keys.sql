-- Since when a process runs whose configuration signs with another key or algorithm: after a day no process of the old
-- configuration is left, and the key is retired. NULL: none does.
ALTER TABLE signing_keys ADD COLUMN foreign_since INTEGER;
