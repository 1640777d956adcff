#include "router/rewrite.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "router/lexer.hpp"
#include "router/name_places.hpp"
#include "router/token_window.hpp"
#include "wire/assert.hpp"

namespace pgjanus {

namespace {

/// Names of Postgres have up to 63 bytes: two of them with all quotes doubled twice, and more.
constexpr std::size_t name_text_bytes_max = 1024;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// The name that a token is, folded; empty when it is none. Keywords count: many may be names.
std::string word_of(std::string_view token) {
  if (token.empty() || token.size() > name_text_bytes_max) return {};
  auto name = parse_name(token);
  return name && name->schema.empty() ? std::move(name->name) : std::string{};
}

bool is_word(std::string_view token, std::string_view word) {
  return token.size() == word.size() &&
         std::equal(word.begin(), word.end(), token.begin(), [](char a, char b) { return a == lower(b); });
}

/// Nothing for texts that are too long, too deep or no SQL.
std::optional<Places> places_in(std::string_view text) {
  return text.size() > Rewriter::parse_bytes_max ? std::nullopt : places_of(std::string{text});
}

/// Whether one of the names stands behind CREATE TEMP TABLE IF NOT EXISTS, INTO TEMP or pg_temp, in a text that is not parsed.
bool makes_temporary(std::string_view text, const std::vector<Rewriter::Entry>& entries) {
  static constexpr std::array<std::string_view, 5> before{"create", "local", "global", "replace", "into"};
  static constexpr std::array<std::string_view, 7> between{"table", "view", "sequence", "recursive", "if", "not", "exists"};
  const auto one_of = [](const auto& words, std::string_view word) { return std::ranges::find(words, word) != words.end(); };
  Lexer lexer{text};
  std::string last;
  bool temporary = false, in_schema = false;
  while (const auto token = lexer.next()) {
    if (token->kind == TokenKind::comment) continue;
    const auto said = text.substr(token->start, token->end - token->start);
    auto word = word_of(said);
    const auto named = [&](const Rewriter::Entry& entry) { return entry.from.name == word; };
    if ((temporary || in_schema) && std::ranges::any_of(entries, named)) return true;
    temporary = temporary && one_of(between, word);
    in_schema = said == "." && last == "pg_temp";
    if ((word == "temp" || word == "temporary") && one_of(before, last)) temporary = true;
    last = std::move(word);
  }
  return false;
}

std::string literal_of(std::string_view text) {
  std::string quoted{'\''};
  for (const char c : text) {
    quoted += c;
    if (c == '\'') quoted += c;
  }
  return quoted + '\'';
}

/// One text on its way.
class Rewriting {
 public:
  Rewriting(std::string_view text, TextOf whose, const std::vector<Rewriter::Entry>& entries,
            std::optional<Places> places, Extent extent)
      : text_{text},
        whose_{whose},
        entries_{entries},
        // Only what the tree says is followed further back than this.
        tokens_{text, places ? text.size() : tokens_behind, extent},
        places_{std::move(places)} {}

  std::optional<std::string> run() {
    for (; tokens_.at(at_) != nullptr; ++at_) {
      look();
      if (tokens_.guessed()) break;  // What it decided may be wrong, and so may all that would follow.
      apply();
      if (result_.size() > done_ + Rewriter::growth_bytes_max) return std::nullopt;
    }
    if (tokens_.refused() || done_ == 0) return std::nullopt;
    result_.append(text_.substr(done_));
    return std::move(result_);
  }

 private:
  static constexpr std::size_t tokens_behind = 8;

  struct Edit {
    std::size_t start, end;
    std::string by;
  };

  void look() {
    const auto& token = *tokens_.at(at_);
    if (token.kind == TokenKind::string) return literal();
    if (token.kind != TokenKind::word && token.kind != TokenKind::quoted) return;
    const auto word = word_of(tokens_.text(token));
    if (word.empty() || is(at_ - 1, ".")) return;
    if (is(at_ + 1, ".")) return qualified(word);
    alone(word);
  }

