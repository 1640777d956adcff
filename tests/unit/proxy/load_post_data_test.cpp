#include <catch2/catch.hpp>

#include "proxy/load/post_data.hpp"

using namespace pgjanus::load;

TEST_CASE("a dump is split at its entry headers", "[load]") {
  const auto entries = split_post_data(R"(--
-- PostgreSQL database dump
--

\restrict aBc123

SET statement_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);

--
-- Name: users users_pkey; Type: CONSTRAINT; Schema: public; Owner: app
--

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);


SET default_tablespace = '';

--
-- Name: users_email; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX users_email ON public.users USING btree (email);


--
-- PostgreSQL database dump complete
--

\unrestrict aBc123

)");
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].name == "users users_pkey");
  CHECK(entries[0].type == "CONSTRAINT");
  CHECK(entries[0].schema == "public");
  CHECK(entries[0].owner == "app");
  CHECK(entries[0].sql ==
        "ALTER TABLE ONLY public.users\n    ADD CONSTRAINT users_pkey PRIMARY KEY (id);");
  CHECK(entries[1].display() == "INDEX public.users_email");
  CHECK(entries[1].sql == "CREATE UNIQUE INDEX users_email ON public.users USING btree (email);");
}

TEST_CASE("what looks like a header inside of quotes is text", "[load]") {
  const std::string fake =
      "\n--\n-- Name: x; Type: INDEX; Schema: s; Owner: o\n--\n\\restrict\nSET a = 1;\n";
  for (const auto& [open, close] :
       std::vector<std::pair<std::string, std::string>>{{"'", "'"},
                                                        {"E'\\'", "'"},
                                                        {"'it''s", "'"},
                                                        {"$$", "$$"},
                                                        {"$a_1$ $$ ' ", "$a_1$"},
                                                        {"\"a\"\"", "\""},
                                                        {"/* /* ' */", "*/ 1"}}) {
    CAPTURE(open);
    const auto text = "COMMENT ON INDEX i IS " + open + fake + close + ";";
    const auto entries = split_post_data(
        "-- Name: INDEX i; Type: COMMENT; Schema: public; Owner: app\n--\n\n" + text + "\n\n");
    REQUIRE(entries.size() == 1);
    CHECK(entries[0].sql == text);
  }
}

TEST_CASE("a rule with several commands stays one entry, lines of a statement are kept", "[load]") {
  const auto entries = split_post_data(
      "-- Name: t r; Type: RULE; Schema: public; Owner: app\n--\n\n"
      "CREATE RULE r AS\n    ON DELETE TO public.t DO INSTEAD ( UPDATE public.t\nSET gone = true\n"
      "  WHERE (t.id = old.id);\nSET x = 1;\n);\n\n"
      "-- Name: a; b; Type: INDEX; Schema: odd; name; Owner: o\n--\n\nSELECT $1, a$b$c;\n");
  REQUIRE(entries.size() == 2);
  CHECK(entries[0].sql.find("SET gone = true") != std::string::npos);
  CHECK(entries[0].sql.ends_with("SET x = 1;\n);"));
  CHECK(entries[1].sql == "SELECT $1, a$b$c;");
}

TEST_CASE("names with separators in them are read from the right", "[load]") {
  const auto entries = split_post_data(
      "-- Name: a; Type: b; Schema: c; Type: INDEX; Schema: public; Owner: app\n--\nSELECT 1;\n");
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].name == "a; Type: b; Schema: c");
  CHECK(entries[0].type == "INDEX");
}

TEST_CASE("a step changes with its definition and with nothing else", "[load]") {
  Entry entry{"i", "INDEX", "public", "app", "CREATE INDEX i"};
  const auto before = entry.step();
  entry.owner = "other";
  CHECK(entry.step() == before);
  entry.sql += " ";
  CHECK(entry.step() != before);
}

TEST_CASE("a dump that ends inside of a quoted text is refused", "[load]") {
  const std::string header = "-- Name: i; Type: INDEX; Schema: public; Owner: app\n--\n";
  for (const auto* text : {"SELECT 'a", "SELECT E'a\\'", "SELECT \"a", "SELECT $$a$", "/* a"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(split_post_data(header + text), std::runtime_error);
  }
}
