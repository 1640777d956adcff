#include "proxy/settings/settings.hpp"

#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "proxy/settings/options.hpp"

using namespace pgjanus;
using namespace std::chrono_literals;

namespace {

/// A file that goes away with the test.
class File {
 public:
  explicit File(const std::string& text, const std::string& name = "settings.toml")
      : path_{std::filesystem::temp_directory_path() /
              (name + std::to_string(reinterpret_cast<std::uintptr_t>(this)))} {
    write(text);
  }
  ~File() { std::filesystem::remove(path_); }
  void write(const std::string& text) const { std::ofstream{path_} << text; }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

Environment environment(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](std::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(std::string{name});
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

const Flags urls{{"source", "postgresql://app:secret@old.example/shop"},
                 {"target", "host=new.example user=app password=secret dbname=shop"}};

Flags with(Flags more) {
  more.insert(urls.begin(), urls.end());
  return more;
}

std::string refused(const Flags& flags, const Environment& env = environment({})) {
  try {
    (void)load_settings(flags, env, Needs::databases);
  } catch (const SettingsError& error) {
    const std::string text = error.what();
    CHECK(text.find("secret") == std::string::npos);
    return text;
  }
  FAIL("accepted");
  return {};
}

bool says(const std::string& text, std::string_view what) {
  CAPTURE(text, what);
  return text.find(what) != std::string::npos;
}

}  // namespace

TEST_CASE("the two URLs are enough", "[settings]") {
  const auto settings = load_settings(
      {}, environment({{"SOURCE_DATABASE_URL", "postgresql://app@old/shop"},
                       {"TARGET_DATABASE_URL", "postgresql://app@new/shop"}}),
      Needs::databases);
  CHECK(settings.database == "shop");
  CHECK(settings.listen.port == 6432);
  CHECK(settings.http->port == 9632);
  CHECK(settings.acknowledge == Acknowledge::both);
  CHECK(settings.journal_max_bytes == 10ULL << 30);
  CHECK(settings.drain == 25s);
}

TEST_CASE("flags win over the environment, and that over the file", "[settings]") {
  const File toml{"[listen]\naddress = \"127.0.0.1:1\"\n[http]\naddress = \"off\"\n"
                  "[mirror]\nacknowledge_wait = \"3s\"\njournal_max = \"1GB\"\n"
                  "[tables]\nexclude = [\"audit.*\", \"public.log_?\"]\n"};
  const auto settings = load_settings(
      with({{"config", toml.path()}, {"listen", "[::1]:3"}}),
      environment({{"PGJANUS_LISTEN", "127.0.0.1:2"}, {"PGJANUS_ACKNOWLEDGE_WAIT", "250ms"}}),
      Needs::databases);
  CHECK(settings.listen.host == "::1");
  CHECK(settings.listen.port == 3);
  CHECK(settings.acknowledge_wait == 250ms);
  CHECK(settings.journal_max_bytes == 1ULL << 30);
  CHECK_FALSE(settings.http);
  CHECK(settings.exclude == std::vector<std::string>{"audit.*", "public.log_?"});
}

TEST_CASE("a wrong setting names its place and what would be right", "[settings]") {
  CHECK(says(refused(with({{"listen", "6432"}})), "--listen"));
  CHECK(says(refused(with({{"listen", "6432"}})), "host:port"));
  CHECK(says(refused(urls, environment({{"PGJANUS_DRAIN", "25"}})), "PGJANUS_DRAIN"));
  CHECK(says(refused(with({{"acknowledge", "all"}})), "both or primary"));
  CHECK(says(refused(with({{"reads", "120%"}})), "25%"));
  CHECK(says(refused(with({{"exclude", "audit"}})), "schema.table"));
  CHECK(says(refused(with({{"certificate", "/nowhere.pem"}})), "key"));
}

TEST_CASE("the file is checked line by line", "[settings]") {
  const auto in_file = [](const std::string& text) {
    const File toml{text};
    return refused(with({{"config", toml.path()}}));
  };
  CHECK(says(in_file("[mirror]\nacknowledge = \"both\"\njournal = 1\n"), ":3: unknown key"));
  CHECK(says(in_file("[mirror]\njournal = 1\n"), "journal_max"));
  CHECK(says(in_file("\n[nothing]\nx = 1\n"), ":2: unknown key \"nothing\""));
  CHECK(says(in_file("[run]\ndrain = true\n"), ":2: run.drain must be"));
  CHECK(says(in_file("[run]\ndrain = \"soon\"\n"), ":2: \"soon\" is wrong"));
  CHECK(says(in_file("[listen\n"), ":1"));
  const File hidden{"[listen]\naddress = 7\n"};
  CHECK(says(refused(with({{"config", hidden.path()}, {"listen", "127.0.0.1:1"}})), ":2"));
  CHECK(says(in_file("[database]\nname = \"x\"\n"), "[[database]]"));
  CHECK(says(in_file("[[database]]\nname = \"x\"\n[[database]]\nname = \"y\"\n"),
             ":3: a second [[database]]"));
  CHECK(says(in_file("[[user]]\nname = \"x\"\n"), "needs name and password"));
  CHECK(says(refused(with({{"config", "/nowhere/pgjanus.toml"}})), "/nowhere/pgjanus.toml"));
}

TEST_CASE("databases and users come from the file too", "[settings]") {
  const File toml{"[[database]]\nname = \"app\"\nsource = \"postgresql://a:secret@old/x\"\n"
                  "target = \"postgresql://a:secret@new/x\"\n"
                  "[[user]]\nname = \"web\"\npassword = \"secret\"\ntarget_user = \"web2\"\n"};
  const auto settings =
      load_settings({{"config", toml.path()}}, environment({}), Needs::databases);
  CHECK(settings.database == "app");
  REQUIRE(settings.users.size() == 1);
  CHECK(settings.users[0].server_user[Side::target] == "web2");
  CHECK_FALSE(settings.users[0].server_user[Side::source]);
  for (const auto& [name, value] : describe_settings(settings)) {
    CHECK(value.find("secret") == std::string::npos);
  }
}

TEST_CASE("source and target must be two databases", "[settings]") {
  const auto same = refused({{"source", "postgresql://app:secret@db.example:5432/shop"},
                             {"target", "host=db.example dbname=shop user=other"}});
  CHECK(says(same, "same database"));
  CHECK(says(same, "db.example:5432/shop"));
  CHECK(says(refused({{"source", urls.at("source")}}), "TARGET_DATABASE_URL"));
}

TEST_CASE("URLs come in every form that libpq and AWS write", "[settings]") {
  const auto read = [](std::string text) { return UrlSource::literal(std::move(text)).read(); };
  const auto url = read("postgresql://app:p%40ss@[::1]:6000/shop?sslmode=verify-full");
  CHECK(url.get("password") == "p@ss");
  CHECK(url.get("host") == "::1");
  CHECK(url.get("port") == "6000");
  CHECK(url.get("sslmode") == "verify-full");
  CHECK(url.describe() == "::1:6000/shop as app");
  const auto pairs = read(" host=/run/postgresql user='my app' password='it\\'s' \n");
  CHECK(pairs.get("dbname") == "my app");
  CHECK(pairs.get("port") == "5432");
  const auto secret = read(R"({"engine":"postgres","username":"app","password":"p\"w",
      "host":"db.example","port":5433,"dbname":"shop","dbInstanceIdentifier":"x"})");
  CHECK(secret.get("password") == "p\"w");
  CHECK(secret.describe() == "db.example:5433/shop as app");
  CHECK_FALSE(secret.values.contains("engine"));
  const auto checked = read(R"({"username":"app","password":"p","host":"db.example","sslmode":"require",
      "channel_binding":"require"})");
  CHECK(checked.get("sslmode") == "require");
  CHECK(checked.get("channel_binding") == "require");
}

