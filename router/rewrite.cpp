#include "router/rewrite.hpp"

#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>

#include <algorithm>
#include <array>

#include "router/name_places.hpp"
#include "router/parse_tree.hpp"

namespace pgjanus {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

struct Token {
  std::size_t start = 0, end = 0;
  PgQuery__Token kind = PG_QUERY__TOKEN__NUL;
  std::string_view text;
};

/// The tokens of a text without comments; nothing when the scanner refuses it.
std::optional<std::vector<Token>> tokens_of(const std::string& text) {
  const auto scan = pg_query_scan(text.c_str());
  std::optional<std::vector<Token>> tokens;
  if (scan.error == nullptr) {
    auto* result = pg_query__scan_result__unpack(nullptr, scan.pbuf.len,
                                                 reinterpret_cast<const std::uint8_t*>(scan.pbuf.data));
    if (result != nullptr) {
      tokens.emplace();
      for (std::size_t i = 0; i < result->n_tokens; ++i) {
        const auto& token = *result->tokens[i];
        if (token.token == PG_QUERY__TOKEN__SQL_COMMENT || token.token == PG_QUERY__TOKEN__C_COMMENT) continue;
        const auto start = static_cast<std::size_t>(token.start), end = static_cast<std::size_t>(token.end);
        if (end > text.size() || start > end) continue;
        tokens->push_back({start, end, token.token, std::string_view{text}.substr(start, end - start)});
      }
      pg_query__scan_result__free_unpacked(result, nullptr);
    }
  }
  pg_query_free_scan_result(scan);
  return tokens;
}

/// The name that a token is, folded; empty when it is none. Keywords count: many may be names.
std::string word_of(const Token& token) {
  if (token.text.empty()) return {};
  auto name = parse_name(token.text);
  return name && name->schema.empty() ? std::move(name->name) : std::string{};
}

bool is_word(const Token& token, std::string_view word) {
  return token.text.size() == word.size() &&
         std::equal(word.begin(), word.end(), token.text.begin(), [](char a, char b) { return a == lower(b); });
}

/// Nothing for texts that are too long, too deep or no SQL.
std::optional<Places> places_in(const std::string& text) {
  return text.size() > Rewriter::parse_bytes_max ? std::nullopt : places_of(text);
}

template <std::size_t size>
bool one_of(const std::array<std::string_view, size>& words, const Token& token) {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return is_word(token, word); });
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
  Rewriting(const std::string& text, TextOf whose, const std::vector<Rewriter::Entry>& entries,
            std::vector<Token> tokens, std::optional<Places> places)
      : text_{text}, whose_{whose}, entries_{entries}, tokens_{std::move(tokens)}, places_{std::move(places)} {}

  std::optional<std::string> run() {
    for (at_ = 0; at_ < tokens_.size(); ++at_) {
      if (tokens_[at_].kind == PG_QUERY__TOKEN__SCONST) {
        literal();
        continue;
      }
      const auto word = word_of(tokens_[at_]);
      if (word.empty() || is(at_ - 1, ".")) continue;
      if (is(at_ + 1, ".")) {
        qualified(word);
      } else {
        alone(word);
      }
    }
    if (edits_.empty()) return std::nullopt;
    std::string result;
    std::size_t done = 0;
    std::sort(edits_.begin(), edits_.end(), [](const Edit& a, const Edit& b) { return a.start < b.start; });
    for (const auto& edit : edits_) {
      result.append(text_, done, edit.start - done);
      // Quotes must not grow together with what stands beside: "a"users, u&users, users"u".
      if (edit.by.front() == '"' && (result.ends_with('"') || result.ends_with('&'))) result += ' ';
      result.append(edit.by);
      if (edit.by.back() == '"' && edit.end < text_.size() && text_[edit.end] == '"') result += ' ';
      done = edit.end;
    }
    return result.append(text_, done);
  }

 private:
  struct Edit {
    std::size_t start, end;
    std::string by;
  };

  [[nodiscard]] bool is(std::size_t token, std::string_view text) const {
    return token < tokens_.size() && is_word(tokens_[token], text);
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
  void replace(std::size_t first, std::size_t last, std::string by) {
    edits_.push_back({tokens_[first].start, tokens_[last].end, std::move(by)});
  }

  /// schema . name
  void qualified(const std::string& schema) {
    if (at_ + 2 >= tokens_.size()) return;
    const auto name = word_of(tokens_[at_ + 2]);
    const auto* entry = name.empty() ? nullptr : named(QualifiedName{schema, name});
    if (entry == nullptr) return;
    const auto start = tokens_[at_].start;
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
  [[nodiscard]] bool names_setting() const {
    static constexpr std::array<std::string_view, 5> words{"set", "local", "session", "show", "reset"};
    return at_ > 0 && one_of(words, tokens_[at_ - 1]);
  }

  /// What the tree has no relation for, and is none: a setting, a field of a column, a function.
  [[nodiscard]] bool no_relation(std::size_t start) const {
    if (places_->types.contains(start)) return false;
    return is(at_ + 3, "(") || names_setting() || places_->targets.contains(start) ||
           places_->dropped_at(start) == Places::Named::functions;
  }

  /// A parenthesis behind it begins a list of columns, and not of arguments.
  [[nodiscard]] bool names_relation(std::size_t before) const {
    static constexpr std::array<std::string_view, 6> words{"references", "into", "table", "exists", "copy", "only"};
    return before < tokens_.size() && one_of(words, tokens_[before]);
  }

  /// `SELECT users.id FROM auth.people AS users`.
  void add_alias(std::size_t last, const Rewriter::Entry& entry) {
    const auto first = last >= 2 && is(last - 1, ".") ? last - 2 : last;
    const bool enclosed = is(first - 1, "(") && is(first - 2, "only") && is(last + 1, ")");
    const auto before = first - (enclosed ? 3 : is(first - 1, "only") ? 2 : 1);
    if (is(before, "table")) return;  // TABLE users: no columns can be named there.
    auto behind = last;
    if (enclosed) behind = last + 1;
    else if (is(last + 1, "*")) behind = last + 1;
    const auto end = tokens_[behind].end;
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
    const auto* entry = named(name);
    if (entry == nullptr) return;
    const auto start = tokens_[at_].start;
    if (!places_) {
      if (!begins_text()) return;
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
  [[nodiscard]] bool named_by_drop(Places::Named named) const {
    static constexpr std::array<std::string_view, 3> words{"table", "sequence", "exists"};
    auto before = at_ - 1;
    if (named == Places::Named::behind_on) return is(before, "on");
    if (named != Places::Named::relations) return false;
    while (is(before, ",")) before -= is(before - 2, ".") ? 4 : 2;  // Over the names in front.
    return before < tokens_.size() && one_of(words, tokens_[before]);
  }

  /// INSERT INTO users, UPDATE users, DELETE FROM users, COPY users.
  [[nodiscard]] bool begins_text() const {
    if (at_ == 1) return is(0, "update") || is(0, "copy");
    return at_ == 2 && ((is(0, "insert") && is(1, "into")) || (is(0, "delete") && is(1, "from")));
  }

  /// 'public.users'::regclass, nextval('users_id_seq'), and arguments of our own functions.
  void literal() {
    const auto text = tokens_[at_].text;
    if (!text.starts_with('\'') || text.find('\\') != std::string_view::npos || text.size() < 3) return;
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

  [[nodiscard]] std::optional<std::string> parse_literal(std::size_t token) const {
    if (token >= tokens_.size() || tokens_[token].kind != PG_QUERY__TOKEN__SCONST) return std::nullopt;
    const auto text = tokens_[token].text;
    if (text.size() < 3 || text.find('\\') != std::string_view::npos) return std::nullopt;
    return std::string{text.substr(1, text.size() - 2)};
  }

  /// pgjanus.define_sequence('public', 'users_id_seq', …)
  [[nodiscard]] bool is_argument_pair() const {
    return is(at_ - 1, "(") && is(at_ - 2, "define_sequence") && is(at_ + 1, ",");
  }

  [[nodiscard]] bool names_relation_by_text() const {
    static constexpr std::array<std::string_view, 12> functions{
        "nextval", "currval", "setval", "to_regclass", "pg_get_serial_sequence", "pg_relation_size",
        "pg_table_size", "pg_total_relation_size", "define_options", "define_identity", "place_index", "validate"};
    if (is(at_ + 1, "::") && is(at_ + 2, "regclass")) return true;
    if (is(at_ + 1, "::") && is(at_ + 2, "pg_catalog") && is(at_ + 4, "regclass")) return true;
    if (is(at_ - 1, "regclass")) return true;
    if (is(at_ - 1, "(")) return at_ >= 2 && one_of(functions, tokens_[at_ - 2]);
    return is(at_ - 1, ",") && is(at_ - 3, "(") && is(at_ - 4, "place_index");
  }

  const std::string& text_;
  TextOf whose_;
  const std::vector<Rewriter::Entry>& entries_;
  std::vector<Token> tokens_;
  std::optional<Places> places_;
  std::vector<Edit> edits_;
  std::size_t at_ = 0;
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
  const auto places = places_in(std::string{text});
  return places && std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return places->temporary.contains(entry.from.name);
  });
}

std::optional<std::string> Rewriter::rewrite(std::string_view text, TextOf whose) const {
  if (text.size() > bytes_max || !may_concern(text)) return std::nullopt;
  const std::string terminated{text};
  if (terminated.find('\0') != std::string::npos) return std::nullopt;
  if (long_operator_run(terminated)) return std::nullopt;
  auto places = places_in(terminated);
  auto tokens = tokens_of(terminated);
  if (!tokens) return std::nullopt;
  return Rewriting{terminated, whose, entries_, std::move(*tokens), std::move(places)}.run();
}

}  // namespace pgjanus
