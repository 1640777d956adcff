#include "router/classify.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace pgjanus;

namespace {

const Catalog& catalog() {
  static const Catalog names{
      .safe_functions = {"count", "sum", "max", "lower", "now", "coalesce", "date_trunc", "length",
                         "row_number", "generate_series", "jsonb_build_object", "unnest",
                         "pg_backend_pid", "to_char", "extract", "timezone", "like_escape",
                         "similar_to_escape", "f"},
      .opaque_relations = {"order_view", "secret", "twice"},
      .plain_relations = {"users", "orders", "items", "pg_class", "tables", "t", "u"},
      .volatile_operators = {"<!>"}};
  return names;
}

struct Row {
  std::string text;
  StatementKind kind;
  bool touches_session;
  bool several = false;
};

using Kind = StatementKind;

void check(const std::vector<Row>& rows) {
  for (const auto& row : rows) {
    CAPTURE(row.text);
    const auto found = classify(row.text, catalog());
    CHECK(to_string(found.kind) == to_string(row.kind));
    CHECK(found.touches_session == row.touches_session);
    CHECK(found.several == row.several);
  }
}

}  // namespace

TEST_CASE("a provable read is a read", "[router][classify]") {
  check({
      {"SELECT 1", Kind::read, false},
      {"select * from users where id = $1", Kind::read, false},
      {"SELECT u.name, count(*) FROM public.users u JOIN orders USING (id) GROUP BY 1", Kind::read,
       false},
      {"SELECT * FROM tenant_7.users", Kind::read, false},
      {"VALUES (1), (2)", Kind::read, false},
      {"TABLE users", Kind::read, false},
      {"WITH x AS (SELECT * FROM users) SELECT * FROM x", Kind::read, false},
      {"WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM x WHERE n < 9) TABLE x",
       Kind::read, false},
      {"SELECT * FROM users WHERE id IN (SELECT id FROM orders WHERE total > 5)", Kind::read,
       false},
      {"SELECT row_number() OVER (PARTITION BY id ORDER BY id DESC) FROM users", Kind::read, false},
      {"SELECT lower(name) FROM users UNION SELECT name FROM items ORDER BY 1 LIMIT 3", Kind::read,
       false},
      {"SELECT * FROM generate_series(1, 9) AS s(n), LATERAL (SELECT s.n) AS l", Kind::read, false},
      {"SELECT 'INSERT INTO users; DELETE' AS \"update\" -- drop table\n", Kind::read, false},
      {"/* DELETE */ SELECT now(), current_date, current_user", Kind::read, false},
      {"EXPLAIN SELECT * FROM users", Kind::read, false},
      {"SELECT 1;", Kind::read, false},
      {"SELECT 1; SELECT * FROM users;", Kind::read, false, true},
      {"SELECT a FROM t WHERE b LIKE 'x%' AND c BETWEEN 1 AND 2 OR d IS NULL", Kind::read, false},
      {"SELECT (ARRAY[1, 2])[1], '{}'::jsonb -> 'a', x::numeric(10, 2) FROM t", Kind::read, false},
      {"SELECT * FROM t TABLESAMPLE bernoulli (1)", Kind::read, false},
  });
}

