#pragma once
// The statements that a session has prepared by protocol, as far as we need to know them.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "router/classify.hpp"
#include "wire/message.hpp"

namespace pgjanus {

/// One Parse. The text is gone when it was too long to keep: then it cannot be repeated elsewhere.
struct Statement {
  std::string text;
  std::vector<std::int32_t> types;
  std::optional<StatementClass> kind;
  const Catalog* judged_by = nullptr;  // The catalog behind `kind`; compared, never followed.
  bool kept = true;
};

/// Statements by name. What the server really has is asked of the server (pg_prepared_statements)
/// when a session moves; this is what a read on the other side and the classes are taken from, and
/// the only trace of the unnamed statement, which no catalog shows.
class Statements {
 public:
  static constexpr std::size_t text_max = 1 << 20;      // Per statement.
  static constexpr std::size_t total_max = 16U << 20;   // Per session.

  void parse(const wire::ParseView& parse);
  /// A Parse that was too long to be seen whole.
  void parse_unseen(std::string_view name);
  void close(std::string_view name);
  /// A simple query destroys the unnamed statement (PostgreSQL manual, "Simple Query").
  void simple_query() noexcept { unnamed_.reset(); }
  /// Takes the unnamed statement away; put_unnamed() brings it back.
  [[nodiscard]] std::optional<Statement> take_unnamed() noexcept { return std::exchange(unnamed_, std::nullopt); }
  void put_unnamed(std::optional<Statement> statement) noexcept { unnamed_ = std::move(statement); }
  void clear();  // DISCARD ALL, DEALLOCATE ALL.

  [[nodiscard]] Statement* find(std::string_view name);
  [[nodiscard]] const std::optional<Statement>& unnamed() const noexcept { return unnamed_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  std::unordered_map<std::string, Statement, Hash, std::equal_to<>> named_;
  std::optional<Statement> unnamed_;
  std::size_t bytes_ = 0;  // Of named texts.
};

}  // namespace pgjanus
