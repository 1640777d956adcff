// Database URLs: libpq URL, key=value, or the JSON that AWS Secrets Manager keeps.

#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>

#include "proxy/log.hpp"
#include "proxy/pg/conninfo.hpp"
#include "proxy/settings/settings.hpp"

namespace pgjanus {
namespace {

/// A longer file is not a URL; the bound keeps a wrong path (/dev/zero) from eating memory.
constexpr std::size_t url_bytes_max = 64 * 1024;

std::string trimmed(std::string text) {
  const auto blank = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && blank(text.back())) text.pop_back();
  std::size_t front = 0;
  while (front < text.size() && blank(text[front])) ++front;
  return text.substr(front);
}

std::string file_text(const std::string& path) {
  std::ifstream file{path, std::ios::binary};
  if (!file) throw SettingsError{"cannot read " + path};
  std::string text(url_bytes_max + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > url_bytes_max) throw SettingsError{path + " is too long for a database URL or a password"};
  return text;
}

/// The five keys of a secret of AWS Secrets Manager ("JSON structure of AWS Secrets Manager database
/// credential secrets"), and three of libpq's that one may add to it, since rotation keeps what it
/// does not know: without them nothing would say how to check the server. Others (engine,
/// dbInstanceIdentifier, …) are ignored.
std::map<std::string, std::string> secret_values(const std::string& text,
                                                 const std::string& origin) {
  const auto secret = nlohmann::json::parse(text, nullptr, false);
  if (!secret.is_object()) throw SettingsError{origin + " begins like JSON and is no JSON object"};
  static constexpr std::pair<const char*, const char*> names[] = {{"username", "user"},
                                                                  {"password", "password"},
                                                                  {"host", "host"},
                                                                  {"port", "port"},
                                                                  {"dbname", "dbname"},
                                                                  {"sslmode", "sslmode"},
                                                                  {"sslrootcert", "sslrootcert"},
                                                                  {"channel_binding", "channel_binding"}};
  std::map<std::string, std::string> values;
  for (const auto& [theirs, ours] : names) {
    const auto found = secret.find(theirs);
    if (found == secret.end() || found->is_null()) continue;
    if (found->is_string()) {
      values[ours] = found->get<std::string>();
    } else if (found->is_number_unsigned()) {
      values[ours] = std::to_string(found->get<std::uint64_t>());
    } else {
      throw SettingsError{origin + ": \"" + theirs + "\" in the JSON must be a string"};
    }
  }
  return values;
}

/// What libpq takes for these, at most; checked at the start and not at the first connection.
constexpr std::pair<std::string_view, std::string_view> choices[] = {
    {"sslmode", "disable,allow,prefer,require,verify-ca,verify-full"},
    {"channel_binding", "disable,prefer,require"},
    {"gssencmode", "disable,prefer,require"},
    {"ssl_min_protocol_version", "TLSv1,TLSv1.1,TLSv1.2,TLSv1.3"},
    {"ssl_max_protocol_version", "TLSv1,TLSv1.1,TLSv1.2,TLSv1.3"},
};

/// sslrootcert=system, which libpq has since 16: the machine's own bundle, and then only a server
/// whose name fits is good enough. Ours is 15, so it gets the file's name.
void find_system_roots(std::map<std::string, std::string>& values, const std::string& origin) {
  const auto root = values.find("sslrootcert");
  if (root == values.end() || root->second != "system") return;
  if (values.try_emplace("sslmode", "verify-full").first->second != "verify-full") {
    throw SettingsError{origin + ": sslrootcert=system needs sslmode=verify-full"};
  }
  const char* named = std::getenv("SSL_CERT_FILE");
  for (const char* path : {named ? named : "", "/etc/ssl/certs/ca-certificates.crt",
                           "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"}) {
    if (*path == '\0' || access(path, R_OK) != 0) continue;
    root->second = path;
    return;
  }
  throw SettingsError{origin + ": sslrootcert=system, and this machine has no bundle of "
                               "authorities; install ca-certificates"};
}

/// The password in a file: its text without the line's end, or the "password" of a JSON object.
std::string password_in(std::string text, const std::string& path) {
  const auto secret = nlohmann::json::parse(text, nullptr, false);
  if (secret.is_object() && secret.contains("password") && secret["password"].is_string()) {
    text = secret["password"].get<std::string>();
  } else {
    if (text.ends_with('\n')) text.pop_back();
    if (text.ends_with('\r')) text.pop_back();
  }
  if (text.empty()) throw SettingsError{path + " holds no password"};
  if (text.find_first_of(std::string_view{"\0\n", 2}) != std::string::npos)
    throw SettingsError{path + " holds more than one line; a password is one"};
  return text;
}

void refuse_unclear(const std::map<std::string, std::string>& values, const std::string& origin) {
  if (!values.contains("host") && !values.contains("hostaddr")) {
    throw SettingsError{origin +
                        " names no host; write postgresql://user:password@host:5432/database (a "
                        "directory as host means its Unix-domain socket)"};
  }
  for (const char* keyword : {"service", "passfile"}) {
    if (values.contains(keyword)) {
      throw SettingsError{origin + " uses " + keyword +
                          "=, which is not taken here: write host, user and password out, or keep "
                          "the whole URL in a file (SOURCE_DATABASE_URL_FILE)"};
    }
  }
  for (const char* keyword : {"host", "hostaddr", "port"}) {
    const auto found = values.find(keyword);
    if (found != values.end() && found->second.find(',') != std::string::npos) {
      throw SettingsError{origin + " names several servers; name the one that takes writes"};
    }
  }
  for (const auto& [keyword, known] : choices) {
    const auto found = values.find(std::string{keyword});
    if (found == values.end() || (',' + std::string{known} + ',').find(',' + found->second + ',') !=
                                     std::string::npos)
      continue;
    throw SettingsError{origin + ": " + std::string{keyword} + " takes one of " +
                        std::string{known}};
  }
  const auto gss = values.find("gssencmode");
  if (gss != values.end() && gss->second == "require") {
    throw SettingsError{origin + " asks for gssencmode=require; servers are reached with TLS here"};
  }
  if (values.contains("requirepeer")) {
    throw SettingsError{origin + " uses requirepeer=, which is not looked at here; the directory of "
                                 "the socket says whose server it is"};
  }
  const auto port = values.find("port");
  if (port != values.end() && !parse_address("host:" + port->second)) {
    throw SettingsError{origin + " has a port that is no number from 1 to 65535"};
  }
}

}  // namespace

