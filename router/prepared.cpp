#include "router/prepared.hpp"

#include <algorithm>
#include <cctype>

namespace pgjanus {

namespace {

/// Shared pointers, hash nodes and names that come with a text.
constexpr std::size_t entry_bytes = 256;

/// FirstNormalObjectId of transam.h: OIDs from here on differ between databases.
constexpr std::uint32_t first_custom_oid = 16384;
bool custom(std::int32_t type) noexcept { return static_cast<std::uint32_t>(type) >= first_custom_oid; }

std::size_t hash_of(std::string_view text, const std::vector<std::int32_t>& types,
                    std::string_view context) {
  auto hash = std::hash<std::string_view>{}(text) * 31 + std::hash<std::string_view>{}(context);
  for (const auto type : types) hash = hash * 31 + static_cast<std::uint32_t>(type);
  return hash;
}

}  // namespace

std::string Prepared::name() const { return std::string{prepared_prefix} + std::to_string(id); }

std::vector<std::int32_t> Prepared::types_at(Side at) const {
  auto there = types;
  if (at == side) return there;
  for (auto& type : there)
    if (custom(type)) type = 0;
  return there;
}

std::size_t Prepared::bytes() const noexcept {
  return entry_bytes + text.size() + context.size() + types.size() * sizeof(std::int32_t);
}

PreparedPtr StatementTexts::make(Prepared prepared) {
  if (prepared.id == 0) prepared.id = ++last_id_;
  const auto bytes = prepared.bytes();
  *bytes_ += bytes;
  return {new Prepared{std::move(prepared)}, [sum = bytes_, bytes](const Prepared* gone) {
            *sum -= bytes;
            delete gone;
          }};
}

PreparedPtr StatementTexts::intern(std::string_view text, const std::vector<std::int32_t>& types,
                                   std::string_view context, Side side) {
  const bool any_custom = std::any_of(types.begin(), types.end(), custom);
  const auto hash = hash_of(text, types, context);
  const auto [begin, end] = by_hash_.equal_range(hash);
  for (auto at = begin; at != end; ++at) {
    auto known = at->second.lock();
    if (known && known->text == text && known->types == types && known->context == context &&
        (!any_custom || known->side == side))
      return known;
  }
  if (text.size() > text_max || *bytes_ + text.size() > bytes_max_) return unseen();
  auto made = make({.id = 0, .text = std::string{text}, .context = std::string{context},
                    .types = types, .side = side, .kept = true, .kind = {}, .judged_by = nullptr});
  by_hash_.emplace(hash, made);
  sweep();
  return made;
}

PreparedPtr StatementTexts::unseen() {
  return make({.id = 0, .text = {}, .context = {}, .types = {}, .side = {}, .kept = false, .kind = StatementClass{},
               .judged_by = nullptr});
}

void StatementTexts::retire(const Prepared& old) {
  const auto [begin, end] = by_hash_.equal_range(hash_of(old.text, old.types, old.context));
  for (auto at = begin; at != end; ++at) {
    if (at->second.lock().get() != &old) continue;
    by_hash_.erase(at);
    return;
  }
}

PreparedPtr StatementTexts::separate(std::string_view text, const std::vector<std::int32_t>& types,
                                     Side side, std::uint32_t id) {
  const bool kept = text.size() <= text_max && *bytes_ + text.size() <= bytes_max_;
  return make({.id = id, .text = kept ? std::string{text} : std::string{}, .context = {}, .types = types,
               .side = side, .kept = kept, .kind = StatementClass{}, .judged_by = nullptr});
}

void StatementTexts::sweep() {
  if (by_hash_.size() < sweep_at_) return;
  std::erase_if(by_hash_, [](const auto& one) { return one.second.expired(); });
  sweep_at_ = std::max<std::size_t>(1024, by_hash_.size() * 2);
}

ServerStatements::State ServerStatements::state(std::uint32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? State::absent : found->second->state;
}

bool ServerStatements::usable(std::uint32_t id, std::uint32_t batch) const {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return false;
  const auto& entry = *found->second;
  return entry.state == State::present || (entry.state == State::sent && entry.batch == batch);
}

void ServerStatements::use(std::uint32_t id) {
  if (const auto found = by_id_.find(id); found != by_id_.end())
    by_use_.splice(by_use_.begin(), by_use_, found->second);
}

void ServerStatements::sent(std::uint32_t id, std::size_t bytes, std::uint32_t batch) {
  forget(id);
  by_use_.push_front({id, batch, bytes, State::sent});
  by_id_.emplace(id, by_use_.begin());
  bytes_ += bytes;
}

void ServerStatements::confirmed(std::uint32_t id) {
  if (const auto found = by_id_.find(id); found != by_id_.end() && found->second->state == State::sent)
    found->second->state = State::present;
}

void ServerStatements::forget(std::uint32_t id) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return;
  bytes_ -= found->second->bytes;
  by_use_.erase(found->second);
  by_id_.erase(found);
}

void ServerStatements::distrust(std::uint32_t id) {
  if (by_id_.find(id) == by_id_.end()) sent(id, 0, 0);
  by_id_.at(id)->state = State::stale;
}

void ServerStatements::distrust_all() {
  for (auto& entry : by_use_)
    if (entry.state == State::present) entry.state = State::stale;
}

void ServerStatements::clear() {
  for (auto entry = by_use_.begin(); entry != by_use_.end();) {
    const auto id = entry->id;
    const bool stays = (entry++)->state == State::sent;
    if (!stays) forget(id);
  }
}

std::optional<std::uint32_t> ServerStatements::victim(std::size_t bytes) const {
  if (by_id_.size() < count_max && bytes_ + bytes <= bytes_max) return {};
  for (auto entry = by_use_.rbegin(); entry != by_use_.rend(); ++entry)
    if (entry->state != State::sent) return entry->id;
  return {};
}

