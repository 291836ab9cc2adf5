-- The index: what this machine remembers of a store. It may forget; the backend is the truth.
-- Times are whole milliseconds, `used` whole seconds: a million rows pay for each byte.

CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY,
    digest BLOB NOT NULL,       -- SHA-256 of the stored ref, 32 bytes
    size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,            -- NULL: never
    new INTEGER NOT NULL,       -- bytes that the store did not hold before
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS pieces (
    xxh3 BLOB PRIMARY KEY,      -- of the piece, 16 bytes
    blob BLOB NOT NULL,         -- SHA-256 that names the blob it lies in, 32 bytes
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS outcomes (
    flow TEXT NOT NULL,
    run TEXT NOT NULL,
    step TEXT NOT NULL,
    task TEXT NOT NULL,
    hit INTEGER NOT NULL,       -- 1 or 0; of a function: hits, or misses as a negative number
    saved_s REAL NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (flow, run, step, task)
) STRICT, WITHOUT ROWID;

-- Of small results: what the ref of that digest holds, behind a proof of it. This table came after
-- the others of this version, so a file without it is given it.
CREATE TABLE IF NOT EXISTS small_values (
    key TEXT PRIMARY KEY,
    name BLOB NOT NULL,         -- of code and arguments, 16 bytes
    digest BLOB NOT NULL,
    value BLOB NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS small_values_by_name ON small_values (name);

CREATE TRIGGER IF NOT EXISTS small_values_go AFTER DELETE ON entries
BEGIN DELETE FROM small_values WHERE key = old.key; END;

-- Of tasks that ran for want of a result, and of calls of functions. This table came later as well.
CREATE TABLE IF NOT EXISTS misses (
    flow TEXT NOT NULL,
    run TEXT NOT NULL,
    step TEXT NOT NULL,
    task TEXT NOT NULL,
    reason TEXT NOT NULL,       -- the value of a Reason; of a function ''
    runs INTEGER NOT NULL,
    run_s REAL NOT NULL,        -- of all of them
    at REAL NOT NULL,
    PRIMARY KEY (flow, run, step, task)
) STRICT, WITHOUT ROWID;

-- Of entries, for people: the task and the inputs or numbers that name them, as JSON. This table came
-- later as well.
CREATE TABLE IF NOT EXISTS details (
    key TEXT PRIMARY KEY,
    digest BLOB NOT NULL,       -- of the ref that has them
    text TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER IF NOT EXISTS details_go AFTER DELETE ON entries
BEGIN DELETE FROM details WHERE key = old.key; END;
