INSERT INTO pgjanus.state (migration, database, side, role, epoch, phase)
VALUES (coalesce($1, gen_random_uuid()::text), coalesce($2, current_database()), $3, $4, 1, 'prepared')
RETURNING migration
