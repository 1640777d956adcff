-- Everything of ours in one schema, the same objects on both sides (design.md section 4). Run once
-- on each side by `prepare`, in one transaction; DROP SCHEMA pgjanus CASCADE undoes it.

CREATE SCHEMA pgjanus;
REVOKE ALL ON SCHEMA pgjanus FROM PUBLIC;

-- One row: who this side is. The primary's row also carries the heartbeat. No CHECKs here and on the
-- boundary: Postgres parses them anew in each statement, and every batch updates both rows.
CREATE TABLE pgjanus.state (
  one            boolean PRIMARY KEY DEFAULT true,
  version        integer NOT NULL DEFAULT 1,  -- of these objects
  migration      text    NOT NULL,
  database       text    NOT NULL,            -- the name clients connect to
  side           text    NOT NULL,            -- source, target
  role           text    NOT NULL,            -- primary, mirror
  epoch          bigint  NOT NULL,
  phase          text    NOT NULL,            -- prepared, loading, mirroring, finished
  batch          bigint  NOT NULL DEFAULT 0,  -- heartbeat: the last batch announced
  nonce          text,                        -- of that batch
  previous_nonce text,                        -- of the one before: the mirror has one of the two
  beat_at        timestamptz,
  reads          text,                        -- READS, for all proxies
  last_flip      jsonb,
  verified       jsonb,                       -- last verification: at, tables, differences
  extra          jsonb NOT NULL DEFAULT '{}'  -- room for later versions
) WITH (fillfactor = 10);

-- One row, on the mirror: the snapshot of the primary that this side equals.
CREATE TABLE pgjanus.boundary (
  one      boolean PRIMARY KEY DEFAULT true,
  epoch    bigint NOT NULL,
  batch    bigint NOT NULL,
  snapshot text   NOT NULL,   -- xmin:xmax:xip of the primary
  nonce    text   NOT NULL,   -- the heartbeat that made it a boundary
  system   text,              -- system identifier of the primary's cluster
  timeline text,
  taken_at timestamptz NOT NULL
) WITH (fillfactor = 10);

-- One row a mirrored table. Definition on both sides, by the source's name; state, own boundary and
-- progress on the mirror.
CREATE TABLE pgjanus.tables (
  id          integer PRIMARY KEY,
  schema_name text NOT NULL,
  table_name  text NOT NULL,
  key_columns text[] NOT NULL DEFAULT '{}',  -- empty: whole rows are journaled
  columns     text[] NOT NULL,               -- mirrored columns, in the order of a journaled row
  state       text NOT NULL DEFAULT 'new',
  boundary    text,              -- own boundary while the table is held up or loading
  file        text,              -- files of its relations when the load began (rewritten: start again)
  rows        bigint,            -- counted by the last load or verification
  error       text,
  local_schema text,             -- what this side calls it, where that is another name (proxy/schema)
  local_name   text,
  own_columns  text[] NOT NULL DEFAULT '{}',  -- of this side only, and no business of the other
  UNIQUE (schema_name, table_name)
);

-- Parts of a load. A part is done when its row says so: set in the transaction that copied it.
CREATE TABLE pgjanus.chunks (
  table_id   integer NOT NULL,
  part       integer NOT NULL,
  relation   text    NOT NULL,   -- relation on the primary, for SQL
  first_page bigint  NOT NULL,
  end_page   bigint,             -- exclusive; NULL: to the end of the relation
  done       boolean NOT NULL DEFAULT false,
  rows       bigint  NOT NULL DEFAULT 0,
  bytes      bigint  NOT NULL DEFAULT 0,
  PRIMARY KEY (table_id, part)
);

-- Steps of the load after the rows (indexes, constraints, ...), so that a killed load goes on.
CREATE TABLE pgjanus.steps (
  step    text PRIMARY KEY,
  done_at timestamptz NOT NULL DEFAULT now()
);

-- Which rows changed, never what they became. key NULL: every row of the table.
-- weight NULL: the key of a changed row; otherwise a whole row added (+) or removed (-) that often.
CREATE TABLE pgjanus.journal (
  xid      xid8    NOT NULL,
  table_id integer NOT NULL,
  key      text[],
  weight   integer
) WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false);
CREATE INDEX journal_xid ON pgjanus.journal (xid);

-- What was taken away for the time as mirror, and comes back at promotion.
CREATE TABLE pgjanus.kept (
  kind        text NOT NULL CHECK (kind IN ('foreign key', 'check', 'trigger', 'rule', 'sequence')),
  schema_name text NOT NULL,
  table_name  text NOT NULL,     -- of a sequence: its name
  name        text NOT NULL,     -- constraint, trigger or rule; of a sequence: ''
  definition  jsonb NOT NULL,    -- what restoring needs
  restored    boolean NOT NULL DEFAULT false,   -- back, but NOT VALID: to be validated
  PRIMARY KEY (kind, schema_name, table_name, name)
);

CREATE TABLE pgjanus.differences (
  found_at timestamptz NOT NULL DEFAULT now(),
  table_id integer NOT NULL,
  kind     text NOT NULL CHECK (kind IN ('missing', 'extra', 'changed')),
  key      jsonb NOT NULL,       -- column: text
  columns  text[] NOT NULL DEFAULT '{}',
  weight   bigint                -- of a row without key: how many the mirror lacks, or (-) has too many
);

CREATE TABLE pgjanus.members (
  name       text PRIMARY KEY,
  version    text NOT NULL,
  leader     boolean NOT NULL DEFAULT false,
  clients    bigint NOT NULL DEFAULT 0,
  started_at timestamptz NOT NULL DEFAULT now(),
  seen_at    timestamptz NOT NULL DEFAULT now()
);

-- The primary's catalog as of the boundary, one row an object: what the next look is compared with
-- (proxy/ddl/README.md). On the mirror; state.extra ->> 'shape_epoch' says whose direction it is of.
CREATE TABLE pgjanus.shape (
  kind text   NOT NULL,
  oid  bigint NOT NULL,          -- on the primary
  sub  bigint NOT NULL,          -- column number, and the like
  doc  jsonb  NOT NULL,
  PRIMARY KEY (kind, oid, sub)
);

CREATE TABLE pgjanus.audit (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at      timestamptz NOT NULL DEFAULT now(),
  peer    text NOT NULL,
  command text NOT NULL,
  outcome text NOT NULL
);

-- The fence. Every capture function writes the journal, so this one trigger refuses every row
-- change in mirrored tables, whoever makes it and however old its snapshot.
CREATE FUNCTION pgjanus.refuse() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  RAISE EXCEPTION 'this database is now the mirror'
    USING ERRCODE = '25006',
          HINT = 'pgjanus made the other database the primary: connect through pgjanus, or to the '
                 'new primary. SELECT * FROM pgjanus.state tells which side this is.';
END $$;
REVOKE ALL ON FUNCTION pgjanus.refuse() FROM PUBLIC;

CREATE TRIGGER this_database_is_now_the_mirror BEFORE INSERT ON pgjanus.journal
  FOR EACH STATEMENT EXECUTE FUNCTION pgjanus.refuse();
ALTER TABLE pgjanus.journal DISABLE TRIGGER this_database_is_now_the_mirror;
