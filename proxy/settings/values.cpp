// Values as people write them: durations, sizes, addresses.

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "proxy/settings/settings.hpp"

namespace pgjanus {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

bool same_letters(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, {}, lower, lower);
}

/// Number and unit of "1.5GB", multiplied; nothing for a missing or unknown unit, a sign, or a
/// value beyond what fits.
template <std::size_t N>
std::optional<double> number_with_unit(std::string_view text, const std::array<Unit, N>& units) {
  double number = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, error] =
      std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc{} || text.empty() || text.front() == '-') return std::nullopt;
  auto unit = std::string_view{rest, static_cast<std::size_t>(end - rest)};
  while (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  for (const auto& known : units) {
    if (!same_letters(unit, known.name)) continue;
    const auto value = number * known.factor;
    if (!std::isfinite(value) || value > 9e15) return std::nullopt;  // Exact below 2^53.
    return value;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  static constexpr std::array<Unit, 7> units{{{"ms", 1},
                                              {"s", 1000},
                                              {"m", 60'000},
                                              {"min", 60'000},
                                              {"h", 3'600'000},
                                              {"d", 86'400'000},
                                              {"us", 0.001}}};
  if (text == "0") return std::chrono::milliseconds{0};
  const auto value = number_with_unit(text, units);
  if (!value) return std::nullopt;
  return std::chrono::milliseconds{static_cast<std::int64_t>(std::llround(*value))};
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  static constexpr std::array<Unit, 6> units{{{"", 1},
                                              {"B", 1},
                                              {"kB", 1024.0},
                                              {"MB", 1024.0 * 1024},
                                              {"GB", 1024.0 * 1024 * 1024},
                                              {"TB", 1024.0 * 1024 * 1024 * 1024}}};
  const auto value = number_with_unit(text, units);
  if (!value) return std::nullopt;
  return static_cast<std::uint64_t>(*value);
}

std::optional<Address> parse_address(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  auto host = text.substr(0, colon);
  const auto digits = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return std::nullopt;  // An IPv6 address without brackets: its last group is no port.
  }
  unsigned port = 0;
  const auto* end = digits.data() + digits.size();
  const auto [rest, error] = std::from_chars(digits.data(), end, port);
  if (error != std::errc{} || rest != end || port == 0 || port > 65535) return std::nullopt;
  if (host.empty()) return std::nullopt;
  return Address{std::string{host}, static_cast<std::uint16_t>(port)};
}

std::string to_string(const Address& address) {
  const auto v6 = address.host.find(':') != std::string::npos;
  return (v6 ? '[' + address.host + ']' : address.host) + ':' + std::to_string(address.port);
}

std::string to_string(std::chrono::milliseconds duration) {
  const auto count = duration.count();
  if (count != 0 && count % 1000 == 0) return std::to_string(count / 1000) + 's';
  return std::to_string(count) + "ms";
}

}  // namespace pgjanus