  /// Takes the text up to here over, with what was decided.
  void apply() {
    for (const auto& edit : edits_) {
      PROXY_ASSERT(edit.start >= done_ && edit.end <= text_.size());
      if (done_ == 0) result_.reserve(text_.size() + edit.by.size());
      result_.append(text_.substr(done_, edit.start - done_));
      // Quotes must not grow together with what stands beside: "a"users, u&users, users"u".
      if (edit.by.front() == '"' && (result_.ends_with('"') || result_.ends_with('&'))) result_ += ' ';
      result_.append(edit.by);
      if (edit.by.back() == '"' && edit.end < text_.size() && text_[edit.end] == '"') result_ += ' ';
      done_ = edit.end;
    }
    edits_.clear();
  }

  [[nodiscard]] bool is(std::ptrdiff_t index, std::string_view word) {
    const auto* token = tokens_.at(index);
    return token != nullptr && is_word(tokens_.text(*token), word);
  }
  template <std::size_t size>
  [[nodiscard]] bool one_of(const std::array<std::string_view, size>& words, std::ptrdiff_t index) {
    return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return is(index, word); });
  }
  [[nodiscard]] const Rewriter::Entry* named(const QualifiedName& name) const {
    for (const auto& entry : entries_) {
      if (entry.from == name) return &entry;
    }
    return nullptr;
  }
  [[nodiscard]] const Rewriter::Entry* named(std::string_view name) const {
    if (whose_ != TextOf::client) return nullptr;
    for (const auto& entry : entries_) {
      if (entry.alone != Unqualified::stays && entry.from.name == name) return &entry;
    }
    return nullptr;
  }
  void replace(std::ptrdiff_t first, std::ptrdiff_t last, std::string by) {
    edits_.push_back({tokens_.at(first)->start, tokens_.at(last)->end, std::move(by)});
  }

  /// schema . name
  void qualified(const std::string& schema) {
    const auto* last = tokens_.at(at_ + 2);
    if (last == nullptr) return;
    const auto name = word_of(tokens_.text(*last));
    const auto* entry = name.empty() ? nullptr : named(QualifiedName{schema, name});
    if (entry == nullptr) return;
    const std::size_t start = tokens_.at(at_)->start;
    const bool renamed = entry->from.name != entry->to.name;
    bool with_alias = false;
    if (places_) {
      if (places_->functions.contains(start)) return;
      const auto column = places_->columns.find(start);
      if (column != places_->columns.end()) {
        if (column->second < 3) return;  // A column `name` of an alias `schema`.
        replace(at_, at_ + 2, renamed ? sql_word(entry->from.name) : sql_name(entry->to));
        at_ += 2;
        return;
      }
      const auto relation = places_->relations.find(start);
      if (relation == places_->relations.end() && no_relation(start)) return;
      with_alias = renamed && relation != places_->relations.end() && relation->second.may_have_alias;
    } else if (names_setting() || (is(at_ + 3, "(") && !names_relation(at_ - 1))) {
      return;
    }
    replace(at_, at_ + 2, sql_name(entry->to));
    if (with_alias) add_alias(at_ + 2, *entry);
    at_ += 2;
  }

  /// SET app.tenant = 1, SHOW app.tenant: settings may be called as relations are.
  [[nodiscard]] bool names_setting() {
    static constexpr std::array<std::string_view, 5> words{"set", "local", "session", "show", "reset"};
    return one_of(words, at_ - 1);
  }

  /// What the tree has no relation for, and is none: a setting, a field of a column, a function.
  [[nodiscard]] bool no_relation(std::size_t start) {
    if (places_->types.contains(start)) return false;
    return is(at_ + 3, "(") || names_setting() || places_->targets.contains(start) ||
           places_->dropped_at(start) == Places::Named::functions;
  }

  /// A parenthesis behind it begins a list of columns, and not of arguments.
  [[nodiscard]] bool names_relation(std::ptrdiff_t before) {
    static constexpr std::array<std::string_view, 6> words{"references", "into", "table", "exists", "copy", "only"};
    return one_of(words, before);
  }

