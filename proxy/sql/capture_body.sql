
#variable_conflict use_column
BEGIN
  -- Ours: the mirror loop and the loader. Nobody else passes, whatever they SET: in this function
  -- current_user is the schema's owner, and who has its rights is the owner by another name (two
  -- logins in turn, as secrets rotate) or a superuser. Every name has its schema: what the app's
  -- search path says must not matter.
  IF pg_catalog.current_setting('pgjanus.apply', true) OPERATOR(pg_catalog.=) 'on' THEN
    -- Two tests: the first needs no query, and is the usual answer.
    IF session_user OPERATOR(pg_catalog.=) current_user THEN
      RETURN NULL;
    END IF;
    IF pg_catalog.pg_has_role(session_user, current_user, 'USAGE') THEN
      RETURN NULL;
    END IF;
  END IF;
  {changes}
  RETURN NULL;
END
