#include "proxy/load/post_data.hpp"

#include <cctype>
#include <cstdint>
#include <cstdio>
#include <stdexcept>

namespace pgjanus::load {

namespace {

bool is_name_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '$' ||
         (static_cast<unsigned char>(c) & 0x80U) != 0;
}

/// Finds the end of what begins at `at` when that is a quoted thing; else `at` itself.
class Quotes {
 public:
  explicit Quotes(std::string_view text) : text_{text} {}

  std::size_t skip(std::size_t at) const {
    const char c = text_[at];
    if (c == '\'') return literal(at);
    if (c == '"') return until(at + 1, "\"");
    if (c == '$' && (at == 0 || !is_name_char(text_[at - 1]))) return dollar(at);
    if (text_.substr(at, 2) == "/*") return comment(at);
    return at;
  }

 private:
  std::size_t until(std::size_t from, std::string_view end) const {
    const auto found = text_.find(end, from);
    if (found == std::string_view::npos) {
      throw std::runtime_error{"the dump ends inside of a quoted text"};
    }
    return found + end.size();
  }
  // A doubled quote is two literals side by side for our purpose. E'…' takes backslashes.
  std::size_t literal(std::size_t at) const {
    const bool escapes = at > 0 && (text_[at - 1] == 'E' || text_[at - 1] == 'e') &&
                         (at == 1 || !is_name_char(text_[at - 2]));
    if (!escapes) return until(at + 1, "'");
    for (auto i = at + 1; i < text_.size(); ++i) {
      if (text_[i] == '\\') {
        ++i;
      } else if (text_[i] == '\'') {
        if (i + 1 >= text_.size() || text_[i + 1] != '\'') return i + 1;
        ++i;
      }
    }
    throw std::runtime_error{"the dump ends inside of a literal"};
  }
  std::size_t dollar(std::size_t at) const {
    auto end = at + 1;
    while (end < text_.size() && is_name_char(text_[end]) && text_[end] != '$') ++end;
    if (end >= text_.size() || text_[end] != '$') return at;
    const bool parameter =
        end > at + 1 && std::isdigit(static_cast<unsigned char>(text_[at + 1])) != 0;
    return parameter ? at : until(end + 1, text_.substr(at, end + 1 - at));
  }
  std::size_t comment(std::size_t at) const {
    int depth = 0;
    for (auto i = at; i + 1 < text_.size(); ++i) {
      if (text_.substr(i, 2) == "/*") {
        ++depth;
        ++i;
      } else if (text_.substr(i, 2) == "*/") {
        ++i;
        if (--depth == 0) return i + 1;
      }
    }
    throw std::runtime_error{"the dump ends inside of a comment"};
  }
  std::string_view text_;
};

/// Reads "-- Name: …; Type: …; Schema: …; Owner: …"; from the right, since only names are free
/// text.
bool read_header(std::string_view line, Entry& entry) {
  constexpr std::string_view name = "-- Name: ", type = "; Type: ", schema = "; Schema: ",
                             owner = "; Owner: ";
  if (!line.starts_with(name)) return false;
  auto owner_at = line.rfind(owner);
  const auto end = owner_at == std::string_view::npos ? line.size() : owner_at;
  const auto schema_at = line.substr(0, end).rfind(schema);
  if (schema_at == std::string_view::npos) return false;
  const auto type_at = line.substr(0, schema_at).rfind(type);
  if (type_at == std::string_view::npos) return false;
  entry.name = line.substr(name.size(), type_at - name.size());
  entry.type = line.substr(type_at + type.size(), schema_at - type_at - type.size());
  entry.schema = line.substr(schema_at + schema.size(), end - schema_at - schema.size());
  if (owner_at != std::string_view::npos) entry.owner = line.substr(owner_at + owner.size());
  return true;
}

bool left_out(std::string_view line) {
  return line.starts_with('\\') || line.starts_with("SET ") ||
         line.starts_with("SELECT pg_catalog.set_config(");
}

void trim(std::string& text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.pop_back();
  }
  text.erase(0, std::min(text.find_first_not_of(" \t\r\n"), text.size()));
}

}  // namespace

std::string Entry::step() const {
  // FNV-1a, 64 bits: only has to differ when a definition changed, and to be the same tomorrow.
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char c : sql) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return type + " " + schema + "." + name + " " + text;
}

std::string Entry::display() const {
  return type + " " + (schema == "-" || schema.empty() ? name : schema + "." + name);
}

std::vector<Entry> split_post_data(std::string_view dump) {
  std::vector<Entry> entries;
  const Quotes quotes{dump};
  bool statement_open = false;  // Between its first word and its semicolon.
  int parentheses = 0;          // CREATE RULE … DO ( a; b ).
  std::size_t at = 0;
  const auto keep = [&](std::string_view text) {
    if (!entries.empty()) entries.back().sql += text;
  };
  while (at < dump.size()) {
    const bool line_start = at == 0 || dump[at - 1] == '\n';
    const auto line_end = std::min(dump.find('\n', at), dump.size());
    const auto line = dump.substr(at, line_end - at);
    if (line_start && !statement_open) {
      Entry entry;
      if (read_header(line, entry)) {
        entries.push_back(std::move(entry));
        at = line_end;
        continue;
      }
      if (left_out(line)) {
        at = line_end;
        continue;
      }
    }
    if (dump.substr(at, 2) == "--") {  // Comments outside of statements are headings of pg_dump.
      at = line_end;
      continue;
    }
    const auto after = quotes.skip(at);
    if (after != at) {
      keep(dump.substr(at, after - at));
      at = after;
      continue;
    }
    const char c = dump[at];
    if (c == '(') ++parentheses;
    if (c == ')') --parentheses;
    if (std::isspace(static_cast<unsigned char>(c)) == 0) statement_open = true;
    if (c == ';' && parentheses == 0) statement_open = false;
    keep(dump.substr(at, 1));
    ++at;
  }
  for (auto& entry : entries) trim(entry.sql);
  return entries;
}

}  // namespace pgjanus::load