  /// `SELECT users.id FROM auth.people AS users`.
  void add_alias(std::ptrdiff_t last, const Rewriter::Entry& entry) {
    const auto first = last >= 2 && is(last - 1, ".") ? last - 2 : last;
    const bool enclosed = is(first - 1, "(") && is(first - 2, "only") && is(last + 1, ")");
    const auto before = first - (enclosed ? 3 : is(first - 1, "only") ? 2 : 1);
    if (is(before, "table")) return;  // TABLE users: no columns can be named there.
    auto behind = last;
    if (enclosed) behind = last + 1;
    else if (is(last + 1, "*")) behind = last + 1;
    const std::size_t end = tokens_.at(behind)->end;
    if (behind == last) {
      edits_.back().by += " AS " + sql_word(entry.from.name);
    } else {
      edits_.push_back({end, end, " AS " + sql_word(entry.from.name)});
    }
  }

  /// What a name without a schema becomes.
  static const QualifiedName& meant(const Rewriter::Entry& entry) {
    return entry.alone == Unqualified::unclear ? entry.from : entry.to;
  }

  /// A name without a schema.
  void alone(const std::string& name) {
    if (!places_ && !begins_text()) return;
    const auto* entry = named(name);
    if (entry == nullptr) return;
    const std::size_t start = tokens_.at(at_)->start;
    if (!places_) {
      replace(at_, at_, sql_name(meant(*entry)));
      return;
    }
    const auto relation = places_->relations.find(start);
    if (relation != places_->relations.end()) {
      if (relation->second.hidden || relation->second.qualified) return;
      replace(at_, at_, sql_name(meant(*entry)));
      if (meant(*entry) == entry->to && entry->from.name != entry->to.name && relation->second.may_have_alias) add_alias(at_, *entry);
    } else if (places_->types.contains(start)) {
      replace(at_, at_, sql_name(meant(*entry)));  // The row type of the table.
    } else if (named_by_drop(places_->dropped_at(start))) {
      replace(at_, at_, sql_name(meant(*entry)));
    }
  }

  /// DROP TABLE a, users; COMMENT ON TABLE users; DROP TRIGGER t ON users.
  [[nodiscard]] bool named_by_drop(Places::Named named) {
    static constexpr std::array<std::string_view, 3> words{"table", "sequence", "exists"};
    auto before = at_ - 1;
    if (named == Places::Named::behind_on) return is(before, "on");
    if (named != Places::Named::relations) return false;
    while (is(before, ",")) before -= is(before - 2, ".") ? 4 : 2;  // Over the names in front.
    return one_of(words, before);
  }

  /// INSERT INTO users, UPDATE users, DELETE FROM users, COPY users.
  [[nodiscard]] bool begins_text() {
    if (at_ == 1) return is(0, "update") || is(0, "copy");
    return at_ == 2 && ((is(0, "insert") && is(1, "into")) || (is(0, "delete") && is(1, "from")));
  }

  /// 'public.users'::regclass, nextval('users_id_seq'), and arguments of our own functions.
  void literal() {
    const auto text = tokens_.text(*tokens_.at(at_));
    if (text.size() > name_text_bytes_max || !text.starts_with('\'') || text.find('\\') != std::string_view::npos || text.size() < 3) return;
    std::string value;
    for (std::size_t i = 1; i + 1 < text.size(); ++i) {
      value += text[i];
      if (text[i] == '\'') ++i;
    }
    const auto name = parse_name(value);
    if (!name) return;
    if (is_argument_pair()) {
      const auto relation = parse_literal(at_ + 2);
      const auto* pair = relation ? named(QualifiedName{value, *relation}) : nullptr;
      if (pair == nullptr) return;
      replace(at_, at_, literal_of(pair->to.schema));
      replace(at_ + 2, at_ + 2, literal_of(pair->to.name));
      at_ += 2;
      return;
    }
    if (!names_relation_by_text()) return;
    const auto* entry = name->schema.empty() ? named(name->name) : named(*name);
    if (entry != nullptr) replace(at_, at_, literal_of(sql_name(name->schema.empty() ? meant(*entry) : entry->to)));
  }