TEST_CASE("what is no URL is refused without repeating it", "[settings]") {
  for (const auto* text :
       {"secret", "postgresql://app:secret@host:port/", "postgresql://a:se%ZZcret@h/d",
        "host=x password='secret", "{\"password\": \"secret\"", "{\"password\": [\"secret\"]}",
        "postgresql:///shop?password=secret", "service=secret", "", "  \n",
        "postgresql://app:secret@one,two/shop", "postgresql://h/d?secret=1"}) {
    CAPTURE(text);
    try {
      (void)UrlSource::literal(text).read();
      FAIL("accepted");
    } catch (const SettingsError& error) {
      CHECK(std::string{error.what()}.find("secret") == std::string::npos);
    }
  }
}

TEST_CASE("a URL in a file is read again each time", "[settings]") {
  const File file{"postgresql://app:one@old/shop\n", "url"};
  const auto source = UrlSource::file(file.path());
  CHECK(source.read().get("password") == "one");
  file.write("{\"username\":\"app\",\"password\":\"two\",\"host\":\"old\"}");
  CHECK(source.read().get("password") == "two");
  CHECK(says(refused({{"source", urls.at("source")}, {"target-file", "/nowhere/url"}}),
             "--target-file"));
  CHECK(says(refused(with({{"source-file", file.path()}})), "both set"));
  // A stronger place decides between the two forms.
  const auto settings = load_settings(
      urls, environment({{"SOURCE_DATABASE_URL_FILE", "/nowhere"}}), Needs::databases);
  CHECK(settings.url[Side::source].read().get("host") == "old.example");
}

