// A server that lacks a statement, or has it in the shape of a schema that is gone: the client's batch runs
// again with the statement prepared anew, as long as nothing of it has run. README.md, "Prepared
// statements".

#include "proxy/log.hpp"
#include "proxy/session/read_batch.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

constexpr std::size_t kept_max = 8 * 1024;  // Every server keeps one.

/// Whether an error is about the statement that we named so.
bool about(const wire::ErrorFields& error, std::uint32_t statement) {
  return error.message().find('"' + std::string{prepared_prefix} + std::to_string(statement) + '"') !=
         std::string_view::npos;
}

}  // namespace

/// Keeps a batch that begins between transactions, stands alone in the buffer, and uses named statements.
void Session::keep_batch(const wire::Piece& piece) {
  auto& kept = main_->kept_batch;
  kept.clear();
  const auto all = client_in_.data();
  const auto batch = all.subspan(static_cast<std::size_t>(piece.bytes.data() - all.data()));
  if (batch.size() <= kept_max && uses_names(batch)) kept.assign(batch.begin(), batch.end());
}

/// An error before anything of the batch has run or was answered: true when the client does not see it,
/// since the same batch runs again. `before`: what of the reply stands before the error.
bool Session::repairs(Server& server, const wire::Piece& piece, wire::ByteView before) {
  auto& exchange = server.exchange;
  const bool alone = exchange.status() == wire::TransactionStatus::idle && exchange.ready_owed() == 1 &&
                     !in_batch_ && !client_framer_.inside() && !client_writes_ && !working_;
  const auto mark = exchange.front_mark();
  if (&server != main_.get() || !alone || mark.what != Mark::What::use || !only_prepared(before)) return false;
  auto* named = names_.find(names_.name_of(mark.statement));
  const auto error = wire::decode_error_fields(piece.body());
  if (named == nullptr || !named->prepared->kept || !error || error->get('V') != "ERROR") return false;
  const auto batch = batch_ - 1;
  const auto known = named->prepared;
  // Somebody's function has deallocated it; or its result was another one when somebody else prepared it.
  const bool lost = error->sqlstate() == "26000" && about(*error, known->id);
  const bool reshaped = error->sqlstate() == "0A000" && named->used == batch;
  if (!lost && !reshaped) return false;
  retry_ = std::exchange(server.kept_batch, {});
  retry_on_ = &server;
  exchange.from_server(wire::Backend::error_response, std::nullopt);
  settle_lost(server, Loss::failed);
  // As if the batch had never been sent.
  for (const auto name : names_given(retry_))
    if (const auto* given = names_.find(name); given != nullptr && given->batch == batch) names_.remove(name);
  if (lost) {
    server.statements.distrust_all();  // It takes all at once.
  } else {
    worker_.texts.retire(*known);
    names_.replace(known->id, worker_.texts.intern(known->text, known->types, text_context(), known->side));
  }
  log_event(LogLevel::debug, "statement_prepared_anew", {{"client", number_}, {"sqlstate", error->sqlstate()}});
  repairing_ = true;
  discard_reply(server);
  return true;
}

asio::awaitable<void> Session::repeat_batch() {
  const auto self = shared_from_this();
  const auto bytes = std::exchange(retry_, {});
  if (!ended_ && main_ && main_->usable()) co_await send_again(bytes);
  work_done();
}

}  // namespace pgjanus