  [[nodiscard]] std::optional<std::string> parse_literal(std::ptrdiff_t index) {
    const auto* token = tokens_.at(index);
    if (token == nullptr || token->kind != TokenKind::string) return std::nullopt;
    const auto text = tokens_.text(*token);
    if (text.size() < 3 || text.size() > name_text_bytes_max || text.find('\\') != std::string_view::npos) return std::nullopt;
    return std::string{text.substr(1, text.size() - 2)};
  }

  /// pgjanus.define_sequence('public', 'users_id_seq', …)
  [[nodiscard]] bool is_argument_pair() {
    return is(at_ - 1, "(") && is(at_ - 2, "define_sequence") && is(at_ + 1, ",");
  }

  [[nodiscard]] bool names_relation_by_text() {
    static constexpr std::array<std::string_view, 14> functions{
        "nextval", "currval", "setval", "to_regclass", "pg_get_serial_sequence", "pg_relation_size",
        "pg_table_size", "pg_total_relation_size", "define_options", "define_identity", "place_index", "adopt_index",
        "place_foreign_key", "validate"};
    if (is(at_ + 1, "::") && is(at_ + 2, "regclass")) return true;
    if (is(at_ + 1, "::") && is(at_ + 2, "pg_catalog") && is(at_ + 4, "regclass")) return true;
    if (is(at_ - 1, "regclass")) return true;
    if (is(at_ - 1, "(")) return one_of(functions, at_ - 2);
    if (is(at_ - 1, ",") && is(at_ - 3, "(")) return is(at_ - 4, "place_index");
    return is(at_ - 1, ",") && is(at_ - 3, ",") && is(at_ - 5, "(") && is(at_ - 6, "place_foreign_key");
  }

  std::string_view text_;
  TextOf whose_;
  const std::vector<Rewriter::Entry>& entries_;
  TokenWindow tokens_;
  std::optional<Places> places_;
  std::ptrdiff_t at_ = 0;
  std::vector<Edit> edits_;  // Of the token that is looked at.
  std::string result_;       // Of the text up to done_.
  std::size_t done_ = 0;
};

}  // namespace

Rewriter::Rewriter(std::vector<Entry> entries) : entries_{std::move(entries)} {}

bool Rewriter::may_concern(std::string_view text) const noexcept {
  const auto same = [](char a, char b) { return lower(a) == lower(b); };
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    const auto& name = entry.from.name;
    // A quote in a name is doubled in the text: looked for up to it.
    const auto end = std::find(name.begin(), name.end(), '"');
    return std::search(text.begin(), text.end(), name.begin(), end, same) != text.end();
  });
}

bool Rewriter::hides(std::string_view text) const {
  // Cheap first: who says TEMP at all?
  constexpr std::string_view word = "temp";
  const auto same = [](char a, char b) { return lower(a) == b; };
  if (std::search(text.begin(), text.end(), word.begin(), word.end(), same) == text.end()) return false;
  if (text.size() > parse_bytes_max) return text.size() <= Lexer::bytes_max && makes_temporary(text, entries_);
  const auto places = places_of(std::string{text});
  return places && std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return places->temporary.contains(entry.from.name);
  });
}

std::optional<std::string> Rewriter::rewrite(std::string_view text, TextOf whose) const {
  if (!readable(text)) return std::nullopt;
  return Rewriting{text, whose, entries_, places_in(text), Extent::whole}.run();
}

std::optional<std::string> Rewriter::rewrite_head(std::string_view head, TextOf whose) const {
  if (!readable(head)) return std::nullopt;
  return Rewriting{head, whose, entries_, std::nullopt, Extent::head}.run();
}

bool Rewriter::readable(std::string_view text) const noexcept {
  return text.size() <= Lexer::bytes_max && may_concern(text) && text.find('\0') == std::string_view::npos;
}

}  // namespace pgjanus
