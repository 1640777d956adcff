#include "router/rewrite.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

using namespace pgjanus;

namespace {

const Rewriter moved{{{{"public", "users"}, {"auth", "users"}, Unqualified::is_ours},
                      {{"public", "users_id_seq"}, {"auth", "users_id_seq"}, Unqualified::is_ours},
                      {{"shop", "Order \"x\""}, {"shop", "order"}, Unqualified::is_ours}}};
const Rewriter renamed{{{{"public", "users"}, {"auth", "people"}, Unqualified::is_ours}}};

std::string client(const Rewriter& rewriter, std::string_view text) {
  return rewriter.rewrite(text, TextOf::client).value_or(std::string{text});
}
std::string of_client(std::string_view text) { return client(moved, text); }
std::string of_catalog(std::string_view text) {
  return moved.rewrite(text, TextOf::catalog).value_or(std::string{text});
}
void stays(std::string_view text) {
  CAPTURE(text);
  CHECK_FALSE(moved.rewrite(text, TextOf::client));
}

}  // namespace

TEST_CASE("relations are replaced where they stand, whatever the case and the quotes", "[router][rewrite]") {
  CHECK(of_client("SELECT * FROM users") == R"(SELECT * FROM "auth"."users")");
  CHECK(of_client("select Users.id, u.* from USERS, public . \"users\" u") ==
        R"(select Users.id, u.* from "auth"."users", "auth"."users" u)");
  CHECK(of_client("INSERT INTO users(email) VALUES ('users') RETURNING users.id") ==
        R"(INSERT INTO "auth"."users"(email) VALUES ('users') RETURNING users.id)");
  CHECK(of_client("UPDATE public.users SET n = public.users.n + 1 WHERE public.users.id = $1") ==
        R"(UPDATE "auth"."users" SET n = "auth"."users".n + 1 WHERE "auth"."users".id = $1)");
  CHECK(of_client("DELETE FROM ONLY users; TRUNCATE users, other; LOCK TABLE users; COPY users (a) FROM STDIN") ==
        R"(DELETE FROM ONLY "auth"."users"; TRUNCATE "auth"."users", other; LOCK TABLE "auth"."users"; COPY "auth"."users" (a) FROM STDIN)");
  CHECK(of_client("SELECT public.users.* FROM public.users FOR UPDATE OF users") ==
        R"(SELECT "auth"."users".* FROM "auth"."users" FOR UPDATE OF users)");
  CHECK(of_client("SELECT 1 FROM shop.\"Order \"\"x\"\"\"") == R"(SELECT 1 FROM "shop"."order" AS "Order ""x""")");
}

TEST_CASE("what only looks like the name stays", "[router][rewrite]") {
  stays("SELECT users FROM t");
  stays("SELECT 'public.users', $$users$$ /* users */ -- users");
  stays("SELECT * FROM other.users");
  stays("SELECT users.id FROM t AS users");
  stays("SELECT users(1), public.users(2)");
  stays("SELECT public.users FROM t AS public");
  stays("WITH users AS (SELECT 1) SELECT * FROM users");
  stays("CREATE TEMP TABLE users (id int)");
  stays("SELECT * FROM users_old");
  CHECK(moved.hides("CREATE TEMP TABLE users (id int)"));
  CHECK_FALSE(moved.hides("INSERT INTO users VALUES ('temp')"));
  CHECK_FALSE(moved.rewrite("SELECT * FROM users", TextOf::shadowed_client));
  CHECK(moved.rewrite("SELECT * FROM public.users", TextOf::shadowed_client));
}

TEST_CASE("settings, fields of columns, functions and triggers may be called as the table is", "[router][rewrite]") {
  stays("SET public.users = 1");
  stays("SET LOCAL public.users TO 'x'; SHOW public.users; RESET public.users");
  stays("ALTER ROLE r SET public.users = 1");
  stays("UPDATE t SET public.users = 1, n = 2; INSERT INTO t (public.users) VALUES (1)");
  stays("DROP FUNCTION IF EXISTS public.users");
  stays("DROP FUNCTION IF EXISTS users(int)");
  stays("DROP SCHEMA IF EXISTS users; DROP VIEW v; SELECT 1 FROM t JOIN s ON users");
  CHECK(of_client("CREATE TABLE t (local public.users); SET public.users = 1") ==
        R"(CREATE TABLE t (local "auth"."users"); SET public.users = 1)");
  CHECK(of_client("DROP TRIGGER IF EXISTS users ON users") == R"(DROP TRIGGER IF EXISTS users ON "auth"."users")");
  CHECK(of_client("DROP TABLE t; SELECT 1 FROM users JOIN s ON users") ==
        R"(DROP TABLE t; SELECT 1 FROM "auth"."users" JOIN s ON users)");
  CHECK(of_client("CREATE TABLE t OF public.users (a WITH OPTIONS PRIMARY KEY)") ==
        R"(CREATE TABLE t OF "auth"."users" (a WITH OPTIONS PRIMARY KEY))");
  // Whose text does not parse.
  stays("SET public.users = 1 AND THEN");
}

TEST_CASE("quotes do not grow together with what stands beside", "[router][rewrite]") {
  CHECK(of_client("SELECT 1 FROM public.users\"u\"") == R"(SELECT 1 FROM "auth"."users" "u")");
  CHECK(of_client("SELECT u&public.users.id FROM users") == R"(SELECT u& "auth"."users".id FROM "auth"."users")");
  CHECK(of_client("CREATE TABLE t (\"a\"public.users)") == R"(CREATE TABLE t ("a" "auth"."users"))");
}

TEST_CASE("a WITH query hides the table where it is in scope, and only there", "[router][rewrite]") {
  CHECK(of_client("WITH users AS (SELECT * FROM users) SELECT * FROM users") ==
        R"(WITH users AS (SELECT * FROM "auth"."users") SELECT * FROM users)");
  stays("WITH RECURSIVE users AS (SELECT 1 UNION SELECT * FROM users) SELECT * FROM users");
  CHECK(of_client("WITH a AS (SELECT * FROM users), users AS (SELECT 1) SELECT * FROM users, public.users") ==
        R"(WITH a AS (SELECT * FROM "auth"."users"), users AS (SELECT 1) SELECT * FROM users, "auth"."users")");
  CHECK(of_client("SELECT (WITH users AS (SELECT 1) SELECT 1 FROM users) FROM users") ==
        R"(SELECT (WITH users AS (SELECT 1) SELECT 1 FROM users) FROM "auth"."users")");
}

TEST_CASE("another name keeps the old one as its alias", "[router][rewrite]") {
  CHECK(client(renamed, "SELECT users.id FROM users WHERE public.users.n > 1") ==
        R"(SELECT users.id FROM "auth"."people" AS "users" WHERE "users".n > 1)");
  CHECK(client(renamed, "SELECT u.id FROM public.users u JOIN users ON true") ==
        R"(SELECT u.id FROM "auth"."people" u JOIN "auth"."people" AS "users" ON true)");
  CHECK(client(renamed, "INSERT INTO users AS x VALUES (1)") == R"(INSERT INTO "auth"."people" AS x VALUES (1))");
  CHECK(client(renamed, "SELECT * FROM ONLY (users)") == R"(SELECT * FROM ONLY ("auth"."people") AS "users")");
  CHECK(client(renamed, "TABLE users; TRUNCATE users") == R"(TABLE "auth"."people"; TRUNCATE "auth"."people")");
  CHECK(client(renamed, "TABLE ONLY users; TABLE ONLY (users)") ==
        R"(TABLE ONLY "auth"."people"; TABLE ONLY ("auth"."people"))");
  CHECK(client(renamed, "DELETE FROM users USING t WHERE users.id = t.id") ==
        R"(DELETE FROM "auth"."people" AS "users" USING t WHERE users.id = t.id)");
}

TEST_CASE("texts that name relations are replaced where a relation is meant", "[router][rewrite]") {
  CHECK(of_client("SELECT nextval('users_id_seq'), currval('public.users_id_seq'::regclass)") ==
        R"(SELECT nextval('"auth"."users_id_seq"'), currval('"auth"."users_id_seq"'::regclass))");
  CHECK(of_client("SELECT pg_get_serial_sequence('\"users\"', 'id')") ==
        R"(SELECT pg_get_serial_sequence('"auth"."users"', 'id'))");
  stays("SELECT upper('users')");
}

TEST_CASE("schema changes of a client arrive at the table", "[router][rewrite]") {
  CHECK(of_client("ALTER TABLE users ADD COLUMN n int REFERENCES public.users(id)") ==
        R"(ALTER TABLE "auth"."users" ADD COLUMN n int REFERENCES "auth"."users"(id))");
  CHECK(of_client("CREATE INDEX i ON users(a)") == R"(CREATE INDEX i ON "auth"."users"(a))");
  CHECK(of_client("DROP TABLE IF EXISTS a.b, users") == R"(DROP TABLE IF EXISTS a.b, "auth"."users")");
  CHECK(of_client("COMMENT ON COLUMN public.users.id IS 'users'") == R"(COMMENT ON COLUMN "auth"."users".id IS 'users')");
  CHECK(of_client("DROP TRIGGER t ON users") == R"(DROP TRIGGER t ON "auth"."users")");
}

TEST_CASE("catalog texts have all their names qualified, and need not be statements", "[router][rewrite]") {
  CHECK(of_catalog("FOREIGN KEY (a) REFERENCES public.users(id)") == R"(FOREIGN KEY (a) REFERENCES "auth"."users"(id))");
  CHECK(of_catalog("CREATE VIEW v AS SELECT users.id FROM public.users") ==
        R"(CREATE VIEW v AS SELECT users.id FROM "auth"."users")");
  CHECK(of_catalog("SELECT pgjanus.define_options('public.users', '{a=1}')") ==
        R"(SELECT pgjanus.define_options('"auth"."users"', '{a=1}'))");
  CHECK(of_catalog("SELECT pgjanus.define_sequence('public', 'users_id_seq', 1)") ==
        "SELECT pgjanus.define_sequence('auth', 'users_id_seq', 1)");
  CHECK(of_catalog("SELECT pgjanus.place_foreign_key('public.users', 'f', 'public.users', 'public.users')") ==
        R"(SELECT pgjanus.place_foreign_key('"auth"."users"', 'f', '"auth"."users"', 'public.users'))");
  CHECK(of_catalog("ALTER TABLE public.users RENAME COLUMN %s TO %s") ==
        R"(ALTER TABLE "auth"."users" RENAME COLUMN %s TO %s)");
  CHECK_FALSE(moved.rewrite("SELECT * FROM users", TextOf::catalog));
}

TEST_CASE("a name that the search_path decides is spelled out, for the server to refuse", "[router][rewrite]") {
  const Rewriter unclear{{{{"public", "users"}, {"auth", "users"}, Unqualified::unclear}}};
  CHECK(client(unclear, "SELECT * FROM users, public.users u") ==
        R"(SELECT * FROM "public"."users", "auth"."users" u)");
  const Rewriter none{{{{"public", "users"}, {"auth", "users"}, Unqualified::stays}}};
  CHECK(client(none, "SELECT * FROM users, public.users u") == R"(SELECT * FROM users, "auth"."users" u)");
}

TEST_CASE("a text too long to be parsed is read by its tokens", "[router][rewrite]") {
  std::string rows = "('a')";
  while (rows.size() < 2 * Rewriter::parse_bytes_max) rows += ", ('users')";
  CHECK(of_client("INSERT INTO users (email) VALUES " + rows) == R"(INSERT INTO "auth"."users" (email) VALUES )" + rows);
  CHECK(of_client("INSERT INTO public.users (email) VALUES " + rows) ==
        R"(INSERT INTO "auth"."users" (email) VALUES )" + rows);
  stays("INSERT INTO t SELECT users FROM x, users WHERE a IN (" + rows + ")");
  stays(std::string(100'000, '+') + " users");
  stays("users '");
}

TEST_CASE("a text of any size is read by its tokens, up to quotes that do not close", "[router][rewrite]") {
  // In parentheses: texts of such a length are not to be printed.
  const std::string literal(5U << 20, 'x');
  CHECK((of_client("INSERT INTO users VALUES ('" + literal + "')") == R"(INSERT INTO "auth"."users" VALUES (')" + literal + "')"));
  CHECK((of_client("INSERT INTO t VALUES ('" + literal + "', nextval('public.users_id_seq'))") ==
         "INSERT INTO t VALUES ('" + literal + R"x(', nextval('"auth"."users_id_seq"')))x"));
  CHECK(!moved.rewrite("INSERT INTO users VALUES ('" + literal, TextOf::client));
  CHECK(!moved.rewrite("SELECT public.\"" + literal + "users\"", TextOf::client));
}

TEST_CASE("a temporary table of that name is seen in texts that are not parsed, too", "[router][rewrite]") {
  const std::string rows = "; INSERT INTO t VALUES ('" + std::string(Rewriter::parse_bytes_max, 'x') + "')";
  for (const auto* text : {"CREATE TEMP TABLE users (a int)", "create local temporary table if not exists \"users\" ()",
                           "SELECT 1 INTO TEMP users", "CREATE OR REPLACE TEMP VIEW users AS SELECT 1", "CREATE TABLE pg_temp . users ()"}) {
    CAPTURE(text);
    CHECK(moved.hides(text));
    CHECK(moved.hides(text + rows));
  }
  for (const auto* text : {"CREATE TEMP TABLE other (users int)", "INSERT INTO t (temp, users) SELECT 1, 2", "SELECT 'CREATE TEMP TABLE users'",
                           "INSERT INTO temp SELECT users FROM t"}) {
    CAPTURE(text);
    CHECK_FALSE(moved.hides(text));
    CHECK_FALSE(moved.hides(text + rows));
  }
}

TEST_CASE("a text that would grow without bound is left alone", "[router][rewrite]") {
  const std::string name(63, 'n');
  const Rewriter longer{{{{"a", "b"}, {name, name}, Unqualified::is_ours}}};
  const auto written = [&](std::size_t times) {
    std::string names;
    for (std::size_t i = 0; i < times; ++i) names += "a.b,";
    return longer.rewrite(names, TextOf::client).has_value();
  };
  const auto growth = 2 * (name.size() + 2) + 1 - 3;  // Of one: two quoted names and their dot for a.b.
  CHECK(written(Rewriter::growth_bytes_max / growth - 1));
  CHECK_FALSE(written(Rewriter::growth_bytes_max / growth + 1));
}

TEST_CASE("of a head what is certain is replaced, whatever the rest of the text is", "[router][rewrite]") {
  const auto head = [](std::string_view text) { return moved.rewrite_head(text, TextOf::client).value_or(std::string{text}); };
  CHECK(head("INSERT INTO users VALUES ('a") == R"(INSERT INTO "auth"."users" VALUES ('a)");
  CHECK(head("INSERT INTO public.users VALUES ('a") == R"(INSERT INTO "auth"."users" VALUES ('a)");
  CHECK(head("UPDATE users SET a = $$b") == R"(UPDATE "auth"."users" SET a = $$b)");
  CHECK(head("COPY users E'") == R"(COPY "auth"."users" E')");
  CHECK(head("SELECT nextval('users_id_seq'), 'a") == R"(SELECT nextval('"auth"."users_id_seq"'), 'a)");
  for (const auto* open : {"INSERT INTO users", "INSERT INTO users /* a", "INSERT INTO users -- a", "INSERT INTO public.users",
                           "INSERT INTO public.users v", "SELECT 'public.users'", "SELECT nextval('users_id_seq'", "INSERT INTO \"users\"",
                           "SELECT nextval('users_id_seq' \n", "SELECT 'public.users' :"}) {
    CAPTURE(open);
    CHECK_FALSE(moved.rewrite_head(open, TextOf::client));
  }

  // However it is cut: the edits of the head are the first ones of the whole text.
  const std::string text =
      "INSERT INTO users SELECT public.users.id, 'public.users'::regclass, nextval('users_id_seq') FROM public.users u "
      "JOIN \"public\" . \"users\"ON public.users(1) AND '\\' -- public.users\n 'public.users' AND E'\\'public.users' = $a$public.users$a$";
  const auto whole = of_client(text + std::string(Rewriter::parse_bytes_max, ' '));
  for (std::size_t size = 0; size <= text.size(); ++size) {
    CAPTURE(size);
    const auto cut = std::string_view{text}.substr(0, size);
    const auto result = head(cut);
    const auto same = std::mismatch(result.begin(), result.end(), whole.begin(), whole.end()).first;
    CHECK(cut.ends_with(std::string{same, result.end()}));
  }
}

TEST_CASE("names of [[rename]] are read as SQL reads them", "[router][rewrite]") {
  CHECK(parse_name("public.users") == QualifiedName{"public", "users"});
  CHECK(parse_name("Public.Users") == QualifiedName{"public", "users"});
  CHECK(parse_name(R"("Odd"."na""me.x")") == QualifiedName{"Odd", "na\"me.x"});
  CHECK(parse_name("users") == QualifiedName{"", "users"});
  for (const char* wrong : {"", ".", "a.", ".a", "a.b.c", "a b", "1a", "\"\"", "\"a", "a.\"b\"c", "a;b"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_name(wrong));
  }
}

TEST_CASE("a name map works both ways and takes no name twice", "[router][rewrite]") {
  NameMap names;
  CHECK(names.add({{"public", "users"}, {"auth", "users"}}));
  CHECK_FALSE(names.add({{"public", "users"}, {"auth", "people"}}));
  CHECK_FALSE(names.add({{"public", "people"}, {"auth", "users"}}));
  CHECK(names.on(Side::target, {"public", "users"}) == QualifiedName{"auth", "users"});
  CHECK(names.on(Side::source, {"public", "users"}) == QualifiedName{"public", "users"});
  CHECK(names.of(Side::target, {"auth", "users"}) == QualifiedName{"public", "users"});
  CHECK(names.of(Side::target, {"public", "other"}) == QualifiedName{"public", "other"});
  CHECK(names.taken(Side::target, {"public", "users"}));
  CHECK(names.taken(Side::source, {"auth", "users"}));
  CHECK_FALSE(names.taken(Side::target, {"auth", "users"}));
}