TEST_CASE("a changed file remembers the login before, and a broken one gives what it held",
          "[settings]") {
  const File file{"postgresql://app:one@old/shop", "url"};
  const auto source = UrlSource::file(file.path());
  const auto copy = source;  // Of the engine; the sessions have another.
  CHECK_FALSE(source.read().former);
  file.write("postgresql://app:two@old/shop");
  REQUIRE(source.read().former);
  CHECK(copy.read().former->password == "one");
  CHECK(copy.read().get("password") == "two");
  file.write("{\"username\":\"app_clone\",\"passw");
  CHECK(copy.read().get("password") == "two");
  file.write("{\"username\":\"app_clone\",\"password\":\"three\",\"host\":\"old\"}");
  CHECK(source.read().get("user") == "app_clone");
  CHECK(source.read().former->user == "app");
  CHECK(source.read().former->password == "two");
  CHECK_FALSE(source.read().values.contains("former"));
}

TEST_CASE("a password's file holds a line or a secret's JSON", "[settings]") {
  const File file{"s3cret\n", "password"};
  const auto source = PasswordSource::file(file.path());
  CHECK(source.read() == "s3cret");
  CHECK(source.former().empty());
  std::string former = "s3cret";
  for (const auto& [text, password] : {std::pair{"{\"password\":\"x\",\"username\":\"u\"}", "x"},
                                       {" with blanks \r\n", " with blanks "},
                                       {"{\"no json", "{\"no json"},
                                       {"123", "123"}}) {
    file.write(text);
    CHECK(source.read() == password);
    CHECK(source.former() == former);
    former = password;
  }
  for (const auto* text : {"", "\n", "two\nlines\n"}) {
    file.write(text);
    CHECK(source.read() == "123");  // What it held before.
    CHECK_THROWS_AS(PasswordSource::file(file.path()).read(), SettingsError);
  }
  CHECK_THROWS_AS(PasswordSource::file("/nowhere/password").read(), SettingsError);
}

