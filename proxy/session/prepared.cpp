// Prepared statements in transaction pooling: a client's names are its own, a server knows a
// statement by a name of ours, and is given it when it is used there. README.md, "Prepared
// statements".

#include "proxy/session/session.hpp"

namespace pgjanus {

using wire::Frontend;

namespace {

/// The same message (or the first piece of it) with another name, `before` bytes into the body.
void encode_renamed(wire::Bytes& out, const wire::Piece& piece, std::size_t before,
                    std::string_view old, std::string_view name) {
  const auto length = static_cast<std::uint32_t>(piece.size - 1 - old.size() + name.size());
  out.push_back(piece.type);
  for (int shift = 24; shift >= 0; shift -= 8)
    out.push_back(static_cast<std::uint8_t>(length >> static_cast<unsigned>(shift)));
  const auto body = piece.body();
  out.insert(out.end(), body.begin(), body.begin() + static_cast<std::ptrdiff_t>(before));
  out.insert(out.end(), name.begin(), name.end());
  const auto rest = body.subspan(before + old.size());
  out.insert(out.end(), rest.begin(), rest.end());
}

/// Settings that no constant of a statement is read under: sessions that differ in them share texts.
constexpr std::string_view unread_settings[] = {
    "application_name", "idle_in_transaction_session_timeout", "idle_session_timeout",
    "lock_timeout", "statement_timeout", "work_mem"};

/// Whether a text begins with DISCARD or DEALLOCATE.
bool forgets(std::string_view text) noexcept {
  const auto at = text.find_first_not_of(" \t\r\n");
  if (at == std::string_view::npos || (text[at] | 0x20) != 'd') return false;
  const auto begins = [&](std::string_view word) {
    const auto there = text.substr(at, word.size());
    return std::equal(there.begin(), there.end(), word.begin(), word.end(),
                      [](char one, char other) { return (one | 0x20) == other; });
  };
  return begins("discard") || begins("deallocate");
}

}  // namespace

/// What stands before this message goes out as it came.
void Session::copy_up_to(const wire::Piece& piece) {
  const auto at = static_cast<std::size_t>(piece.bytes.data() - scanned_.data());
  const auto before = scanned_.subspan(copied_, at - copied_);
  worker_.outgoing.insert(worker_.outgoing.end(), before.begin(), before.end());
  copied_ = at;
}

/// All that this session's texts are analysed under; sessions that agree share statements.
std::string Session::text_context() const {
  std::string context;
  for (const auto& [name, value] : state_->settings) {
    if (std::find(std::begin(unread_settings), std::end(unread_settings), name) != std::end(unread_settings))
      continue;
    context += name + '\0' + value + '\0';
  }
  // What was analysed before the schema changed is not what it would be now.
  context += "\1" + std::to_string(worker_.shared.schema->now());
  // Temporary tables come before others of their name.
  if (!pin_.empty()) context += "\1" + std::to_string(number_) + '\1' + std::to_string(read_backs_);
  // Settings of a lease that has not been asked for yet are this session's alone.
  if (dirty_) context += "\1" + std::to_string(number_) + '\0' + std::to_string(batch_);
  return context;
}

/// Whether this message of the client can be renamed only when what was sent before it has been
/// answered: it names a statement whose Parse, in an earlier batch, may have failed, or follows a
/// DEALLOCATE ALL. Costs nothing unless a client pipelines.
bool Session::waits_for_answers(wire::ByteView message) const {
  if (!active_ || active_->exchange.ready_owed() == 0 || active_->exchange.copying_in()) return false;
  const auto type = static_cast<Frontend>(message.front());
  const bool uses = type == Frontend::bind || type == Frontend::describe;
  if (type == Frontend::query && message.size() > 5) {
    const auto body = message.subspan(5);
    return forgets({reinterpret_cast<const char*>(body.data()), body.size()});
  }
  if ((!uses && type != Frontend::parse && type != Frontend::close) || message.size() < 7) return false;
  if (forgetting_ || !deallocating_.empty()) return true;
  wire::FieldReader fields{message.subspan(5)};
  if (type == Frontend::bind) fields.cstring();
  if ((type == Frontend::describe || type == Frontend::close) && fields.byte() != 'S') return false;
  const auto name = fields.cstring();
  // Should its Parse have been skipped, the server has another one, perhaps another client's.
  if (uses && name.empty()) {
    // Its batch is not answered yet.
    const bool brought = brought_batch_ != batch_ && batch_ - brought_batch_ <= active_->exchange.ready_owed();
    return brought || (!unnamed_before_.empty() && unnamed_batch_ != batch_);
  }
  if (type == Frontend::parse && name.empty()) return forgets(fields.cstring());
  // Where the server has it already we answer a Parse, and must know whether the transaction has failed meanwhile.
  if (type == Frontend::parse && !name.empty()) return true;
  const auto* named = name.empty() ? nullptr : const_cast<ClientStatements&>(names_).find(name);
  if (named == nullptr) return names_.closing(name);
  if (named->tentative && named->batch != batch_) return true;
  const auto& there = active_->statements;
  const auto id = named->prepared->id;
  return uses && there.state(id) == ServerStatements::State::sent && !there.usable(id, batch_);
}

/// Names of statements in a message of the client, replaced by those that the server knows; what the
/// server lacks goes before it. `sent_as` and `mark` are what the server is to be asked.
void Session::rename(const wire::Piece& piece, Frontend& sent_as, Mark& mark) {
  switch (sent_as) {
    case Frontend::parse: return rename_parse(piece, sent_as, mark);
    case Frontend::bind: {
      const auto names = wire::decode_bind_names(piece.body());
      if (!names) return;
      return rename_use(piece, names->portal.size() + 1, names->statement, mark);
    }
    case Frontend::describe: {
      const auto target = wire::decode_target(piece.body());
      if (piece.whole() && target && target->kind == 'S') rename_use(piece, 1, target->name, mark);
      return;
    }
    case Frontend::close: return rename_close(piece, mark);
    case Frontend::query: {
      end_unnamed();  // A simple query destroys it.
      if (!piece.whole()) return;
      const auto text = wire::decode_query(piece.body());
      const auto renamed = text ? rename_deallocate(piece, *text) : std::nullopt;
      if (!renamed) return;
      wire::encode_query(worker_.outgoing, *renamed);
      copied_ += piece.bytes.size();
      return;
    }
    default: return;
  }
}

void Session::rename_parse(const wire::Piece& piece, Frontend& sent_as, Mark& mark) {
  wire::ParseView parse;
  if (piece.whole()) {
    auto decoded = wire::decode_parse(piece.body());
    if (!decoded) return;
    parse = std::move(*decoded);
  } else {
    wire::FieldReader fields{piece.body()};
    parse.statement = fields.cstring();
  }
  if (parse.statement.empty()) {
    begin_unnamed();
    mark = {Mark::What::unnamed, 0};
    const auto renamed = piece.whole() ? rename_deallocate(piece, parse.query) : std::nullopt;
    if (!renamed) return;
    wire::encode_parse(worker_.outgoing, "", *renamed, parse.parameter_types);
    copied_ += piece.bytes.size();
    return;
  }
  copy_up_to(piece);
  auto& out = worker_.outgoing;
  auto* taken = names_.find(parse.statement);
  if (taken != nullptr) return refuse_parse(piece, parse.statement, mark);
  const auto prepared = piece.whole()
                            ? worker_.texts.intern(parse.query, parse.parameter_types, text_context(), active_->side)
                            : worker_.texts.unseen();
  names_.add(parse.statement, prepared, batch_);
  long_id_ = prepared->id;
  if (!prepared->kept) dirty_ = true;  // It keeps its server.
  auto& there = active_->statements;
  const bool aborted = active_->exchange.status() == wire::TransactionStatus::failed;  // It refuses most.
  if (!aborted && there.usable(prepared->id, batch_)) {
    // Nothing to do: the CloseComplete of a name that means nothing becomes the ParseComplete.
    there.use(prepared->id);
    wire::encode_close(out, 'S', prepared_nothing);
    sent_as = Frontend::close;
    mark = {Mark::What::known_parse, prepared->id};
  } else {
    make_room(*prepared);
    encode_renamed(out, piece, 0, parse.statement, prepared->name());
    there.sent(prepared->id, prepared->bytes(), batch_);
    mark = {Mark::What::parse, prepared->id};
  }
  copied_ += piece.bytes.size();
}

/// A Parse of a name that is taken. The server analyses it, as it would have, and refuses the name last:
/// one of ours that is taken by a statement that means nothing. An aborted transaction takes that, too.
void Session::refuse_parse(const wire::Piece& piece, std::string_view name, Mark& mark) {
  auto& out = worker_.outgoing;
  wire::encode_close(out, 'S', prepared_taken);
  active_->exchange.from_client(Frontend::close, {Mark::What::own_nothing, 0});
  wire::encode_parse(out, prepared_taken, "", {});
  active_->exchange.from_client(Frontend::parse, {Mark::What::own_nothing, 0});
  encode_renamed(out, piece, 0, name, prepared_taken);
  copied_ += piece.bytes.size();
  refused_.emplace_back(name);
  long_id_ = 0;
  mark = {Mark::What::refused, 0};
}

/// A Bind or Describe of a statement.
void Session::rename_use(const wire::Piece& piece, std::size_t before, std::string_view name, Mark& mark) {
  if (name.empty()) return bring_unnamed(piece);
  auto* named = names_.find(name);
  // A name of SQL PREPARE, or of nothing. Ours are nobody else's to use.
  if (named == nullptr && !name.starts_with(prepared_nothing)) return;
  copy_up_to(piece);
  if (named != nullptr) {
    if (named->used == 0) named->used = batch_;
    const auto prepared = as_analysed(named->prepared);
    ensure(prepared);
    encode_renamed(worker_.outgoing, piece, before, name, prepared->name());
    mark = {Mark::What::use, prepared->id};
  } else {
    encode_renamed(worker_.outgoing, piece, before, name, "no " + std::string{name});
  }
  copied_ += piece.bytes.size();
}

void Session::rename_close(const wire::Piece& piece, Mark& mark) {
  const auto target = wire::decode_target(piece.body());
  if (!piece.whole() || !target || target->kind != 'S') return;
  if (target->name.empty()) {
    put_off_unnamed();
    unnamed_id_ = active_->place.unnamed = 0;
    mark = {Mark::What::unnamed, 0};
    return;
  }
  const auto* named = names_.find(target->name);
  if (named == nullptr && !target->name.starts_with(prepared_nothing)) return;
  // Others may use it: the server keeps it until there is no room.
  copy_up_to(piece);
  wire::encode_close(worker_.outgoing, 'S', prepared_nothing);
  copied_ += piece.bytes.size();
  if (named == nullptr) return;
  if (!named->prepared->kept) dirty_ = true;
  names_.close(target->name);
  mark = {Mark::What::close, 0};
}

/// DEALLOCATE of a statement that was prepared by protocol: the text with the server's name, and
/// everything before the message copied. Nothing for other texts.
std::optional<std::string> Session::rename_deallocate(const wire::Piece& piece, std::string_view text) {
  if (!forgets(text)) return std::nullopt;
  const auto name = deallocated_name(text);
  const auto* named = name ? names_.find(*name) : nullptr;
  if (named == nullptr) {
    forgetting_ = true;  // DISCARD ALL, DEALLOCATE ALL: the tag of its reply tells.
    return std::nullopt;
  }
  const auto prepared = named->prepared;
  copy_up_to(piece);
  ensure(prepared);
  deallocating_.emplace_back(*name, prepared->id);
  return "DEALLOCATE " + prepared->name();
}

/// What the name stands for, as this session would have it analysed now: one that was prepared under other
/// settings is another one, where it has to be parsed again.
PreparedPtr Session::as_analysed(const PreparedPtr& prepared) {
  if (!prepared->kept || active_->statements.usable(prepared->id, batch_)) return prepared;
  const auto context = text_context();
  const auto settings = [](std::string_view of) { return of.substr(0, of.find('\1')); };
  if (prepared->context.empty() || settings(prepared->context) == settings(context)) return prepared;
  const auto now = worker_.texts.intern(prepared->text, prepared->types, context, prepared->side);
  names_.replace(prepared->id, now);
  return now;
}

/// The server has the statement when it comes to what is sent next.
void Session::ensure(const PreparedPtr& prepared) {
  auto& there = active_->statements;
  if (there.usable(prepared->id, batch_)) return there.use(prepared->id);
  if (!prepared->kept) return;  // The one server that has it is this session's.
  make_room(*prepared);
  wire::encode_parse(worker_.outgoing, prepared->name(), prepared->text, prepared->types_at(active_->side));
  there.sent(prepared->id, prepared->bytes(), batch_);
  active_->exchange.from_client(Frontend::parse, {Mark::What::own_parse, prepared->id});
}

void Session::make_room(const Prepared& coming) {
  auto& there = active_->statements;
  const auto close = [&](std::uint32_t id) {
    wire::encode_close(worker_.outgoing, 'S', std::string{prepared_prefix} + std::to_string(id));
    there.forget(id);
    active_->exchange.from_client(Frontend::close, {Mark::What::own_close, id});
  };
  if (there.state(coming.id) != ServerStatements::State::absent) close(coming.id);
  for (auto old = there.victim(coming.bytes()); old; old = there.victim(coming.bytes())) close(*old);
}

/// The unnamed statement of this session, where another client's or none is.
void Session::bring_unnamed(const wire::Piece& piece) {
  auto& there = active_->place.unnamed;
  if (there == unnamed_id_) return;
  copy_up_to(piece);
  brought_batch_ = batch_;
  const auto& mine = statements_.unnamed();
  auto own = Frontend::close;
  if (unnamed_id_ != 0 && mine && mine->kept) {
    const Prepared as_named{.text = {}, .context = {}, .types = mine->types, .side = unnamed_side_,
                            .kind = {}, .judged_by = nullptr};
    wire::encode_parse(worker_.outgoing, "", mine->text, as_named.types_at(active_->side));
    own = Frontend::parse;
  } else {
    wire::encode_close(worker_.outgoing, 'S', "");
    unnamed_id_ = 0;
  }
  there = unnamed_id_;
  active_->exchange.from_client(own, {Mark::What::own_unnamed, 0});
}

/// A Parse of it goes to active_. It, or a Close, may yet be skipped, and then the one before stands.
void Session::begin_unnamed() {
  put_off_unnamed();
  long_unnamed_ = unnamed_id_ = active_->place.unnamed = ++worker_.last_unnamed;
  unnamed_side_ = active_->side;
}

/// A Parse or Close of it is sent.
void Session::put_off_unnamed() {
  unnamed_before_.push_back({unnamed_id_, unnamed_side_, statements_.take_unnamed()});
  unnamed_batch_ = batch_;
}

void Session::end_unnamed() noexcept {
  unnamed_id_ = active_->place.unnamed = 0;
  for (auto& before : unnamed_before_) before = {};
}

/// The first unanswered Parse of it has failed, and left none, or was skipped.
void Session::lose_unnamed(bool failed) {
  if (unnamed_before_.empty()) return;
  auto before = std::move(unnamed_before_.front());
  unnamed_before_.pop_front();
  if (failed) before = {};
  if (!unnamed_before_.empty()) {
    unnamed_before_.front() = std::move(before);
    return;
  }
  unnamed_id_ = before.id;
  unnamed_side_ = before.side;
  statements_.put_unnamed(std::move(before.statement));
}

}  // namespace pgjanus
