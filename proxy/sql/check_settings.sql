-- ALTER DATABASE and ALTER ROLE ... SET that hold for sessions of this database.
SELECT coalesce(r.rolname::text, ''), s.setdatabase <> 0, c.setting
FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole
CROSS JOIN LATERAL unnest(s.setconfig) c (setting)
WHERE (s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
       OR s.setdatabase = 0 AND s.setrole = (SELECT oid FROM pg_roles WHERE rolname = current_user))
ORDER BY 1, 2, 3
