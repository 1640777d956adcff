// Server to client: read, look at the headers, keep back what waits for the mirror, write.

#include "proxy/log.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

using wire::Backend;

namespace {

/// Severity and SQLSTATE of an error whose end may not be here yet. Absent fields stay empty.
struct ErrorHead {
  std::string_view severity, sqlstate, message;
};
ErrorHead error_head(wire::ByteView body) {
  ErrorHead head;
  wire::FieldReader fields{body};
  while (const auto code = fields.byte()) {
    const auto text = fields.cstring();
    if (code == 'V' || (code == 'S' && head.severity.empty())) head.severity = text;
    if (code == 'C') head.sqlstate = text;
    if (code == 'M') head.message = text;
  }
  return head;
}

}  // namespace

/// What the scanner would not pass. False: the relay ends.
asio::awaitable<bool> Session::stop_server(ServerPtr server, Step step) {
  if (step.next == Next::violation) {
    log_event(LogLevel::error, "server_broke_protocol",
              {{"client", number_}, {"side", to_string(server->side)}});
    co_return false;
  }
  bool open = true;
  if (step.next == Next::ticket) {
    co_await wait_for_ticket();
    const auto held = server->in.data().first(step.held);
    open = co_await to_client_slowly(server, held);
  } else {
    // In place of the server's own words.
    const auto error = step.next == Next::fenced ? begin_again() : std::exchange(replacement_, {});
    open = co_await to_client_slowly(server, error);
  }
  server->in.drop(step.held);
  co_return open;
}

void Session::note_written(Server& server, std::size_t bytes) {
  server.in.drop(bytes);
  const auto* before = std::exchange(mid_message_, server.framer.inside() ? &server : nullptr);
  if (before != mid_message_) written_.notify();
  worker_.counters.bytes_out.add(bytes);
  worker_.counters.overhead_seconds.observe(Clock::now() - replied_at_);
}

bool Session::may_write(const Server& server) const noexcept {
  return !writing_ && stash_.empty() && (mid_message_ == nullptr || mid_message_ == &server);
}

asio::awaitable<bool> Session::to_client_slowly(ServerPtr server, wire::ByteView bytes) {
  while (client_.is_open() && (writing_ || (mid_message_ != nullptr && mid_message_ != server.get())))
    co_await written_.wait();
  writing_ = true;
  bool open = client_.is_open();
  if (open && !stash_.empty() && mid_message_ == nullptr) {
    const auto stash = std::exchange(stash_, {});
    open = co_await client_.write_all(stash);
  }
  if (open) open = co_await client_.write_all(bytes);
  writing_ = false;
  written_.notify();
  co_return open;
}

asio::awaitable<bool> Session::to_client(wire::ByteView bytes) {
  // Nobody's bytes: they go out between the messages of whoever writes.
  ServerPtr nobody;
  const bool open = co_await to_client_slowly(nobody, bytes);
  co_return open;
}

Session::Step Session::scan_server(Server& server) {
  const bool relayed = &server == main_.get() || &server == active_.get();
  if (server.answer != nullptr || !relayed) {
    while (swallow(server)) {
      if (server.answer == nullptr && relayed) return {0, Next::again};
    }
    return {0, Next::read};
  }
  const auto data = server.in.data();
  std::size_t at = 0, last_complete = 0;
  bool completed = false;
  while (at < data.size()) {
    const bool fresh = !server.framer.inside();
    const auto next = server.framer.next(data.subspan(at));
    if (!next) return {at, Next::violation};
    if (!*next) break;
    const auto& piece = **next;
    const auto begin = at;
    at += piece.bytes.size();
    const auto type = static_cast<Backend>(piece.type);
    if (!fresh || type == Backend::data_row || type == Backend::copy_data) continue;
    if (pooled() && (type == Backend::parse_complete || type == Backend::close_complete)) {
      const auto mark = server.exchange.answered_by(type);
      server.exchange.from_server(type, std::nullopt);
      note_answered(server, mark);
      if (mark.hidden()) return {begin, Next::hidden, at - begin};
      if (mark.what == Mark::What::known_parse)
        server.in.patch(begin, static_cast<std::uint8_t>(Backend::parse_complete));
      continue;
    }
    if (type == Backend::command_complete) {
      completed = true;
      last_complete = begin;
    }
    if (type == Backend::error_response && piece.whole() &&
        (retries(server, piece) || (!server.kept_batch.empty() && repairs(server, piece, data.first(begin))))) {
      server.in.drop(at);
      return {0, Next::again};
    }
    const bool fenced = type == Backend::error_response && piece.whole() && met_fence(server, piece);
    const bool hold = note_server_message(server, piece);
    if (fenced) return {begin, Next::fenced, at - begin};
    if (pooled() && type == Backend::error_response && piece.whole() && renames_error(server, piece))
      return {begin, Next::renamed, at - begin};
    if (hold) {
      const auto from = completed ? last_complete : begin;
      return {from, Next::ticket, at - from};
    }
    if (type == Backend::ready_for_query) completed = false;
  }
  return {at, Next::read};
}

