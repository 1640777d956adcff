#include "router/words.hpp"

#include <algorithm>
#include <charconv>

namespace pgjanus {

std::string_view to_string(Side side) noexcept {
  switch (side) {
    case Side::source: return "source";
    case Side::target: return "target";
  }
  return {};
}

std::string_view to_string(Role role) noexcept {
  switch (role) {
    case Role::primary: return "primary";
    case Role::mirror: return "mirror";
  }
  return {};
}

std::optional<Side> side_from(std::string_view text) noexcept {
  if (text == "source") return Side::source;
  if (text == "target") return Side::target;
  return std::nullopt;
}

std::optional<Role> role_from(std::string_view text) noexcept {
  if (text == "primary") return Role::primary;
  if (text == "mirror") return Role::mirror;
  return std::nullopt;
}

bool Snapshot::sees(FullXid xid) const noexcept {
  if (xid < xmin) return true;
  if (xid >= xmax) return false;
  return !std::binary_search(xip.begin(), xip.end(), xid);
}

namespace {

std::optional<FullXid> parse_xid(std::string_view text) {
  FullXid xid;
  const auto* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, xid.value);
  if (error != std::errc{} || rest != end || text.empty()) return std::nullopt;
  return xid;
}

}  // namespace

std::optional<Snapshot> parse_snapshot(std::string_view text) {
  const auto first = text.find(':');
  if (first == std::string_view::npos) return std::nullopt;
  const auto second = text.find(':', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  const auto xmin = parse_xid(text.substr(0, first));
  const auto xmax = parse_xid(text.substr(first + 1, second - first - 1));
  if (!xmin || !xmax || *xmin > *xmax) return std::nullopt;
  Snapshot snapshot{*xmin, *xmax, {}};
  auto list = text.substr(second + 1);
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    const auto xid = parse_xid(list.substr(0, comma));
    if (!xid || *xid < snapshot.xmin || *xid >= snapshot.xmax) return std::nullopt;
    if (!snapshot.xip.empty() && snapshot.xip.back() >= *xid) return std::nullopt;
    snapshot.xip.push_back(*xid);
    if (comma == list.size()) break;
    list.remove_prefix(comma + 1);
    if (list.empty()) return std::nullopt;  // A trailing comma.
  }
  return snapshot;
}

std::string to_string(const Snapshot& snapshot) {
  auto text = std::to_string(snapshot.xmin.value) + ':' + std::to_string(snapshot.xmax.value) + ':';
  for (std::size_t i = 0; i < snapshot.xip.size(); ++i) {
    if (i > 0) text += ',';
    text += std::to_string(snapshot.xip[i].value);
  }
  return text;
}

}  // namespace pgjanus
