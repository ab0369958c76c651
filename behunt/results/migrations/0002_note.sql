-- What a reader of a trial must know of how it came about, as a sentence; mostly nothing.
ALTER TABLE trials ADD COLUMN note TEXT NOT NULL DEFAULT '';
