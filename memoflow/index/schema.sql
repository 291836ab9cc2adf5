-- The index: what this machine remembers of a store. It may forget; the backend is the truth.
-- Times are whole milliseconds, `used` whole seconds: a million rows pay for each byte.

CREATE TABLE entries (
    key TEXT PRIMARY KEY,
    digest BLOB NOT NULL,       -- SHA-256 of the stored ref, 32 bytes
    size INTEGER NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER,            -- NULL: never
    new INTEGER NOT NULL,       -- bytes that the store did not hold before
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pieces (
    xxh3 BLOB PRIMARY KEY,      -- of the piece, 16 bytes
    blob BLOB NOT NULL,         -- SHA-256 that names the blob it lies in, 32 bytes
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE outcomes (
    flow TEXT NOT NULL,
    run TEXT NOT NULL,
    step TEXT NOT NULL,
    task TEXT NOT NULL,
    hit INTEGER NOT NULL,       -- 1 or 0; of a function: hits, or misses as a negative number
    saved_s REAL NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (flow, run, step, task)
) STRICT, WITHOUT ROWID;
