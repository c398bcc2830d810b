-- The time by which it is judged what may be forgotten. `at` only grows with the time that a machine ran. `claimed_at` is a
-- later time that the clock says and has stood by for `stood` seconds; NULL when there is none. `uptime` is how many seconds
-- the machine had been running since its start `boot`; NULL when starts cannot be told apart.
CREATE TABLE proven_time (
    at         INTEGER NOT NULL,
    claimed_at INTEGER,
    stood      INTEGER NOT NULL,
    boot       TEXT,
    uptime     INTEGER NOT NULL
) STRICT;

-- Tokens were signed up to some time within the hour before this one. Without it there is nothing to go by.
INSERT INTO proven_time (at, stood, uptime) SELECT at - 3600, 0, 0 FROM signed_until WHERE at > 0;