/// Everything but rows. True: this ReadyForQuery waits for its ticket.
bool Session::note_server_message(Server& server, const wire::Piece& piece) {
  const auto type = static_cast<Backend>(piece.type);
  if (type == Backend::ready_for_query && piece.whole()) {
    const auto status = wire::decode_ready_for_query(piece.body());
    return status && note_ready(server, *status);
  }
  server.exchange.from_server(type, std::nullopt);
  if (violated_ && type == Backend::copy_in_response) gate_news();  // Nothing more comes from it.
  if (type == Backend::command_complete && piece.whole()) {
    note_complete(server, piece);
  } else if (type == Backend::error_response) {
    note_error(server, piece);
  } else if (type == Backend::parameter_status && piece.whole()) {
    note_parameter(server, piece);
    if (&server == main_.get())
      if (const auto status = wire::decode_parameter_status(piece.body()))
        told_.set(status->name, status->value);
  }
  return false;
}

void Session::note_parameter(Server& server, const wire::Piece& piece) {
  const auto status = wire::decode_parameter_status(piece.body());
  if (!status) return;
  server.reported.set(status->name, status->value);
  // Whatever set it: a function, a trigger, the end of a transaction.
  if (server.answer == nullptr) touched_ = dirty_ = true;
  if (&server == main_.get()) look_at_encoding();
}

void Session::note_error(Server& server, const wire::Piece& piece) {
  const auto head = error_head(piece.body());
  failed_ = true;
  if (server.exchange.any_lost()) settle_lost(server, head.sqlstate == "0A000" ? Loss::plan_is_old : Loss::failed);
  // PANIC too; a FATAL is the server's last message.
  if (head.severity == "FATAL" || head.severity == "PANIC") {
    server.dying = true;
    if (&server == active_.get() || &server == main_.get()) fatal_passed_ = true;
  }
}

void Session::note_complete(Server& server, const wire::Piece& piece) {
  const auto tag = wire::decode_command_complete(piece.body());
  if (!tag || tag->empty()) return;
  rolled_back_ = false;
  note_tag(*tag);
  switch (tag->front()) {
    case 'C':
      if (*tag == "COMMIT") commit_seen_ = true;
      break;
    case 'D':
      // The tags tell, whatever the text was (design.md section 10).
      if (pooled() && (*tag == "DISCARD ALL" || tag->starts_with("DEALLOCATE"))) note_deallocated(server, *tag);
      if (*tag == "DISCARD ALL" || *tag == "DEALLOCATE ALL") statements_.clear();
      break;
    case 'R':
      if (*tag == "ROLLBACK") rolled_back_ = true;
      break;
    default:
      break;
  }
}

/// Whether that was DDL, by tags where the text did not tell: several statements, or a block of code.
void Session::note_tag(std::string_view tag) noexcept {
  if (tag == "DO" || tag == "CALL") reshaped_ = true;
  if (tags_tell_ && (tag.starts_with("CREATE ") || tag.starts_with("ALTER ") || tag.starts_with("DROP ")))
    reshaped_ = true;
}

/// A transaction has ended: who hears of it from our client finds the schema as it is now.
void Session::note_schema_change() {
  if (reshaped_) {
    worker_.shared.schema->changed();
    worker_.shared.on_schema_change();
  }
  if (main_ && !main_->exchange.running()) reshaped_ = tags_tell_ = false;
}

bool Session::note_ready(Server& server, wire::TransactionStatus status) {
  server.exchange.from_server(Backend::ready_for_query, status);
  if ((reshaped_ || tags_tell_) && status == wire::TransactionStatus::idle && &server == main_.get()) note_schema_change();
  if (server.exchange.any_lost()) settle_lost(server, Loss::skipped);
  if (!server.exchange.running()) {
    forgetting_ = false;
    unnamed_before_.clear();
    refused_.clear();
  }
  if (!deallocating_.empty() && !server.exchange.running()) {
    for (const auto& [name, id] : deallocating_) server.statements.distrust(id);
    deallocating_.clear();
  }
  worker_.counters.query_seconds[server.side].observe(replied_at_ - sent_at_);
  const bool hold = &server == main_.get() && needs_ticket(server);
  failed_ = rolled_back_ = commit_seen_ = false;
  if (violated_ || pooled()) gate_news();
  if (server.exchange.quiescent()) {
    state_at_ = replied_at_;
    at_boundary_ = true;
    // What the other side says between reads is not for the client.
    if (&server == aside_.get()) {
      active_ = main_;
      attention_ = attention_ || (pooled() && !main_);
      if (routing_) gate_news();
    }
  }
  return hold;
}

