// Text or binary COPY: binary where it means the same on both servers.

#include "proxy/load/impl.hpp"

namespace pgjanus::load {

namespace {

// Types whose binary form is a value's whole value, the same in all versions and with any settings
// (utils/adt/*_send). Not here: what sends oids (reg*, composites, arrays of types that are not
// built in), what hangs on the encoding's name (xml) or on lc_monetary (money), and everything of
// extensions; oidvector and int2vector, which refuse their own form of the empty value: those travel as
// text. Enums send their labels, domains as the type beneath.
constexpr const char* columns_sql = R"(
WITH RECURSIVE columns AS (
  SELECT w.n, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.atttypid AS beneath
  FROM unnest($1::text[]) WITH ORDINALITY w (name, n)
  JOIN pg_attribute a ON a.attrelid = to_regclass(w.name)
  WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
  UNION ALL
  SELECT c.n, c.attname, c.type, t.typbasetype
  FROM columns c JOIN pg_type t ON t.oid = c.beneath AND t.typtype = 'd'
), plain (oid) AS (
  SELECT unnest('{bool,bytea,"\"char\"",name,int8,int2,int4,text,oid,json,jsonb,float4,float8,
    numeric,varchar,bpchar,date,time,timetz,timestamp,timestamptz,interval,uuid,bit,varbit,inet,cidr,
    macaddr,macaddr8,point,lseg,box,path,polygon,line,circle}'::regtype[])::oid
)
SELECT c.n, string_agg(format('%I %s', c.attname, c.type), ', ' ORDER BY c.attname),
       bool_and(t.typtype = 'e' OR t.oid IN (SELECT oid FROM plain)
                OR t.oid < 10000 AND t.typelem IN (SELECT oid FROM plain)
                   AND t.oid = (SELECT e.typarray FROM pg_type e WHERE e.oid = t.typelem))
FROM columns c JOIN pg_type t ON t.oid = c.beneath AND t.typtype <> 'd'
GROUP BY c.n ORDER BY c.n)";

}  // namespace

asio::awaitable<std::vector<Format>> formats_of(Pair& pair, const std::vector<TableLoad*>& tables) {
  std::vector<std::string> ours, theirs;
  for (const auto* table : tables) {
    ours.push_back(table->info.sql_name());
    theirs.push_back(table->there.sql_name());
  }
  const std::vector<std::optional<std::string_view>> primary{ours.begin(), ours.end()}, mirror{theirs.begin(), theirs.end()};
  const auto here = co_await pair.primary->run(columns_sql, pg::params(pg::array_literal(primary)));
  const auto there = co_await pair.mirror->run(columns_sql, pg::params(pg::array_literal(mirror)));
  std::vector<Format> formats(tables.size(), Format::text);
  std::map<std::int64_t, int> of_mirror;
  for (int row = 0; row < there.size(); ++row) of_mirror[there.integer(row, 0)] = row;
  for (int row = 0; row < here.size(); ++row) {
    const auto found = of_mirror.find(here.integer(row, 0));
    if (found == of_mirror.end()) continue;
    // Equal widths of unequal types would be taken for values: the types must be the same.
    const bool same = here.text(row, 1) == there.text(found->second, 1);
    if (same && here.boolean(row, 2) && there.boolean(found->second, 2)) {
      formats.at(static_cast<std::size_t>(here.integer(row, 0) - 1)) = Format::binary;
    }
  }
  co_return formats;
}

}  // namespace pgjanus::load
