// Result values, array literals and quoting.

#include <charconv>

#include "proxy/pg/impl.hpp"

namespace pgjanus::pg {

namespace {
const PGresult* as_result(const std::shared_ptr<void>& result) {
  return static_cast<const PGresult*>(result.get());
}
}  // namespace

int Rows::size() const noexcept { return PQntuples(as_result(result_)); }
int Rows::columns() const noexcept { return PQnfields(as_result(result_)); }
int Rows::number(int column) const noexcept { return PQftablecol(as_result(result_), column); }
bool Rows::null(int row, int column) const noexcept {
  return PQgetisnull(as_result(result_), row, column) != 0;
}
std::string_view Rows::text(int row, int column) const noexcept {
  const auto* result = as_result(result_);
  return {PQgetvalue(result, row, column),
          static_cast<std::size_t>(PQgetlength(result, row, column))};
}
std::optional<std::string> Rows::value(int row, int column) const {
  if (null(row, column)) return std::nullopt;
  return str(row, column);
}
std::int64_t Rows::integer(int row, int column) const {
  const auto digits = text(row, column);
  std::int64_t number = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc{} || rest != digits.data() + digits.size() || digits.empty()) {
    throw Error{"the server sent no integer where one was expected"};
  }
  return number;
}
std::uint64_t Rows::affected() const noexcept {
  if (!result_) return 0;
  const std::string_view digits =
      PQcmdTuples(const_cast<PGresult*>(as_result(result_)));  // libpq lacks the const
  std::uint64_t number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

std::string array_literal(const std::vector<std::optional<std::string_view>>& values) {
  std::string literal = "{";
  for (const auto& value : values) {
    if (literal.size() > 1) literal += ',';
    if (!value) {
      literal += "NULL";
      continue;
    }
    literal += '"';
    for (const char c : *value) {
      if (c == '"' || c == '\\') literal += '\\';
      literal += c;
    }
    literal += '"';
  }
  return literal += '}';
}

std::vector<std::optional<std::string>> parse_array(std::string_view literal) {
  std::vector<std::optional<std::string>> values;
  const auto malformed = [] { return Error{"the server sent a malformed array"}; };
  // Bounds come before the elements when they do not start at 1: [0:1]={a,b}.
  if (literal.starts_with('[')) {
    const auto start = literal.find('{');
    if (start == std::string_view::npos) throw malformed();
    literal.remove_prefix(start);
  }
  if (literal.size() < 2 || literal.front() != '{' || literal.back() != '}') throw malformed();
  literal = literal.substr(1, literal.size() - 2);
  std::size_t at = 0;
  while (at < literal.size()) {
    std::string value;
    bool quoted = false;
    if (literal[at] == '"') {
      quoted = true;
      for (++at; at < literal.size() && literal[at] != '"'; ++at) {
        if (literal[at] == '\\' && ++at >= literal.size()) throw malformed();
        value += literal[at];
      }
      if (at++ >= literal.size()) throw malformed();
    } else {
      for (; at < literal.size() && literal[at] != ','; ++at) {
        if (literal[at] == '\\' && ++at >= literal.size()) throw malformed();
        value += literal[at];
      }
    }
    if (!quoted && value == "NULL") {
      values.emplace_back(std::nullopt);
    } else {
      values.emplace_back(std::move(value));
    }
    if (at >= literal.size()) break;
    if (literal[at] != ',' || ++at >= literal.size()) throw malformed();
  }
  return values;
}

std::string quote_name(std::string_view name) {
  std::string quoted = "\"";
  for (const char c : name) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted += '"';
}

std::string quote_literal(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') quoted += '\'';
    quoted += c;
  }
  return quoted += '\'';
}

std::string qualified(std::string_view schema, std::string_view name) {
  return quote_name(schema) + "." + quote_name(name);
}

}  // namespace pgjanus::pg
