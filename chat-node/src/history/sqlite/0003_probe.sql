-- What a writer in trouble tries: whether there is room again. Empty otherwise.
CREATE TABLE probe (
    id     INTEGER PRIMARY KEY,
    filler BLOB NOT NULL
) STRICT;
