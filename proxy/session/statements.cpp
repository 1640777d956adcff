#include "proxy/session/statements.hpp"

#include "router/prepared.hpp"

namespace pgjanus {

namespace {

constexpr StatementClass anything{};  // `other`: assume the worst.

}  // namespace

void Statements::parse(const wire::ParseView& parse) {
  if (parse.statement.empty()) {
    if (!unnamed_) unnamed_.emplace();
    unnamed_->kept = parse.query.size() <= text_max;
    unnamed_->text.assign(unnamed_->kept ? parse.query : std::string_view{});
    unnamed_->types = parse.parameter_types;
    unnamed_->kind.reset();
    return;
  }
  const auto found = named_.find(known_part(parse.statement));
  if (found != named_.end()) {
    // The server refuses a name that is taken, unless a Close of it was lost on us: which text the
    // name means is not known here any more.
    if (found->second.text == parse.query) return;
    bytes_ -= found->second.text.size();
    found->second = Statement{.text = {}, .types = {}, .kind = anything, .judged_by = nullptr,
                              .kept = false};
    return;
  }
  Statement statement{.text = {}, .types = parse.parameter_types, .kind = {}, .judged_by = nullptr,
                      .kept = parse.query.size() <= text_max &&
                              bytes_ + parse.query.size() <= total_max};
  if (statement.kept) {
    statement.text = parse.query;
    bytes_ += statement.text.size();
  } else {
    statement.kind = anything;
  }
  named_.emplace(std::string{known_part(parse.statement)}, std::move(statement));
}

void Statements::parse_unseen(std::string_view name) {
  close(name);
  Statement unseen{.text = {}, .types = {}, .kind = anything, .judged_by = nullptr, .kept = false};
  if (name.empty())
    unnamed_ = std::move(unseen);
  else
    named_.emplace(std::string{known_part(name)}, std::move(unseen));
}

void Statements::close(std::string_view name) {
  if (name.empty()) {
    unnamed_.reset();
    return;
  }
  const auto found = named_.find(known_part(name));
  if (found == named_.end()) return;
  bytes_ -= found->second.text.size();
  named_.erase(found);
}

void Statements::clear() {
  named_.clear();
  unnamed_.reset();
  bytes_ = 0;
}

Statement* Statements::find(std::string_view name) {
  if (name.empty()) return unnamed_ ? &*unnamed_ : nullptr;
  const auto found = named_.find(known_part(name));
  return found == named_.end() ? nullptr : &found->second;
}

}  // namespace pgjanus