ClientStatements::Named* ClientStatements::find(std::string_view name) {
  const auto found = names_.find(known_part(name));
  return found == names_.end() ? nullptr : &found->second;
}

void ClientStatements::add(std::string_view name, PreparedPtr prepared, std::uint32_t batch) {
  if (!prepared->kept) ++unkept_;
  name = known_part(name);
  tentative_.push_back({std::string{name}, prepared->id});
  names_.insert_or_assign(std::string{name}, Named{std::move(prepared), true, batch});
}

void ClientStatements::replace(std::uint32_t id, const PreparedPtr& prepared) {
  for (auto& [name, named] : names_) {
    if (named.prepared->id != id) continue;
    unkept_ += static_cast<std::size_t>(!prepared->kept) - static_cast<std::size_t>(!named.prepared->kept);
    named.prepared = prepared;
  }
}

void ClientStatements::erase(Names::iterator at) {
  if (!at->second.prepared->kept) --unkept_;
  names_.erase(at);
}

void ClientStatements::close(std::string_view name) {
  name = known_part(name);
  const auto found = names_.find(name);
  if (found == names_.end()) return;
  closing_.emplace_back(found->first, found->second);
  for (auto& unanswered : tentative_)
    if (unanswered.name == name) unanswered.closing = true;
  erase(found);
}

void ClientStatements::remove(std::string_view name) {
  name = known_part(name);
  const auto found = names_.find(name);
  if (found == names_.end()) return;
  if (found->second.tentative) forget_unanswered(name);
  erase(found);
}

void ClientStatements::forget_unanswered(std::string_view name) {
  std::erase_if(tentative_, [&](const auto& one) { return !one.closing && one.name == name; });
}

void ClientStatements::close_answered() {
  if (!closing_.empty()) closing_.pop_front();
}

bool ClientStatements::closing(std::string_view name) const {
  return std::any_of(closing_.begin(), closing_.end(), [name](const auto& one) { return one.first == known_part(name); });
}

/// The Close was skipped after an error: the name stands. A Parse that gave it anew came behind that in
/// the same batch, and is skipped, too.
void ClientStatements::close_lost() {
  if (closing_.empty()) return;
  auto& [name, named] = closing_.front();
  if (named.prepared) {
    if (const auto anew = names_.find(name); anew != names_.end()) erase(anew);
    if (!named.prepared->kept) ++unkept_;
    names_.emplace(name, named);
  }
  closing_.pop_front();
}

void ClientStatements::parse_answered(std::uint32_t id) {
  Unanswered of;
  if (auto* named = take_tentative(id, of)) named->tentative = false;
}

/// What the first unanswered Parse of this statement named, be it closed since; null when it means
/// nothing any more.
ClientStatements::Named* ClientStatements::take_tentative(std::uint32_t id, Unanswered& of) {
  const auto at = std::find_if(tentative_.begin(), tentative_.end(), [id](const auto& one) { return one.id == id; });
  if (at == tentative_.end()) return nullptr;
  of = std::move(*at);
  tentative_.erase(at);
  const auto meant = [id](const Named& named) { return named.tentative && named.prepared && named.prepared->id == id; };
  if (!of.closing) {
    auto* named = find(of.name);
    return named != nullptr && meant(*named) ? named : nullptr;
  }
  for (auto& [name, named] : closing_)
    if (name == of.name && meant(named)) return &named;
  return nullptr;
}

void ClientStatements::parse_lost(std::uint32_t id) {
  Unanswered of;
  auto* named = take_tentative(id, of);
  if (named == nullptr) return;
  if (of.closing)
    named->prepared = nullptr;  // Should its Close be lost, too, there is nothing to come back.
  else
    erase(names_.find(of.name));
}

void ClientStatements::clear() {
  for (auto name = names_.begin(); name != names_.end();) {
    const auto at = name++;
    if (!at->second.tentative) erase(at);
  }
}

std::string ClientStatements::name_of(std::uint32_t id) const {
  for (const auto& [name, named] : names_)
    if (named.prepared->id == id) return name;
  for (const auto& [name, named] : closing_)
    if (named.prepared && named.prepared->id == id) return name;
  return {};
}

std::optional<std::string> deallocated_name(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  const auto trim = [&] {
    while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  };
  const auto word = [&](std::string_view wanted) {
    if (text.size() < wanted.size()) return false;
    for (std::size_t i = 0; i < wanted.size(); ++i)
      if ((text[i] | 0x20) != wanted[i]) return false;
    if (text.size() > wanted.size() && !blank(text[wanted.size()])) return false;
    text.remove_prefix(wanted.size());
    trim();
    return true;
  };
  trim();
  if (!word("deallocate")) return {};
  word("prepare");
  std::string name;
  bool quoted = false;
  if (!text.empty() && text.front() == '"') {
    quoted = true;
    for (text.remove_prefix(1);; text.remove_prefix(1)) {
      if (text.empty()) return {};
      if (text.front() == '"') {
        text.remove_prefix(1);
        if (text.empty() || text.front() != '"') break;
      }
      name += text.front();
    }
  } else {
    while (!text.empty() && (std::isalnum(static_cast<unsigned char>(text.front())) != 0 ||
                             text.front() == '_' || text.front() == '$')) {
      name += static_cast<char>(std::tolower(static_cast<unsigned char>(text.front())));
      text.remove_prefix(1);
    }
  }
  trim();
  if (!text.empty() && text.front() == ';') text.remove_prefix(1);
  trim();
  if (!text.empty() || name.empty() || (!quoted && name == "all")) return {};
  return name;
}

}  // namespace pgjanus
