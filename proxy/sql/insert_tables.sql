-- Mirrored tables from a JSON list; what is listed already stays as it is.
INSERT INTO pgjanus.tables (id, schema_name, table_name, key_columns, columns, local_schema, local_name, own_columns)
SELECT t.id, t.schema, t.name,
       ARRAY(SELECT jsonb_array_elements_text(t.key)), ARRAY(SELECT jsonb_array_elements_text(t.columns)),
       t.local_schema, t.local_name, ARRAY(SELECT jsonb_array_elements_text(coalesce(t.own, '[]')))
FROM jsonb_to_recordset($1::jsonb) t (id integer, schema text, name text, key jsonb, columns jsonb,
  local_schema text, local_name text, own jsonb)
ON CONFLICT DO NOTHING