TEST_CASE("users and access rules are checked with the file", "[settings]") {
  const auto in_file = [](const std::string& text) {
    const File toml{text};
    return refused(with({{"config", toml.path()}}));
  };
  const std::string verifier =
      "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
      ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
  const auto user = [](const std::string& keys) { return "[[user]]\nname = \"web\"\n" + keys; };
  CHECK(says(in_file(user("password = \"a\"\npassword_file = \"b\"\n")), "leave one out"));
  CHECK(says(in_file(user("password = \"a\"\nverifier = \"" + verifier + "\"\n")), "not both"));
  CHECK(says(in_file(user("verifier = \"" + verifier + "\"\nsource_password = \"a\"\n")),
             "target_password"));
  CHECK(says(in_file(user("password_file = \"/nowhere/x\"\n")), "/nowhere/x"));
  CHECK(says(in_file(user("password = \"a\"\nmirror_user = \"b\"\n")), ":4: unknown key"));
  CHECK(says(in_file("[[access]]\nfrom = []\n"), ":2"));
  CHECK(says(in_file("[[access]]\nfrom = [1]\n"), ":2"));
  CHECK(says(in_file("[[access]]\ntls = true\n"), "certificate"));
  const File toml{user("verifier = \"" + verifier + "\"\nsource_password = \"secret\"\n"
                       "target_password = \"secret\"\n") +
                  "[[access]]\nfrom = [\"loopback\", \"10.0.0.0/8\"]\nusers = \"web\"\n"};
  const auto settings = load_settings(with({{"config", toml.path()}}), environment({}), Needs::databases);
  REQUIRE(settings.access.entries().size() == 1);
  CHECK(settings.access.entries()[0].from.size() == 3);
  auto running = load_settings(urls, environment({}), Needs::databases);
  CHECK(take_over(running, settings).at_next_start == std::vector<std::string>{"config"});
  CHECK(running.access.entries().size() == 1);
  for (const auto& [name, value] : describe_settings(settings))
    CHECK(value.find("secret") == std::string::npos);
}

TEST_CASE("a URL's TLS words are checked at the start", "[settings]") {
  const auto wrong = [](const std::string& options) {
    return refused({{"source", urls.at("source") + "?" + options}, {"target", urls.at("target")}});
  };
  CHECK(says(wrong("sslmode=verify"), "verify-full"));
  CHECK(says(wrong("channel_binding=always"), "disable,prefer,require"));
  CHECK(says(wrong("ssl_min_protocol_version=1.2"), "TLSv1.2"));
  CHECK(says(wrong("gssencmode=require"), "TLS"));
  CHECK(says(wrong("requirepeer=postgres"), "requirepeer"));
  CHECK(says(wrong("sslrootcert=system&sslmode=require"), "verify-full"));
}

TEST_CASE("durations and sizes need their unit", "[settings]") {
  CHECK(parse_duration("250ms") == 250ms);
  CHECK(parse_duration("1.5s") == 1500ms);
  CHECK(parse_duration("2m") == 2min);
  CHECK(parse_duration("1h") == 1h);
  CHECK(parse_duration("0") == 0ms);
  for (const auto* wrong : {"", "5", "s", "-1s", "1 week", "1e99s", "nan s", "0x1s"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_duration(wrong));
  }
  CHECK(parse_size("10GB") == 10ULL << 30);
  CHECK(parse_size("64kB") == 65536);
  CHECK(parse_size("1.5 MB") == 1572864);
  CHECK(parse_size("42") == 42);
  CHECK_FALSE(parse_size("GB"));
  CHECK_FALSE(parse_size("1PB"));
}

TEST_CASE("addresses are host and port", "[settings]") {
  CHECK(to_string(*parse_address("localhost:80")) == "localhost:80");
  CHECK(to_string(*parse_address("[::]:5432")) == "[::]:5432");
  for (const auto* wrong : {"", "host", ":80", "host:", "host:0", "host:65536", "::1:80", "h:8x"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_address(wrong));
  }
}

