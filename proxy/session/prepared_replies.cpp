// Prepared statements in transaction pooling: what the server's replies make of what we believe it has,
// and of the client's names.

#include <limits>

#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

/// Of a server's unnamed statement: it may have one, and nobody knows whose.
constexpr auto unnamed_unknown = std::numeric_limits<std::uint64_t>::max();

}  // namespace

/// The server has done what was asked with this mark.
void Session::note_answered(Server& server, const Mark& mark) {
  switch (mark.what) {
    case Mark::What::parse:
      server.statements.confirmed(mark.statement);
      names_.parse_answered(mark.statement);
      break;
    case Mark::What::known_parse: names_.parse_answered(mark.statement); break;
    case Mark::What::own_parse: server.statements.confirmed(mark.statement); break;
    case Mark::What::close: names_.close_answered(); break;
    case Mark::What::unnamed:
      if (!unnamed_before_.empty()) unnamed_before_.pop_front();
      break;
    case Mark::What::none:
    case Mark::What::use:
    case Mark::What::refused:
    case Mark::What::own_close:
    case Mark::What::own_nothing:
    case Mark::What::own_unnamed: break;
  }
}

/// What failed or was skipped after an error. What the server has of it is not known: a Close goes
/// before the next Parse.
void Session::settle_lost(Server& server, Loss first) {
  bool failed = first != Loss::skipped;
  for (const auto& mark : server.exchange.take_lost()) {
    switch (mark.what) {
      case Mark::What::parse:
        server.statements.distrust(mark.statement);
        names_.parse_lost(mark.statement);
        break;
      case Mark::What::known_parse: names_.parse_lost(mark.statement); break;
      case Mark::What::own_parse:
      case Mark::What::own_close: server.statements.distrust(mark.statement); break;
      case Mark::What::close: names_.close_lost(); break;
      case Mark::What::unnamed: lose_unnamed(failed); [[fallthrough]];
      case Mark::What::own_unnamed: server.place.unnamed = unnamed_unknown; break;
      case Mark::What::use:
        if (failed && first == Loss::plan_is_old) {
          // The schema has changed. Here it is parsed anew, and who prepares it again gets a new one.
          server.statements.distrust(mark.statement);
          if (const auto* named = names_.find(names_.name_of(mark.statement)))
            worker_.texts.retire(*named->prepared);
        }
        break;
      case Mark::What::refused:
        if (!refused_.empty()) {
          if (failed) refused_name_ = std::move(refused_.front());
          refused_.pop_front();
        }
        break;
      case Mark::What::own_nothing:
      case Mark::What::none: break;
    }
    failed = false;
  }
}

/// An error that names a statement as the server knows it: with the client's name instead.
bool Session::renames_error(Server& server, const wire::Piece& piece) {
  const auto body = piece.body();
  const std::string_view text{reinterpret_cast<const char*>(body.data()), body.size()};
  if (text.find(prepared_prefix) == std::string_view::npos) return false;
  auto error = wire::decode_error_fields(body);
  if (!error) return false;
  bool changed = false;
  for (auto& [code, value] : error->fields) {
    const auto at = value.find(prepared_prefix);
    if (code != 'M' || at == std::string::npos) continue;
    const auto digits = at + prepared_prefix.size();
    const auto end = std::min(value.find_first_not_of("0123456789", digits), value.size());
    if (end == digits || end - digits > 9) continue;
    const auto id = static_cast<std::uint32_t>(std::stoul(value.substr(digits, end - digits)));
    if (error->sqlstate() == "26000" && at > 0 && value[at - 1] == '"') server.statements.distrust(id);
    auto name = id == 0 ? std::exchange(refused_name_, {}) : names_.name_of(id);
    if (name.empty() && id == deallocated_.second) name = deallocated_.first;
    if (name.empty()) continue;
    value.replace(at, end - at, name);
    changed = true;
  }
  if (!changed) return false;
  replacement_.clear();
  wire::encode_error_response(replacement_, *error);
  return true;
}

/// The tag of a command that takes prepared statements away.
void Session::note_deallocated(Server& server, std::string_view tag) {
  if (tag != "DEALLOCATE") {
    names_.clear();
    server.statements.clear();
  } else if (!deallocating_.empty()) {
    const auto& [name, id] = deallocating_.front();
    names_.remove(name);
    server.statements.forget(id);
    deallocated_ = std::move(deallocating_.front());
    deallocating_.pop_front();
  }
}

}  // namespace pgjanus
