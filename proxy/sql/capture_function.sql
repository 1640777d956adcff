-- One capture function; proxy/capture/functions.cpp fills in name, pins and body.
CREATE OR REPLACE FUNCTION pgjanus.{name}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER{pins} AS {body};