std::string ConnectionParameters::get(std::string_view key, std::string_view otherwise) const {
  const auto found = values.find(std::string{key});
  return found == values.end() ? std::string{otherwise} : found->second;
}

std::string ConnectionParameters::describe() const {
  return get("host", get("hostaddr")) + ':' + get("port", "5432") + '/' + get("dbname") + " as " +
         get("user");
}

/// What is remembered of a file: what it held last, and what the same field held before that.
struct UrlSource::Memory {
  std::mutex mutex;
  std::optional<ConnectionParameters> last;
  bool said = false;  // That it cannot be read now.
};

UrlSource UrlSource::literal(std::string text) {
  UrlSource source;
  source.text_ = std::move(text);
  return source;
}

UrlSource UrlSource::file(std::string path) {
  UrlSource source;
  source.text_ = std::move(path);
  source.memory_ = std::make_shared<Memory>();
  return source;
}

std::string UrlSource::origin() const { return memory_ ? text_ : "the URL given"; }

ConnectionParameters UrlSource::parse(const std::string& whole) const {
  const auto text = trimmed(whole);
  if (text.empty()) throw SettingsError{origin() + " is empty"};
  ConnectionParameters parameters;
  if (text.front() == '{') {
    parameters.values = secret_values(text, origin());
  } else {
    try {
      parameters.values = pg::parse_conninfo(text);
    } catch (const pg::ConninfoError& error) {
      throw SettingsError{origin() + " is neither a libpq URL nor a key=value string: " +
                          error.what()};
    }
  }
  refuse_unclear(parameters.values, origin());
  find_system_roots(parameters.values, origin());
  pg::fill_defaults(parameters.values);
  return parameters;
}

ConnectionParameters UrlSource::read() const {
  if (!memory_) return parse(text_);
  auto& memory = *memory_;
  const std::lock_guard lock{memory.mutex};
  try {
    auto fresh = parse(file_text(text_));
    if (memory.last) {
      const auto& last = *memory.last;
      const bool changed = last.get("user") != fresh.get("user") ||
                           last.get("password") != fresh.get("password");
      fresh.former = last.former;
      if (changed) fresh.former = {last.get("user"), last.get("password")};
      if (changed || last.values != fresh.values)
        log_event(LogLevel::info, "secret_changed", {{"file", text_}, {"now", fresh.describe()}});
    }
    memory.last = std::move(fresh);
    memory.said = false;
  } catch (const SettingsError& error) {
    if (!memory.last) throw;
    if (!std::exchange(memory.said, true))
      log_event(LogLevel::error, "secret_unreadable",
                {{"file", text_}, {"error", error.what()}, {"note", "what it held before is used"}});
  }
  return *memory.last;
}

struct PasswordSource::Memory {
  std::mutex mutex;
  std::string last, former;
  bool said = false;
};

PasswordSource PasswordSource::literal(std::string text) {
  PasswordSource source;
  source.text_ = std::move(text);
  return source;
}

PasswordSource PasswordSource::file(std::string path) {
  PasswordSource source;
  source.text_ = std::move(path);
  source.memory_ = std::make_shared<Memory>();
  return source;
}

std::string PasswordSource::read() const {
  if (!memory_) return text_;
  auto& memory = *memory_;
  const std::lock_guard lock{memory.mutex};
  try {
    auto password = password_in(file_text(text_), text_);
    if (!memory.last.empty() && memory.last != password) {
      log_event(LogLevel::info, "secret_changed", {{"file", text_}});
      memory.former = memory.last;
    }
    memory.last = std::move(password);
    memory.said = false;
  } catch (const SettingsError& error) {
    if (memory.last.empty()) throw;
    if (!std::exchange(memory.said, true))
      log_event(LogLevel::error, "secret_unreadable",
                {{"file", text_}, {"error", error.what()}, {"note", "what it held before is used"}});
  }
  return memory.last;
}

std::string PasswordSource::former() const {
  if (!memory_) return {};
  const std::lock_guard lock{memory_->mutex};
  return memory_->former;
}

}  // namespace pgjanus
