-- Rooms have short integer keys of their own: the key stands in every row and every index, the id
-- only here. AUTOINCREMENT, so that the key of a removed room whose rows are still being purged is
-- never given to a new one.
CREATE TABLE room (
    key          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    kind         INTEGER NOT NULL,
    name         TEXT,
    topic        TEXT,
    slow_mode_ms INTEGER NOT NULL DEFAULT 0,
    epoch        TEXT    NOT NULL,
    head         INTEGER NOT NULL,
    last         INTEGER,                      -- the newest message
    messages     INTEGER NOT NULL DEFAULT 0,   -- how many there ever were
    members      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The log: the truth that everything below is derived from.
CREATE TABLE entry (
    room   INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    user   TEXT    NOT NULL,
    ts     INTEGER NOT NULL,
    nonce  TEXT,                               -- of a message
    edits  INTEGER,                            -- the target of an edit
    body   TEXT    NOT NULL,                   -- JSON of EntryBody
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX entry_nonce ON entry (room, user, nonce) WHERE nonce IS NOT NULL;
CREATE INDEX entry_edits ON entry (room, edits) WHERE edits IS NOT NULL;

-- What became of a message. Its words stay in the log: in the entry at `seq`, or at `edit` when it
-- was edited. `id` is its row in `words`, and ascends in the order of commits.
CREATE TABLE message (
    id      INTEGER PRIMARY KEY,
    room    INTEGER NOT NULL,
    seq     INTEGER NOT NULL,
    place   INTEGER NOT NULL,                  -- messages of the room up to this one
    author  TEXT    NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    edit    INTEGER                            -- the newest edit
) STRICT;
CREATE INDEX message_position ON message (room, seq, place);
-- How many of others are unread follows from two places, less one's own and less the deleted: who
-- comes back to a hundred thousand of them is shown the number as fast as everybody.
CREATE INDEX message_author ON message (room, author, seq);
CREATE INDEX message_deleted ON message (room, seq, author) WHERE deleted = 1;

-- Who is mentioned in what a message now says; not the author.
CREATE TABLE mention (
    room INTEGER NOT NULL,
    user TEXT    NOT NULL,
    seq  INTEGER NOT NULL,
    PRIMARY KEY (room, user, seq)
) STRICT, WITHOUT ROWID;

-- One row an emoji of a message; `place` is the entry that brought the emoji in.
CREATE TABLE reaction (
    room   INTEGER NOT NULL,
    target INTEGER NOT NULL,
    emoji  TEXT    NOT NULL,
    place  INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (room, target, emoji)
) STRICT, WITHOUT ROWID;
CREATE TABLE reactor (
    room   INTEGER NOT NULL,
    target INTEGER NOT NULL,
    emoji  TEXT    NOT NULL,
    user   TEXT    NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (room, target, emoji, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX reactor_order ON reactor (room, target, emoji, seq);

CREATE TABLE member (
    room  INTEGER NOT NULL,
    user  TEXT    NOT NULL,
    role  INTEGER NOT NULL,
    muted INTEGER,                             -- NULL: may speak; the greatest integer: for good
    since INTEGER NOT NULL,                    -- the entry that brought them in, for seniority
    read  INTEGER NOT NULL,
    PRIMARY KEY (room, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_user ON member (user, room);

CREATE TABLE ban (
    room  INTEGER NOT NULL,
    user  TEXT    NOT NULL,
    until INTEGER,                             -- NULL: for good
    PRIMARY KEY (room, user)
) STRICT, WITHOUT ROWID;

-- Rooms that were removed and whose rows are still to be deleted, a few at a time.
CREATE TABLE gone (room INTEGER PRIMARY KEY) STRICT;

-- The index of what messages now say. Contentless: the words themselves are in the log. Each row
-- carries its room as a token, so that a search touches the rooms of the caller only.
CREATE VIRTUAL TABLE words USING fts5 (
    room, text,
    content = '', contentless_delete = 1,
    tokenize = "unicode61 remove_diacritics 2"
);
