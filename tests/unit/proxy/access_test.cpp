#include "proxy/settings/access.hpp"

#include <catch2/catch.hpp>

using namespace pgjanus;
using Encryption = AccessRules::Encryption;

namespace {

bool contains(const char* network, const char* host) {
  const auto range = parse_network(network), one = parse_network(host);
  REQUIRE(range);
  REQUIRE(one);
  return range->contains(*one);
}

AccessEntry entry(std::vector<const char*> from, bool tls = false, std::vector<std::string> users = {}) {
  AccessEntry made{{}, tls, std::move(users)};
  for (const auto* text : from) made.from.push_back(*parse_network(text));
  return made;
}

}  // namespace

TEST_CASE("a network holds what begins with its bits", "[access]") {
  CHECK(contains("10.0.0.0/8", "10.255.0.1"));
  CHECK_FALSE(contains("10.0.0.0/8", "11.0.0.1"));
  CHECK(contains("192.168.4.0/22", "192.168.7.255"));
  CHECK_FALSE(contains("192.168.4.0/22", "192.168.8.0"));
  CHECK(contains("127.0.0.1", "127.0.0.1"));
  CHECK_FALSE(contains("127.0.0.1", "127.0.0.2"));
  CHECK(contains("0.0.0.0/0", "203.0.113.9"));
  CHECK(contains("fd00::/8", "fdff::1"));
  CHECK_FALSE(contains("fd00::/8", "fe00::1"));
  CHECK(contains("::1", "::1"));
}

TEST_CASE("IPv4 over an IPv6 listener is IPv4, and the two do not mix otherwise", "[access]") {
  CHECK(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  CHECK(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
  CHECK_FALSE(contains("0.0.0.0/0", "fd00::1"));
  CHECK_FALSE(contains("127.0.0.0/8", "::1"));
}

TEST_CASE("what is no network is refused", "[access]") {
  for (const auto* text : {"", "/", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x", "10.1.2.3/8",
                           "10.0.0", "10.0.0.256", "localhost", "::/129", "fd00::1/8", "1.2.3.4/08/1",
                           "10.0.0.0 /8", "all"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_network(text));
  }
}

TEST_CASE("any entry that fits lets a client in, and none lets everybody", "[access]") {
  CHECK(AccessRules{}.admits("203.0.113.9", Encryption::none));
  CHECK(AccessRules{}.admits("", Encryption::none, "app"));
  const AccessRules rules{{entry({"127.0.0.0/8", "::1"}), entry({"10.0.0.0/8"}, true, {"web", "job"})}};
  CHECK(rules.needs_tls());
  CHECK(rules.admits("127.0.0.1", Encryption::none, "anybody"));
  CHECK(rules.admits("10.1.1.1", Encryption::tls, "job"));
  CHECK(rules.admits("10.1.1.1", Encryption::tls));
  CHECK_FALSE(rules.admits("10.1.1.1", Encryption::tls, "app"));
  CHECK_FALSE(rules.admits("10.1.1.1", Encryption::none, "job"));
  CHECK_FALSE(rules.admits("10.1.1.1", Encryption::none));
  CHECK_FALSE(rules.admits("203.0.113.9", Encryption::tls));
  // An address that is none fits no network, and an entry without networks all the same.
  CHECK_FALSE(rules.admits("", Encryption::tls));
  CHECK(AccessRules{{entry({}, true)}}.admits("", Encryption::tls));
}