TEST_CASE("a reload names what waits for the next start", "[settings]") {
  using Names = std::vector<std::string>;
  auto now = load_settings(urls, environment({}), Needs::databases);
  const auto then = load_settings(with({{"threads", "7"}, {"log-level", "debug"},
                                        {"acknowledge-wait", "250ms"}, {"journal-max", "1GB"}}),
                                  environment({}), Needs::databases);
  auto reloaded = take_over(now, then);
  CHECK(reloaded.now == Names{"acknowledge_wait", "journal_max", "log_level"});
  CHECK(reloaded.at_next_start == Names{"threads"});
  CHECK(now.acknowledge_wait == std::chrono::milliseconds{250});
  CHECK(now.threads == 0);
  reloaded = take_over(now, then);
  CHECK(reloaded.now.empty());
  CHECK(reloaded.at_next_start == Names{"threads"});
}

TEST_CASE("a reload notices another password, which nothing shows", "[settings]") {
  using Names = std::vector<std::string>;
  auto now = load_settings(urls, environment({}), Needs::databases);
  auto then = now;
  UserEntry user;
  user.name = "a";
  user.password = PasswordSource::literal("secret");
  then.users = {user};
  user.password = PasswordSource::literal("other");
  now.users = {user};
  then.url[Side::target] = UrlSource::literal("postgresql://b:new@there/y");
  CHECK(then.url[Side::target].read().describe() != "");
  const auto reloaded = take_over(now, then);
  CHECK(reloaded.now == Names{"users"});
  CHECK(reloaded.at_next_start == Names{"target"});
  CHECK(now.users.front().password.read() == "secret");
}

TEST_CASE("verbs only need to know where the proxy is", "[settings]") {
  const auto none = admin_address({}, environment({}));
  CHECK_FALSE(none.directory);
  CHECK_FALSE(none.port);
  const auto both = admin_address({{"listen", "0.0.0.0:7000"}},
                                  environment({{"PGJANUS_ADMIN_DIR", "/x"}}));
  CHECK(both.directory == "/x");
  CHECK(both.port == 7000);
}

TEST_CASE("[[rename]] names tables of both sides, and wrong ones by their line", "[settings][rename]") {
  const File good{"[[rename]]\nsource = \"public.users\"\ntarget = \"auth.users\"\n"
                  "[[rename]]\nsource = \"public.\\\"Odd\\\"\"\ntarget = \"public.odd\"\n"};
  const auto settings = load_settings(with({{"config", good.path()}}), environment({}), Needs::databases);
  REQUIRE(settings.renames.renames().size() == 2);
  CHECK(settings.renames.on(Side::target, {"public", "users"}) == QualifiedName{"auth", "users"});
  CHECK(settings.renames.on(Side::target, {"public", "Odd"}) == QualifiedName{"public", "odd"});
  const auto in_file = [](const std::string& text) {
    const File file{text};
    return refused(with({{"config", file.path()}}));
  };
  const std::string first = "[[rename]]\nsource = \"public.users\"\ntarget = \"auth.users\"\n";
  CHECK(says(in_file(first + "[[rename]]\nsource = \"public.users\"\ntarget = \"auth.people\"\n"), ":4: [[rename]] public.users"));
  CHECK(says(in_file(first + "[[rename]]\nsource = \"public.people\"\ntarget = \"auth.users\"\n"), "has a [[rename]] already"));
  CHECK(says(in_file("[[rename]]\nsource = \"users\"\ntarget = \"auth.users\"\n"), ":2: \"users\" is wrong for source in [[rename]]"));
  CHECK(says(in_file("[[rename]]\nsource = \"public.users\"\ntarget = 7\n"), ":3: this is wrong for target"));
  CHECK(says(in_file("[[rename]]\nsource = \"public.users\"\n"), "needs source and target"));
  CHECK(says(in_file("[[rename]]\nsource = \"a.b\"\ntarget = \"a.b\"\n"), "the same name on both sides"));
  CHECK(says(in_file("[[rename]]\nsource = \"a.b\"\nto = \"a.c\"\n"), "unknown key \"to\" in [[rename]]"));
  CHECK(says(in_file("[[rename]]\nsource = \"pgjanus.state\"\ntarget = \"a.c\"\n"), "is not the app's"));
  CHECK(says(in_file("[rename]\nsource = \"a.b\"\ntarget = \"a.c\"\n"), "write [[rename]]"));
}
