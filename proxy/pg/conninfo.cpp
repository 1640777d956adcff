#include "proxy/pg/conninfo.hpp"

#include <libpq-fe.h>
#include <pwd.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>

namespace pgjanus::pg {
namespace {

std::string& noted_root_certificate() {
  static std::string path;
  return path;
}

/// libpq quotes pieces of the string in its messages, and a password may be in any of them: all
/// between the first and the last quote goes.
std::string without_quotes(std::string message) {
  while (!message.empty() && message.back() == '\n') message.pop_back();
  const auto first = message.find('"');
  const auto last = message.rfind('"');
  if (first != std::string::npos && last > first) {
    message.replace(first, last - first + 1, "\"…\"");
  } else if (first != std::string::npos) {
    message.resize(first);
  }
  return message;
}

struct FreeOptions {
  void operator()(PQconninfoOption* options) const noexcept { PQconninfoFree(options); }
};
using Options = std::unique_ptr<PQconninfoOption, FreeOptions>;

std::string own_user() {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0 && found) {
    return found->pw_name;
  }
  return "postgres";
}

std::string root_certificate() {
  if (!noted_root_certificate().empty()) return noted_root_certificate();
  const char* variable = std::getenv("PGSSLROOTCERT");
  if (variable && *variable) return variable;
  const char* home = std::getenv("HOME");
  if (!home) return {};
  auto path = std::string{home} + "/.postgresql/root.crt";
  return access(path.c_str(), R_OK) == 0 ? path : std::string{};
}

}  // namespace

std::map<std::string, std::string> parse_conninfo(const std::string& text) {
  char* problem = nullptr;
  const Options options{PQconninfoParse(text.c_str(), &problem)};
  if (!options) {
    std::string message = problem ? without_quotes(problem) : "out of memory";
    if (problem) PQfreemem(problem);
    throw ConninfoError{message};
  }
  std::map<std::string, std::string> values;
  for (auto* option = options.get(); option->keyword; ++option) {
    if (option->val && *option->val) values[option->keyword] = option->val;
  }
  return values;
}

void fill_defaults(std::map<std::string, std::string>& values) {
  values.try_emplace("port", "5432");
  if (!values.contains("user")) values["user"] = own_user();
  if (!values.contains("dbname")) values["dbname"] = values["user"];
  values.try_emplace("sslmode", "prefer");
  values.try_emplace("gssencmode", "disable");
  if (!values.contains("sslrootcert")) {
    auto path = root_certificate();
    if (!path.empty()) values["sslrootcert"] = std::move(path);
  }
}

void forget_libpq_environment() {
  const char* root = std::getenv("PGSSLROOTCERT");
  if (root && *root) noted_root_certificate() = root;
  const Options options{PQconndefaults()};
  for (auto* option = options.get(); option && option->keyword; ++option) {
    if (option->envvar) unsetenv(option->envvar);
  }
  for (const char* name : {"PGSERVICEFILE", "PGREALM", "PGDATESTYLE", "PGTZ", "PGGEQO"}) {
    unsetenv(name);
  }
}

}  // namespace pgjanus::pg
