#pragma once
// Prepared statements in transaction pooling: a client's names, the texts behind them, and what each
// server has. README, "Prepared statements", argues the renaming. One thread each.

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "router/classify.hpp"
#include "router/words.hpp"

namespace pgjanus {

/// One text with its parameter types, shared by all clients of a thread that prepared it. Servers
/// know it by name().
struct Prepared {
  std::uint32_t id = 0;
  std::string text, context;
  std::vector<std::int32_t> types;
  Side side = Side::source;  // Whose OIDs the types are.
  bool kept = true;  // The text is here, so that any server can be given it.
  mutable std::optional<StatementClass> kind;
  mutable const void* judged_by = nullptr;  // The catalog behind `kind`; compared, never followed.

  [[nodiscard]] std::string name() const;
  /// The types as `at` numbers them: one that is not built in is left to the server on another side.
  [[nodiscard]] std::vector<std::int32_t> types_at(Side at) const;
  [[nodiscard]] std::size_t bytes() const noexcept;
};
using PreparedPtr = std::shared_ptr<const Prepared>;

/// What our names of statements on servers begin with.
inline constexpr std::string_view prepared_prefix = "pgjanus_";
/// A name that never means anything on a server: for replies without an effect.
inline constexpr std::string_view prepared_nothing = "pgjanus";
/// A name of ours that is taken by a statement that means nothing; no id is 0.
inline constexpr std::string_view prepared_taken = "pgjanus_0";

/// The texts of one thread, each once. Bounded by bytes: beyond them a statement is not kept, and
/// its session stays with the server that has it.
class StatementTexts {
 public:
  static constexpr std::size_t text_max = 1 << 20;
  explicit StatementTexts(std::size_t bytes_max = 256U << 20) : bytes_max_{bytes_max} {}

  /// The statement for this text. Equal text, types and context give the same one: `context` holds
  /// what else its meaning hangs on (settings under which its constants are read).
  PreparedPtr intern(std::string_view text, const std::vector<std::int32_t>& types,
                     std::string_view context, Side side);
  /// Whoever prepares this text from now on gets another statement: what servers have of this one
  /// was planned before the schema changed.
  void retire(const Prepared& old);
  /// One of its own, for a text that was too long to be seen or kept; empty text.
  PreparedPtr unseen();
  /// One of its own, with a text that came in pieces.
  PreparedPtr separate(std::string_view text, const std::vector<std::int32_t>& types, Side side,
                       std::uint32_t id);
  [[nodiscard]] std::size_t bytes() const noexcept { return *bytes_; }

 private:
  PreparedPtr make(Prepared prepared);
  void sweep();

  std::size_t bytes_max_;
  std::shared_ptr<std::size_t> bytes_ = std::make_shared<std::size_t>(0);  // Of what is alive.
  std::unordered_multimap<std::size_t, std::weak_ptr<const Prepared>> by_hash_;
  std::size_t sweep_at_ = 1024;
  std::uint32_t last_id_ = 0;
};

/// What one server has. `sent`: a Parse is on its way in the batch of that number; `stale`: it may
/// have something else under that name, so a Close goes first.
class ServerStatements {
 public:
  enum class State : std::uint8_t { absent, sent, present, stale };
  static constexpr std::size_t count_max = 500;
  static constexpr std::size_t bytes_max = 16U << 20;

  [[nodiscard]] State state(std::uint32_t id) const;
  /// Whether what is sent next in that batch finds it there. One that was sent in an earlier batch and
  /// has not been confirmed may have failed.
  [[nodiscard]] bool usable(std::uint32_t id, std::uint32_t batch) const;
  /// Counts as the one used last.
  void use(std::uint32_t id);
  void sent(std::uint32_t id, std::size_t bytes, std::uint32_t batch);
  void confirmed(std::uint32_t id);
  void forget(std::uint32_t id);
  void distrust(std::uint32_t id);
  void distrust_all();
  /// DEALLOCATE ALL and its like: what was sent behind it stays.
  void clear();
  /// The one to close before another of `bytes` comes; nothing while there is room. Never one that
  /// is on its way.
  [[nodiscard]] std::optional<std::uint32_t> victim(std::size_t bytes) const;
  [[nodiscard]] std::size_t count() const noexcept { return by_id_.size(); }

 private:
  struct Entry {
    std::uint32_t id = 0, batch = 0;
    std::size_t bytes = 0;
    State state = State::absent;
  };
  std::list<Entry> by_use_;  // The front was used last.
  std::unordered_map<std::uint32_t, std::list<Entry>::iterator> by_id_;
  std::size_t bytes_ = 0;
};

/// The part of a statement's name that the server goes by: its hash table has keys of NAMEDATALEN - 1 bytes (dynahash.c).
[[nodiscard]] constexpr std::string_view known_part(std::string_view name) noexcept { return name.substr(0, 63); }

/// The names of one client. A name is tentative until the server has answered its Parse: a Parse
/// that fails leaves none.
class ClientStatements {
 public:
  struct Named {
    PreparedPtr prepared;
    bool tentative = true;
    std::uint32_t batch = 0;  // In which it was sent,
    std::uint32_t used = 0;   // and first used; 0: not yet.
  };
  [[nodiscard]] Named* find(std::string_view name);
  void add(std::string_view name, PreparedPtr prepared, std::uint32_t batch);
  /// A long Parse has come to its end: this is its text.
  void replace(std::uint32_t id, const PreparedPtr& prepared);
  /// Its Close was sent; kept until the server has answered that.
  void close(std::string_view name);
  /// Whether a Close of it has not been answered: should it be skipped, the name stands.
  [[nodiscard]] bool closing(std::string_view name) const;
  void close_answered();
  /// By DEALLOCATE.
  void remove(std::string_view name);
  void close_lost();
  void parse_answered(std::uint32_t id);
  void parse_lost(std::uint32_t id);
  /// DEALLOCATE ALL and its like: names that were sent behind it stay.
  void clear();
  /// The client's name for it; empty when it has none.
  [[nodiscard]] std::string name_of(std::uint32_t id) const;
  /// Statements that only their server knows.
  [[nodiscard]] std::size_t unkept() const noexcept { return unkept_; }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  using Names = std::unordered_map<std::string, Named, Hash, std::equal_to<>>;
  /// A Parse that has not been answered; `closing`: its Close has been sent, too.
  struct Unanswered {
    std::string name;
    std::uint32_t id = 0;
    bool closing = false;
  };
  void erase(Names::iterator at);
  void forget_unanswered(std::string_view name);
  Named* take_tentative(std::uint32_t id, Unanswered& of);

  Names names_;
  std::list<Unanswered> tentative_;  // In the order in which they were sent.
  std::list<std::pair<std::string, Named>> closing_;  // Without a statement: its Parse has failed.
  std::size_t unkept_ = 0;
};

/// `DEALLOCATE [PREPARE] name [;]`: the name, folded as the server folds it. Nothing for anything
/// else, ALL included.
[[nodiscard]] std::optional<std::string> deallocated_name(std::string_view text);

}  // namespace pgjanus
