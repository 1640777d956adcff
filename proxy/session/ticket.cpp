// Classes of statements, and commits that wait until both databases have them.

#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

/// Encodings whose multi-byte characters may hold a backslash or quote byte (pg_wchar.h,
/// PG_ENCODING_BE_LAST): the parser would read other texts than the server does.
constexpr std::string_view unsafe_encodings[] = {"SJIS", "BIG5", "GBK", "UHC", "GB18030",
                                                 "JOHAB", "SHIFT_JIS_2004"};

}  // namespace

void Session::look_at_encoding() {
  const auto& known = main_ ? main_->reported : told_;
  plain_text_ = known.get("standard_conforming_strings") == "on";
  for (const auto encoding : unsafe_encodings)
    if (known.get("client_encoding") == encoding) plain_text_ = false;
}

bool Session::classifying() const noexcept {
  return view().catalog && (pooled() || view().mirroring || view().reads.kind != ReadsPolicy::Kind::primary);
}

StatementClass Session::class_of(std::string_view text) {
  if (!plain_text_ || !classifying()) return {};
  return as_of_now(worker_.class_of(text));
}

/// Until the catalog has been read again after DDL, what a statement does to its session is not known.
StatementClass Session::as_of_now(StatementClass kind) const noexcept {
  const bool nothing = kind.kind == StatementKind::begin || kind.kind == StatementKind::finish ||
                       kind.kind == StatementKind::empty;
  if (pooled() && !nothing && view().catalog_as_of < worker_.shared.schema->now()) kind.touches_session = true;
  return kind;
}

StatementClass Session::class_of_statement(std::string_view name) {
  if (pooled() && !name.empty()) {
    const auto* named = names_.find(name);
    if (named == nullptr || !named->prepared->kept || !classifying()) return {};
    const auto& prepared = *named->prepared;
    const void* catalog = view().catalog.get();
    if (!prepared.kind || prepared.judged_by != catalog) {
      prepared.kind = plain_text_ ? worker_.class_of(prepared.text) : StatementClass{};
      prepared.judged_by = catalog;
    }
    return as_of_now(*prepared.kind);
  }
  auto* statement = statements_.find(name);
  if (statement == nullptr || !statement->kept || !classifying()) return {};
  const auto* catalog = view().catalog.get();
  if (!statement->kind || statement->judged_by != catalog) {
    statement->kind = plain_text_ ? worker_.class_of(statement->text) : StatementClass{};
    statement->judged_by = catalog;
  }
  return as_of_now(*statement->kind);
}

/// Whether the message at the front may run DDL while the catalog that a flip has left is still being read.
/// A flip waits for it like for any transaction, if it is inside one; the engine limits how long that takes.
bool Session::waits_for_catalog(wire::ByteView message) {
  if (!view().catalog_is_read || message.empty()) return false;
  const auto type = static_cast<wire::Frontend>(message.front());
  if (type == wire::Frontend::bind) {
    const auto names = wire::decode_bind_names(message.subspan(std::min<std::size_t>(5, message.size())));
    return !names || class_of_statement(names->statement).defines;
  }
  if (type != wire::Frontend::query && type != wire::Frontend::parse) return false;
  wire::Framer framer{buffer_bytes};
  const auto piece = framer.next(message);
  if (!piece) return false;
  if (!*piece || !(*piece)->whole()) return true;  // What is not here may be DDL.
  if (type == wire::Frontend::query) {
    const auto text = wire::decode_query((*piece)->body());
    return text && class_of(*text).defines;
  }
  const auto parse = wire::decode_parse((*piece)->body());
  return parse && class_of(parse->query).defines;
}

/// Whether the message at the front has to wait where it stands.
bool Session::stays_back(wire::ByteView message) {
  return (pooled() && waits_for_answers(message)) || (in_batch_ && waits_for_catalog(message));
}

void Session::note_query(std::string_view text, bool whole) {
  if (whole) note_custom_names(text, custom_names_);
  auto kind = whole ? class_of(text) : StatementClass{};
  if (!whole) kind.defines = may_define(text);
  note_kind(kind);
}

void Session::note_statement_use(std::string_view name) { note_kind(class_of_statement(name)); }

void Session::note_kind(StatementClass kind) {
  worker_.counters.queries[active_->side][static_cast<std::size_t>(kind.kind)].add();
  if (kind.touches_session) touched_ = dirty_ = true;
  if (kind.kind == StatementKind::ddl) reshaped_ = true;
  if (kind.several || !classifying()) tags_tell_ = true;
  if (view().mirroring && pgjanus::may_write(kind.kind)) wrote_.set(true);
  if (kind.defines && view().mirroring) defines_.set();
  // Whether an error or ROLLBACK undoes all of it: not when a COMMIT may have gone before.
  const bool finish = kind.kind == StatementKind::finish;
  if (kind.several || kind.kind == StatementKind::other || kind.kind == StatementKind::session)
    undoable_ = false;
  if (finish ? uses_ > 0 : finish_seen_) undoable_ = false;
  finish_seen_ = finish_seen_ || finish;
  ++uses_;
  const bool autocommit = active_->exchange.status() == wire::TransactionStatus::idle;
  may_have_committed_ = finish || kind.several || kind.kind == StatementKind::other ||
                        (autocommit && kind.kind != StatementKind::read &&
                         kind.kind != StatementKind::begin);
}

/// At a ReadyForQuery of the primary: draws a ticket when something may have been committed.
/// True: the client's reply waits for it.
bool Session::needs_ticket(const Server& server) {
  const bool idle = server.exchange.status() == wire::TransactionStatus::idle;
  const bool undone = (failed_ || rolled_back_) && undoable_;
  const bool committed = wrote_ && ((idle && !undone) || commit_seen_);
  // Pipelines: what was sent behind this belongs to a later ReadyForQuery, and may have written.
  if (!server.exchange.running()) {
    if (idle) {
      wrote_.set(false);
      defines_.clear();
    }
    undoable_ = true;
    finish_seen_ = false;
    uses_ = 0;
  }
  if (!committed || !view().mirroring) return false;
  ticket_ = worker_.shared.tickets.draw();
  return view().wait_for_mirror;
}

/// Group commit across two databases: at most acknowledge_wait, and not beyond the moment in which
/// the engine gives up waiting for everybody.
asio::awaitable<void> Session::wait_for_ticket() {
  const auto start = Clock::now();
  const auto deadline = start + view().acknowledge_wait;
  const auto& tickets = worker_.shared.tickets;
  ticket_waiting_ = true;
  ticket_cancelled_ = false;
  worker_.wait_ticket(*this);
  bool late = false;
  while (!ended_ && !ticket_cancelled_ && view().wait_for_mirror && !tickets.covered(ticket_)) {
    late = Clock::now() >= deadline;
    if (late) break;
    co_await ticket_alarm_.wait_until(deadline);
  }
  worker_.forget_ticket(*this);
  ticket_waiting_ = false;
  worker_.counters.commit_wait_seconds.observe(Clock::now() - start);
  if (late) {
    worker_.counters.commits_unacknowledged.add();
    if (worker_.shared.on_unacknowledged) worker_.shared.on_unacknowledged();
  }
}

}  // namespace pgjanus
