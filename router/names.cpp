#include "router/names.hpp"

namespace pgjanus {

namespace {

bool begins_word(char c) {
  return (c >= 'a' && c <= 'z') || c == '_' || (static_cast<unsigned char>(c) & 0x80U) != 0;
}

char folded(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Takes one name off the front; nothing when there is none.
std::optional<std::string> take_name(std::string_view& text) {
  std::string name;
  if (text.starts_with('"')) {
    std::size_t at = 1;
    for (; at < text.size(); ++at) {
      if (text[at] == '"' && (at + 1 == text.size() || text[at + 1] != '"')) break;
      if (text[at] == '"') ++at;
      name += text[at];
    }
    if (at >= text.size() || name.empty()) return std::nullopt;
    text.remove_prefix(at + 1);
    return name;
  }
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    const char c = folded(text[at]);
    const bool inside = at > 0 && ((c >= '0' && c <= '9') || c == '$');
    if (!begins_word(c) && !inside) break;
    name += c;
  }
  if (name.empty()) return std::nullopt;
  text.remove_prefix(at);
  return name;
}

}  // namespace

std::string to_string(const QualifiedName& name) {
  return name.schema.empty() ? name.name : name.schema + "." + name.name;
}

// Always quoted: which words are keywords differs between versions.
std::string sql_word(std::string_view name) {
  std::string quoted{'"'};
  for (const char c : name) {
    quoted += c;
    if (c == '"') quoted += c;
  }
  return quoted + '"';
}

std::string sql_name(const QualifiedName& name) {
  return (name.schema.empty() ? std::string{} : sql_word(name.schema) + ".") + sql_word(name.name);
}

std::optional<QualifiedName> parse_name(std::string_view text) {
  auto first = take_name(text);
  if (!first) return std::nullopt;
  if (text.empty()) return QualifiedName{{}, std::move(*first)};
  if (text.front() != '.') return std::nullopt;
  text.remove_prefix(1);
  auto second = take_name(text);
  if (!second || !text.empty()) return std::nullopt;
  return QualifiedName{std::move(*first), std::move(*second)};
}

bool NameMap::add(Rename rename) {
  // A name of one side that the other side has for something else would stand for two relations.
  if (to_target_.contains(rename.source) || to_source_.contains(rename.target)) return false;
  to_target_.emplace(rename.source, rename.target);
  to_source_.emplace(rename.target, rename.source);
  renames_.push_back(std::move(rename));
  return true;
}

QualifiedName NameMap::on(Side side, const QualifiedName& of_source) const {
  if (side == Side::source) return of_source;
  const auto found = to_target_.find(of_source);
  return found == to_target_.end() ? of_source : found->second;
}

QualifiedName NameMap::of(Side side, const QualifiedName& there) const {
  if (side == Side::source) return there;
  const auto found = to_source_.find(there);
  return found == to_source_.end() ? there : found->second;
}

bool NameMap::taken(Side side, const QualifiedName& there) const {
  return side == Side::source ? to_source_.contains(there) && !to_target_.contains(there)
                              : to_target_.contains(there) && !to_source_.contains(there);
}

}  // namespace pgjanus
