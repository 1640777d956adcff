-- What prepare will do, tried and rolled back: no relation of the app's is touched.
BEGIN;
CREATE SCHEMA pgjanus_probe;
CREATE TABLE pgjanus_probe.probe (id integer PRIMARY KEY);
CREATE FUNCTION pgjanus_probe.probe() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NULL; END';
REVOKE ALL ON FUNCTION pgjanus_probe.probe() FROM PUBLIC;
CREATE TRIGGER probe AFTER INSERT ON pgjanus_probe.probe REFERENCING NEW TABLE AS new_rows
  FOR EACH STATEMENT EXECUTE FUNCTION pgjanus_probe.probe();
ALTER TABLE pgjanus_probe.probe ENABLE ALWAYS TRIGGER probe;
INSERT INTO pgjanus_probe.probe VALUES (1);
ROLLBACK