/// After the reply that ended a transaction has been written.
void Session::after_boundary() {
  at_boundary_ = false;
  if (pooled()) settle_lease();
  if (attention_) {
    gate_news();
    if ((drain_ || newcomer_) && idle_in_service()) leave();
    move_when_idle();
  }
  worker_.settled();
}

/// Takes one message that is not for the client: a reply to our own statement, or the talk of a
/// server that only stands by. False when more bytes are needed.
bool Session::swallow(Server& server) {
  const auto next = server.framer.next(server.in.data());
  if (!next) {
    server.close();
    return false;
  }
  if (!*next) return false;
  const auto piece = **next;
  const auto type = static_cast<Backend>(piece.type);
  auto* answer = server.answer;
  if (piece.first && type == Backend::parameter_status && piece.whole()) {
    note_parameter(server, piece);
  } else if (piece.first && type == Backend::notification_response && &server == main_.get()) {
    // LISTEN goes on while we ask: the client gets it with the next message.
    if (piece.whole()) stash_.insert(stash_.end(), piece.bytes.begin(), piece.bytes.end());
  } else if (piece.first && type == Backend::error_response) {
    const auto head = error_head(piece.body());
    if (head.severity == "FATAL" || head.severity == "PANIC") server.dying = true;
    if (answer != nullptr) {
      auto fields = wire::decode_error_fields(piece.body());
      answer->errors.push_back(fields ? std::move(*fields) : wire::ErrorFields{});
    }
  } else if (answer != nullptr) {
    collect(server, piece);
  }
  server.in.drop(piece.bytes.size());
  return true;
}

void Session::collect(Server& server, const wire::Piece& piece) {
  auto& answer = *server.answer;
  switch (static_cast<Backend>(piece.type)) {
    case Backend::row_description:
      if (piece.first) answer.results.emplace_back();
      break;
    case Backend::data_row:
    case Backend::ready_for_query:
      if (piece.first) server.partial.clear();
      server.partial.insert(server.partial.end(), piece.body().begin(), piece.body().end());
      if (!piece.last) break;
      if (piece.type == static_cast<std::uint8_t>(Backend::data_row)) {
        const auto row = wire::decode_data_row(server.partial);
        if (!row || answer.results.empty()) break;
        auto& kept = answer.results.back().emplace_back();
        for (const auto& value : *row) kept.emplace_back(value ? std::optional{std::string{*value}} : std::nullopt);
      } else if (--server.answer_ready_owed == 0) {
        server.answer = nullptr;
        server.answered.notify();
      }
      break;
    default:
      break;
  }
}

asio::awaitable<void> Session::relay_ended(Worker& worker, ServerPtr server) {
  server->close();
  if (auto* answer = std::exchange(server->answer, nullptr)) {
    answer->lost = true;
    server->answered.notify();
  }
  if (server->session == nullptr) {
    worker.servers.gone(*server);
    co_return;
  }
  const auto session = server->session->shared_from_this();
  co_await session->server_gone(std::move(server));
}

asio::awaitable<void> Session::server_gone(ServerPtr server) {
  if (server == granted_) {
    release(granted_);
    gate_news();
    fence_.notify();
    co_return;
  }
  if (leaving_) gate_news();
  if (ended_ || leaving_ || (server != main_ && server != aside_)) co_return;
  if (server == aside_) {
    if (active_ == server || std::exchange(retry_due_, false))
      co_await aside_lost();
    else
      release(aside_);
    co_return;
  }
  if (std::exchange(retry_due_, false)) working_ = false;
  if (working_) co_return;  // Whoever works on the session finds out and decides.
  const bool doubt = server->exchange.running() && may_have_committed_;
  auto error =
      doubt ? wire::make_error("FATAL", "08007",
                               "connection to the server was lost while a commit was under way",
                               "Whether the transaction was committed is not known.")
            : wire::make_error("FATAL", "08006", "connection to the server was lost",
                               "The transaction under way, if any, was rolled back.");
  co_await end_with(std::move(error));
}

}  // namespace pgjanus
