#include "proxy/session/credentials.hpp"

#include <boost/asio/ip/address.hpp>

#include "proxy/session/server.hpp"

namespace pgjanus {

namespace {

constexpr std::size_t salt_bytes = 16;  // As the server makes them (scram-common.h).
constexpr std::int32_t iterations = 4096;

std::string random_text(std::size_t size) {
  std::string text(size, '\0');
  random_bytes({reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
  return text;
}

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  boost::system::error_code failed;
  const auto address = boost::asio::ip::make_address(host, failed);
  return !failed && address.is_loopback();
}

}  // namespace

Credentials::Credentials(const Settings& settings)
    : database_{settings.database},
      url_{settings.url},
      loopback_{is_loopback(settings.listen.host)},
      secret_{random_text(32)} {
  use(settings);
}

void Credentials::use(const Settings& settings) {
  auto rules = std::make_shared<Rules>();
  rules->users = settings.users;
  rules->access = settings.access;
  const std::lock_guard lock{mutex_};
  rules_ = std::move(rules);
  verifiers_.clear();
}

std::shared_ptr<const Credentials::Rules> Credentials::rules() const {
  const std::lock_guard lock{mutex_};
  return rules_;
}

const UserEntry* Credentials::Rules::find(std::string_view name) const {
  for (const auto& entry : users)
    if (entry.name == name) return &entry;
  return nullptr;
}

bool Credentials::admits(std::string_view address, Encryption encryption) const {
  return rules()->access.admits(address, encryption);
}

bool Credentials::admits(std::string_view address, Encryption encryption,
                         std::string_view user) const {
  return rules()->access.admits(address, encryption, user);
}

Credentials::Login Credentials::nobody(const std::string& user) const {
  return {wire::make_mock_verifier(user, secret_, iterations), false, false};
}

/// The password of the source URL's user. A file that has changed to another *user* (rotation by
/// alternating users) leaves the former one valid until it changes again, as the database does. A
/// new password of the same user replaces the old one at once, as in the database, too: it may have
/// been changed because somebody else has got it.
std::optional<std::string> Credentials::url_password(const std::string& user) const {
  const auto source = url_[Side::source].read();
  if (source.get("user") == user) return source.get("password");
  if (source.former && source.former->user == user && !source.former->password.empty())
    return source.former->password;
  return std::nullopt;
}

Credentials::Login Credentials::find(const std::string& user) {
  const auto rules = this->rules();
  std::optional<std::string> password;
  if (rules->users.empty()) {
    password = url_password(user);
  } else if (const auto* entry = rules->find(user)) {
    if (!entry->verifier.empty()) {
      auto verifier = wire::parse_verifier(entry->verifier);  // Checked when it was read.
      if (verifier) return {std::move(*verifier), true, false};
      return nobody(user);
    }
    password = entry->password.read();
  }
  if (!password) return nobody(user);
  auto login = password->empty() ? nobody(user) : with_password(user, *password);
  login.trusted = password->empty() && loopback_;
  return login;
}

Credentials::Login Credentials::with_password(const std::string& user,
                                              const std::string& password) {
  {
    const std::lock_guard lock{mutex_};
    const auto found = verifiers_.find(user);
    if (found != verifiers_.end() && found->second.password == password)
      return {found->second.verifier, true, false};
  }
  // Some milliseconds of hashing: once at start and after a rotation, outside the lock.
  auto verifier = wire::make_verifier(password, random_text(salt_bytes), iterations);
  const std::lock_guard lock{mutex_};
  verifiers_.insert_or_assign(user, Known{password, verifier});
  return {std::move(verifier), true, false};
}

ConnectionParameters Credentials::parameters(Side side, const std::string& user) const {
  auto parameters = url_[side].read();
  const auto rules = this->rules();
  if (const auto* entry = rules->find(user)) {
    const auto& password =
        entry->server_password[side].given() ? entry->server_password[side] : entry->password;
    const auto user_there = entry->server_user[side].value_or(entry->name);
    parameters.values["user"] = user_there;
    parameters.values["password"] = password.read();
    parameters.former.reset();
    // As with a URL's file: the database may follow later.
    auto former = password.former();
    if (!former.empty()) parameters.former = {user_there, std::move(former)};
  }
  return parameters;
}

std::string Credentials::database() const {
  if (!database_.empty()) return database_;
  const auto source = url_[Side::source].read();
  return source.get("dbname", source.get("user"));
}

}  // namespace pgjanus
