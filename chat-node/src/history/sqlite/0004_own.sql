-- An append touches as few pages as can be: each is a page of the write-ahead log, and there is one leaf of
-- each index below a room that speaks. How many of one's own messages come after the read marker is kept
-- with the marker, not counted from an index of authors; and in order of nonces, which clients make
-- ascending, those of all authors of a room stand together.
ALTER TABLE member ADD COLUMN own INTEGER NOT NULL DEFAULT 0;
UPDATE member SET own = (
    SELECT count(*) FROM message
    WHERE message.room = member.room AND message.author = member.user AND message.seq > member.read
);
DROP INDEX message_author;
DROP INDEX entry_nonce;
CREATE UNIQUE INDEX entry_nonce ON entry (room, nonce, user) WHERE nonce IS NOT NULL;
