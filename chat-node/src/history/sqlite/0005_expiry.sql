-- Where the log begins that is still kept, how many messages came before that, and of what time its
-- first entry is.
ALTER TABLE room ADD COLUMN first INTEGER NOT NULL DEFAULT 1;
ALTER TABLE room ADD COLUMN expired INTEGER NOT NULL DEFAULT 0;
ALTER TABLE room ADD COLUMN oldest INTEGER NOT NULL DEFAULT 0;
UPDATE room SET oldest = coalesce(
    (SELECT ts FROM entry WHERE entry.room = room.key AND entry.seq = 1), 0
);
