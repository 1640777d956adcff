#include "proxy/verify/table_queries.hpp"

#include <algorithm>
#include <bit>

namespace pgjanus::verify {

namespace {

using pg::quote_name;

constexpr std::size_t column_digits = 16;

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string text;
  for (const auto& part : parts) {
    if (!text.empty()) text += separator;
    text += part;
  }
  return text;
}

// A function's result takes the collation of its arguments, which may be nondeterministic or in
// conflict with each other: bytes are compared, always.
std::string bytewise(const std::string& expression) {
  return "(" + expression + ") COLLATE pg_catalog.\"C\"";
}

std::string md5(const std::string& text, Hashing hashing) {
  return bytewise(hashing == Hashing::as_utf8
                      ? "pg_catalog.md5(pg_catalog.convert_to(" + text + ", 'UTF8'))"
                      : "pg_catalog.md5(" + text + ")");
}

/// A value as its type's output function prints it, NULL as NULL. Not a cast to text: that drops
/// the blanks of char(n) and prints booleans differently; not IS NULL: a row type with NULL fields
/// is NULL to that.
std::string value_text(const std::string& column) {
  const auto name = "t." + quote_name(column);
  return bytewise("CASE WHEN " + name + " IS DISTINCT FROM NULL THEN pg_catalog.concat(" + name +
                  ") END");
}

std::vector<std::string> value_texts(const std::vector<std::string>& columns) {
  std::vector<std::string> texts;
  for (const auto& column : columns) texts.push_back(value_text(column));
  return texts;
}

/// The text of a row of the given texts or columns: NULL and '' differ, and so do all pairs of
/// different rows, since record_out() quotes.
std::string row_text(const std::vector<std::string>& values) {
  return "ROW(" + joined(values, ", ") + ")::pg_catalog.text";
}

std::string whole_row(const Compared& compared) {
  if (!compared.keyed()) return row_text(value_texts(compared.columns));
  std::vector<std::string> names;
  for (const auto& column : compared.columns) names.push_back("t." + quote_name(column));
  return row_text(names);
}

std::string bucket_of(const std::string& hash, std::uint32_t buckets) {
  return "('x' || pg_catalog.left(" + hash + ", 8))::pg_catalog.bit(32)::pg_catalog.int4 & " +
         std::to_string(buckets - 1);
}

std::string chosen_buckets(const std::string& hash, std::uint32_t buckets,
                           const std::vector<std::int32_t>& chosen) {
  if (chosen.empty()) return {};
  std::string list = "{";
  for (const auto bucket : chosen) list += (list.size() > 1 ? "," : "") + std::to_string(bucket);
  return "(" + bucket_of(hash, buckets) + ") = ANY ('" + list + "}'::pg_catalog.int4[])";
}

std::string where(const std::string& one, const std::string& other = {}) {
  if (one.empty() && other.empty()) return {};
  return " WHERE " + one + (one.empty() || other.empty() ? "" : " AND ") + other;
}

/// 64 bits of an md5 in hex, as int8.
std::string last_bits(const std::string& hash) {
  return "('x' || pg_catalog.right(" + hash + ", 16))::pg_catalog.bit(64)::pg_catalog.int8";
}

std::string column_hashes(const Compared& compared, Hashing hashing) {
  std::vector<std::string> parts{"''"};
  for (const auto& column : compared.columns) {
    parts.push_back("coalesce(pg_catalog.left(" + md5(value_text(column), hashing) + ", " +
                    std::to_string(column_digits) + "), '" + std::string(column_digits, '-') +
                    "')");
  }
  return bytewise(joined(parts, " || "));
}

}  // namespace

const char* const probe_sql =
    "SELECT pg_catalog.md5(pg_catalog.string_agg(pg_catalog.hashtextextended("
    "(pg_catalog.repeat('pgjanus 0aZ', n) || n) COLLATE pg_catalog.\"C\", 1)::text, ',')) "
    "FROM pg_catalog.generate_series(0, 100) n";

std::string sum_sql(const TableInfo& table, const Compared& compared, const std::string& condition,
                    Hashing hashing) {
  const auto row = whole_row(compared);
  return "SELECT count(*), coalesce(sum(" +
         (hashing == Hashing::quick ? "pg_catalog.hashtextextended(" + bytewise(row) + ", 1)"
                                    : last_bits(md5(row, hashing))) +
         "), 0) FROM " + table.sql_rows() + " AS t" + where(condition);
}

std::uint32_t buckets_for(std::int64_t pages) noexcept {
  // A page holds some 50 rows, so this is about 800 rows a bucket.
  const auto wanted = std::clamp<std::int64_t>(pages / 16, 64, 65'536);
  return std::bit_ceil(static_cast<std::uint32_t>(wanted));
}

std::string buckets_sql(const TableInfo& table, const Compared& compared, std::uint32_t buckets,
                        const std::string& condition, Hashing hashing) {
  const auto row = md5(whole_row(compared), hashing);
  const auto hash = compared.keyed() ? md5(row_text(value_texts(compared.key)), hashing) : row;
  return "SELECT r.b, count(*), sum(" + last_bits("r.h") + ") FROM (SELECT " +
         bucket_of(hash, buckets) + " AS b, " + row + " AS h FROM " + table.sql_rows() + " AS t" +
         where(condition) + ") r GROUP BY r.b";
}

std::string rows_sql(const TableInfo& table, const Compared& compared, std::uint32_t buckets,
                     const std::vector<std::int32_t>& chosen, const std::string& condition,
                     Hashing hashing) {
  const auto row = md5(whole_row(compared), hashing);
  if (compared.keyed()) {
    const auto texts = value_texts(compared.key);
    const auto hash = md5(row_text(texts), hashing);
    return "SELECT " + hash + ", " + row + ", " + column_hashes(compared, hashing) + ", " +
           joined(texts, ", ") + " FROM " + table.sql_rows() + " AS t" +
           where(condition, chosen_buckets(hash, buckets, chosen)) + " ORDER BY 1";
  }
  // Grouped by the hash, which stands for the row; any of its equal texts will do.
  std::vector<std::string> inner, outer;
  const auto texts = value_texts(compared.columns);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    inner.push_back(", " + texts[i] + " AS v" + std::to_string(i));
    outer.push_back(", max(r.v" + std::to_string(i) + ")");
  }
  return "SELECT r.h, count(*)" + joined(outer, "") + " FROM (SELECT " + row + " AS h" +
         joined(inner, "") + " FROM " + table.sql_rows() + " AS t" +
         where(condition, chosen_buckets(row, buckets, chosen)) + ") r GROUP BY r.h ORDER BY r.h";
}

std::vector<std::string> columns_that_differ(const Compared& compared, std::string_view primary,
                                             std::string_view mirror) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < compared.columns.size(); ++i) {
    const auto at = std::min(i * column_digits, std::min(primary.size(), mirror.size()));
    if (primary.substr(at, column_digits) != mirror.substr(at, column_digits)) {
      names.push_back(compared.columns[i]);
    }
  }
  return names;
}

}  // namespace pgjanus::verify
