-- When people who are not there were last seen. Not derived from the log: presence keeps it here so that
-- a restart does not forget it. Who is there has no row.
CREATE TABLE seen (
    user TEXT    NOT NULL PRIMARY KEY,
    at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
