// The roles that the app's other logins are, or get their rights from.

#include <map>

#include "proxy/check/findings.hpp"
#include "proxy/schema/privileges.hpp"

namespace pgjanus::check {

namespace asio = boost::asio;

asio::awaitable<void> look_at_roles(pg::Connection& source, pg::Connection& target, Findings& findings) {
  const auto privileges = co_await schema::read_privileges(source);
  const auto roles = co_await target.run("SELECT rolname FROM pg_roles");
  std::set<std::string> there;
  for (int row = 0; row < roles.size(); ++row) there.insert(roles.str(row, 0));
  std::map<std::string, std::size_t> absent;
  for (const auto& [one, object] : privileges.all) {
    if (!one.role.empty() && !there.contains(one.role)) ++absent[one.role];
  }
  for (const auto& [role, count] : absent) {
    findings.warn("privileges", "role " + role,
                  "has " + std::to_string(count) + (count == 1 ? " privilege" : " privileges") +
                      " on the source, and is not on the target: what it does would be refused there",
                  "CREATE ROLE on the target, before the cutover; `prepare` grants what it has on the source, and so does the running "
                  "mirror within half a minute");
  }
  if (absent.empty()) findings.pass("privileges", "both", "the target has every role that the source grants something to");
}

}  // namespace pgjanus::check