TEST_CASE("what may see or do more than read rows is no read", "[router][classify]") {
  check({
      {"SELECT * FROM users FOR UPDATE", Kind::other, false},
      {"SELECT * FROM users FOR KEY SHARE SKIP LOCKED", Kind::other, false},
      {"SELECT * FROM (SELECT * FROM users FOR SHARE) s", Kind::other, false},
      {"SELECT charge(1)", Kind::other, true},
      {"SELECT public.charge(1) FROM users", Kind::other, true},
      {"SELECT set_config('search_path', '', false)", Kind::other, true},
      {"SELECT pg_advisory_lock(1)", Kind::other, true},
      {"SELECT nextval('s')", Kind::other, false},
      {"SELECT currval('s'), random()", Kind::other, false},
      {"SELECT pg_backend_pid()", Kind::other, false},
      {"SELECT * FROM order_view", Kind::other, false},
      {"SELECT * FROM twice", Kind::other, false},
      {"SELECT * FROM unknown_table", Kind::other, true},
      {"SELECT * FROM pg_class", Kind::other, false},
      {"SELECT * FROM information_schema.tables", Kind::other, false},
      {"SELECT a <!> b FROM t", Kind::other, true},
      {"SELECT a OPERATOR(public.<!>) b FROM t", Kind::other, true},
      {"SELECT * FROM t WHERE a <!> ANY (SELECT 1)", Kind::other, true},
      {"SELECT xmin, * FROM users", Kind::other, false},
      {"SELECT users.ctid FROM users", Kind::other, false},
      {"SELECT 'users'::regclass", Kind::other, false},
      {"SELECT * INTO copy FROM users", Kind::ddl, true},
      {"SELECT * INTO TEMP copy FROM users", Kind::session, true},
      {"WITH d AS (DELETE FROM users RETURNING *) SELECT * FROM d", Kind::write, false},
      {"WITH order_view AS (SELECT 1) SELECT * FROM order_view", Kind::other, false},
      {"WITH w AS (SELECT 1) SELECT * FROM public.w", Kind::other, true},
      {"EXPLAIN ANALYZE SELECT * FROM users", Kind::other, false},
      {"EXPLAIN (COSTS off, ANALYZE) DELETE FROM users", Kind::write, false},
      {"EXPLAIN DELETE FROM users", Kind::other, false},
      {"EXPLAIN ANALYZE EXECUTE p", Kind::other, true},
      {"SELECT * FROM users, pg_temp.x", Kind::other, true},
      {"SHOW search_path", Kind::other, false},
      {"COPY users TO STDOUT", Kind::other, false},
      {"COPY (SELECT charge(1)) TO STDOUT", Kind::other, true},
      {"FETCH 5 FROM c", Kind::other, false},
      {"LOCK TABLE users", Kind::other, false},
      {"SELECT 1; SELECT charge(1)", Kind::other, true, true},
  });
}

TEST_CASE("writes, and whether they may change the session", "[router][classify]") {
  check({
      {"INSERT INTO users VALUES ($1) RETURNING id", Kind::write, false},
      {"INSERT INTO users SELECT * FROM items ON CONFLICT DO NOTHING", Kind::write, false},
      {"UPDATE users SET seen = now(), token = gen_random_uuid() WHERE id = 1", Kind::write, false},
      {"DELETE FROM users USING orders WHERE users.id = orders.id", Kind::write, false},
      {"MERGE INTO users u USING items i ON u.id = i.id WHEN MATCHED THEN DELETE", Kind::write,
       false},
      {"INSERT INTO users VALUES (set_config('a.b', '1', false))", Kind::write, true},
      {"UPDATE users SET name = rename(name)", Kind::write, true},
      {"WITH n AS (INSERT INTO users VALUES (1) RETURNING id) INSERT INTO items SELECT * FROM n",
       Kind::write, false},
      {"TRUNCATE users", Kind::write, false},
      {"COPY users FROM STDIN", Kind::write, false},
      {"COMMIT PREPARED 'a'", Kind::write, false},
      {"INSERT INTO users VALUES (1); SELECT 1", Kind::write, false, true},
      {"INSERT INTO users VALUES (1); CREATE TABLE x ()", Kind::ddl, true, true},
      {"INSERT INTO users VALUES (1); SET a.b = 1", Kind::session, true, true},
  });
}

TEST_CASE("code that a statement runs without naming it may change the session", "[router][classify]") {
  auto names = catalog();
  names.loud_relations = {"users", "order_view"};
  const auto touches = [&](std::string_view text) { return classify(text, names).touches_session; };
  CHECK(touches("INSERT INTO users VALUES (1)"));
  CHECK(touches("WITH d AS (DELETE FROM app.users RETURNING *) SELECT * FROM d"));
  CHECK(touches("COPY users FROM STDIN"));
  CHECK(touches("TRUNCATE orders, users"));
  CHECK(touches("SELECT * FROM order_view"));
  CHECK(touches("SELECT * FROM orders, order_view FOR UPDATE"));
  CHECK(touches("INSERT INTO made_since VALUES (1)"));
  CHECK_FALSE(touches("SELECT * FROM users"));
  CHECK_FALSE(touches("SELECT * FROM users FOR UPDATE"));
  CHECK_FALSE(touches("COPY users TO STDOUT"));
  CHECK_FALSE(touches("UPDATE orders SET total = 1"));
  CHECK_FALSE(touches("WITH made_since AS (SELECT 1) UPDATE orders SET total = 1 FROM made_since"));
}

