-- How far a comparison came, on the primary, so that one that was interrupted goes on. Made when
-- the first one begins.
CREATE TABLE IF NOT EXISTS pgjanus.verification (
  one         boolean PRIMARY KEY DEFAULT true CHECK (one),
  scope       jsonb   NOT NULL,             -- what was asked for
  epoch       bigint  NOT NULL,
  progress_at timestamptz NOT NULL DEFAULT now(),
  ended       boolean NOT NULL DEFAULT false
);

-- A part is done when its row says so: set in the transaction that holds what was found in it.
CREATE TABLE IF NOT EXISTS pgjanus.verified_parts (
  table_id    integer NOT NULL,
  part        integer NOT NULL,
  mark        text    NOT NULL,   -- which table this was: another mark, and it counts for nothing
  low         text,               -- range of the key's first column; NULL: open
  high        text,
  bytes       bigint  NOT NULL,
  done        boolean NOT NULL DEFAULT false,
  rows        bigint,
  differences bigint  NOT NULL DEFAULT 0,
  PRIMARY KEY (table_id, part)
);