TEST_CASE("transaction statements alone, and in company", "[router][classify]") {
  check({
      {"BEGIN", Kind::begin, false},
      {"start transaction isolation level serializable", Kind::begin, false},
      {"COMMIT", Kind::finish, false},
      {"end", Kind::finish, false},
      {"ROLLBACK AND CHAIN", Kind::finish, false},
      {"ABORT", Kind::finish, false},
      {"PREPARE TRANSACTION 'a'", Kind::finish, false},
      {"ROLLBACK PREPARED 'a'", Kind::other, false},
      {"SAVEPOINT s", Kind::other, false},
      {"ROLLBACK TO s", Kind::other, false},
      {"BEGIN; SELECT 1", Kind::other, false, true},
      {"BEGIN; INSERT INTO users VALUES (1); COMMIT", Kind::other, false, true},
      {"SELECT 1; COMMIT", Kind::other, false, true},
      {"BEGIN; COMMIT", Kind::other, false, true},
  });
}

TEST_CASE("session and schema", "[router][classify]") {
  check({
      {"SET search_path = a", Kind::session, true},
      {"SET LOCAL search_path = a", Kind::other, false},
      {"RESET ALL", Kind::session, true},
      {"DISCARD ALL", Kind::session, true},
      {"LISTEN a", Kind::session, true},
      {"UNLISTEN *", Kind::session, true},
      {"NOTIFY a", Kind::other, false},
      {"PREPARE p AS SELECT 1", Kind::session, true},
      {"EXECUTE p", Kind::other, true},
      {"DEALLOCATE p", Kind::session, true},
      {"DECLARE c CURSOR WITH HOLD FOR SELECT 1", Kind::session, true},
      {"CLOSE c", Kind::session, true},
      {"DO $$ BEGIN END $$", Kind::session, true},
      {"CALL p()", Kind::session, true},
      {"LOAD 'auto_explain'", Kind::session, true},
      {"CREATE TABLE x (id int)", Kind::ddl, true},
      {"CREATE TEMP TABLE x (id int)", Kind::session, true},
      {"CREATE TABLE pg_temp.x (id int)", Kind::session, true},
      {"CREATE TEMP TABLE x AS SELECT 1", Kind::session, true},
      {"CREATE TABLE x AS SELECT 1", Kind::ddl, true},
      {"CREATE TEMP VIEW x AS SELECT 1", Kind::session, true},
      {"CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", Kind::session, true},
      {"CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", Kind::ddl, true},
      {"ALTER TABLE users ADD COLUMN a int", Kind::ddl, true},
      {"DROP TABLE users", Kind::ddl, true},
      {"GRANT SELECT ON users TO PUBLIC", Kind::ddl, true},
      {"REFRESH MATERIALIZED VIEW m", Kind::ddl, true},
      {"CREATE INDEX CONCURRENTLY ON users (id)", Kind::ddl, true},
      {"VACUUM users", Kind::other, false},
  });
}

TEST_CASE("nothing, and what does not parse", "[router][classify]") {
  check({
      {"", Kind::empty, false},
      {"  \n\t", Kind::empty, false},
      {"-- only a comment", Kind::empty, false},
      {"/* and /* nested */ */ ;;", Kind::empty, false},
      {"SELEC 1", Kind::other, true, true},
      {"SELECT 'open", Kind::other, true, true},
      {"START_REPLICATION SLOT a LOGICAL 0/0", Kind::other, true, true},
      {std::string{"SELECT 1\0; DELETE FROM users", 28}, Kind::other, true, true},
      {"SELECT " + std::string(classify_bytes_max, ' ') + "1", Kind::other, true, true},
  });
}

TEST_CASE("an operator behind DISTINCT or BETWEEN counts though it is not named",
          "[router][classify]") {
  auto names = catalog();
  names.volatile_operators.insert("=");
  CHECK(classify("SELECT DISTINCT a FROM t", names).kind == Kind::other);
}

TEST_CASE("what may change the catalog is marked", "[router][classify]") {
  const auto defines = [](std::string_view text) { return classify(text, catalog()).defines; };
  for (const auto* text : {"CREATE TABLE t (a int)", "ALTER TABLE t ADD b int", "DROP TABLE t", "SELECT 1 INTO t",
                           "CREATE TABLE t AS SELECT 1", "DO 'BEGIN END'", "CALL p()", "SELECT 1; DROP VIEW v",
                           "COMMENT ON TABLE t IS 'x'", "not SQL"}) {
    CAPTURE(text);
    CHECK(defines(text));
  }
  for (const auto* text : {"SELECT 1", "INSERT INTO t VALUES (1)", "BEGIN", "COMMIT", "TRUNCATE t", "SET x = 1", "",
                           "CREATE TEMP TABLE t (a int)", "VACUUM t"}) {
    CAPTURE(text);
    CHECK_FALSE(defines(text));
  }
  const std::string many(20'000, ' ');
  CHECK(defines("CREATE TABLE t (a int)" + many));
  CHECK_FALSE(defines("INSERT INTO t VALUES (1)" + many));
}
