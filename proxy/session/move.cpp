// Giving a session another server: its state is read where it is and established where it goes.

#include "proxy/log.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

wire::ErrorFields cannot_move(const std::string& why, std::string_view hint = {}) {
  return wire::make_error("FATAL", "57P01",
                          "the session cannot move to the new primary: " + why,
                          "It stood between transactions: nothing was lost.",
                          hint.empty() ? "Reconnect." : hint);
}

wire::Bytes query_of(std::string_view sql) {
  wire::Bytes out;
  wire::encode_query(out, sql);
  return out;
}

}  // namespace

asio::awaitable<std::optional<SessionState>> Session::read_state(ServerPtr server) {
  auto question = query_of(state_query(custom_names_, pooled() ? Prepareds::none : Prepareds::all));
  const auto answer = co_await ask(server, std::move(question), 1);
  auto state = state_of(answer, server->login_user);
  if (state && statements_.unnamed() && !statements_.unnamed()->kept && state->pin.empty())
    state->pin = "unnamed prepared statement of more than 1 MB";
  co_return state;
}

/// Types by name to OIDs of that server; nothing when one is missing there.
asio::awaitable<std::optional<std::map<std::string, std::int32_t>>> Session::type_oids(
    ServerPtr server, const SessionState& wanted, const std::vector<std::string>& names) {
  auto& builtin = worker_.builtin_types;
  std::map<std::string, std::int32_t> oids;
  std::vector<std::string> unknown;
  for (const auto& name : names) {
    for (const auto& type : wanted.prepared.at(name).types) {
      if (const auto found = builtin.find(type); found != builtin.end())
        oids.insert(*found);
      else if (std::find(unknown.begin(), unknown.end(), type) == unknown.end())
        unknown.push_back(type);
    }
  }
  if (unknown.empty()) co_return oids;
  auto question = query_of(types_query(unknown));
  const auto answer = co_await ask(server, std::move(question), 1);
  if (answer.lost || answer.results.empty()) co_return std::nullopt;
  static constexpr std::int64_t first_custom_oid = 16384;  // FirstNormalObjectId of transam.h.
  for (const auto& row : answer.results.front()) {
    if (!row.at(0) || !row.at(1)) continue;
    const auto oid = std::stoll(*row[1]);
    oids.emplace(*row[0], static_cast<std::int32_t>(oid));
    if (oid < first_custom_oid) builtin.emplace(*row[0], static_cast<std::int32_t>(oid));
  }
  co_return oids;
}

/// Parses what is missing, each with a Sync of its own: one that no longer fits the schema fails
/// where it is used, as it would have on the old server.
asio::awaitable<std::string> Session::prepare(ServerPtr server, const SessionState& present,
                                              const SessionState& wanted) {
  const auto names = prepared_missing(present, wanted);
  std::size_t syncs = 0;
  wire::Bytes out;
  const auto sync = [&] {
    wire::encode_sync(out);
    ++syncs;
  };
  for (const auto& [name, statement] : present.prepared) {
    if (wanted.prepared.contains(name)) continue;
    wire::encode_close(out, 'S', name);
    sync();
  }
  std::optional<std::map<std::string, std::int32_t>> oids = std::map<std::string, std::int32_t>{};
  if (!names.empty()) oids = co_await type_oids(server, wanted, names);
  if (!oids) co_return "the types of its prepared statements could not be read";
  for (const auto& name : names) {
    const auto& statement = wanted.prepared.at(name);
    std::vector<std::int32_t> types;
    for (const auto& type : statement.types) {
      const auto found = oids->find(type);
      types.push_back(found == oids->end() ? 0 : found->second);  // 0: let the server find out.
    }
    if (present.prepared.contains(name)) wire::encode_close(out, 'S', name);
    wire::encode_parse(out, name, statement.text, types);
    sync();
  }
  if (out.empty()) co_return std::string{};
  const auto answer = co_await ask(server, std::move(out), syncs);
  if (answer.lost) co_return "the connection to the new server was lost";
  if (!answer.errors.empty())
    log_event(LogLevel::warn, "statement_not_prepared",
              {{"client", number_}, {"side", to_string(server->side)},
               {"statements", answer.errors.size()},
               {"error", std::string{answer.errors.front().sqlstate()}}});
  co_return std::string{};
}

/// Turns `present` into `wanted` on a server. Empty on success, otherwise why not.
asio::awaitable<std::string> Session::establish(ServerPtr server, SessionState present,
                                                SessionState wanted) {
  if (server->login_user.empty() || !server->usable()) co_return "the new server is gone";
  const auto queries = settings_change(present, wanted);
  if (!queries.empty()) {
    wire::Bytes out;
    for (const auto& query : queries) wire::encode_query(out, query);
    const auto answer = co_await ask(server, std::move(out), queries.size());
    if (answer.lost) co_return "the connection to the new server was lost";
    if (!answer.errors.empty())
      co_return "its settings were refused there: " + std::string{answer.errors.front().message()};
  }
  auto problem = co_await prepare(server, present, wanted);
  co_return problem;
}

asio::awaitable<std::optional<wire::ErrorFields>> Session::move_to(Side side) {
  const auto old = main_;
  std::optional<SessionState> wanted;
  // Nothing has run since the other server was brought up: what it has is what is wanted.
  const bool current = aside_ && aside_->side == side && aside_->usable() && aside_state_ && !touched_;
  if (current) {
    wanted = aside_state_;
    wanted->channels = aside_channels_;
  } else if (old->usable()) {
    wanted = co_await read_state(old);
  }
  if (!wanted) co_return cannot_move("the old primary is gone, and its settings with it");
  if (!wanted->pin.empty()) co_return cannot_move(wanted->pin);
  ServerPtr fresh;
  std::string problem;
  if (aside_ && aside_->side == side && aside_->usable()) {
    fresh = std::exchange(aside_, nullptr);
    auto present = aside_state_.value_or(SessionState{});
    problem = co_await establish(fresh, std::move(present), *wanted);
    if (!problem.empty() || !fresh->usable()) release(fresh);
  }
  aside_state_.reset();
  if (!fresh) {
    release(aside_);
    auto failure = co_await lease(side, fresh);
    if (failure) co_return failure;
    worker_.start_relay(fresh);
    SessionState nothing;
    problem = co_await establish(fresh, std::move(nothing), *wanted);
    if (!problem.empty()) release(fresh);
  }
  if (!problem.empty()) co_return cannot_move(problem);
  if (ended_) {
    release(fresh);
    co_return std::nullopt;
  }
  main_ = active_ = fresh;
  auto leaving = old;
  release(leaving);
  touched_ = true;
  co_await repeat_unnamed();
  co_await tell_parameters(main_);
  co_return std::nullopt;
}

/// The unnamed statement, which no catalog shows; drivers use it across transactions.
asio::awaitable<void> Session::repeat_unnamed() {
  if (!statements_.unnamed() || pooled()) co_return;  // There, its use brings it along.
  wire::Bytes out;
  auto types = statements_.unnamed()->types;
  // A custom type has another OID here: the server infers it.
  static constexpr std::int32_t first_custom_oid = 16384;
  for (auto& type : types)
    if (static_cast<std::uint32_t>(type) >= static_cast<std::uint32_t>(first_custom_oid)) type = 0;
  wire::encode_parse(out, "", statements_.unnamed()->text, types);
  wire::encode_sync(out);
  const auto answer = co_await ask(main_, std::move(out), 1);
  static_cast<void>(answer);  // If it does not fit, its next use says so.
}

/// What is reported differently here, before the client's next reply.
asio::awaitable<void> Session::tell_parameters(ServerPtr server) {
  look_at_encoding();
  wire::Bytes out;
  for (const auto& [name, value] : server->reported.all()) {
    const auto known = told_.all().find(name);
    if (known != told_.all().end() && known->second == value) continue;
    wire::encode_parameter_status(out, name, value);
  }
  told_ = server->reported;
  if (out.empty()) co_return;
  const bool open = co_await to_client(out);
  static_cast<void>(open);
}

/// Moves the session to the new primary, now that it is between transactions.
asio::awaitable<void> Session::move() {
  const auto self = shared_from_this();
  working_ = true;
  attention_ = true;
  std::optional<wire::ErrorFields> failure;
  while (must_move() && !failure && !ended_) failure = co_await move_to(*view().primary);
  if (failure && !ended_) {
    log_event(LogLevel::info, "session_ended_by_move",
              {{"client", number_}, {"reason", failure->message()}});
    co_await end_with(std::move(*failure));
  }
  work_done();
}

/// Whether questions of ours may go to main_ now, or another server take its place: not inside a
/// message of the client, and late CopyData of a COPY that failed is one between transactions.
bool Session::may_be_asked() const noexcept {
  return idle_in_service() && !working_ && !client_writes_ && !client_framer_.inside();
}

/// Idle sessions move on their own, so that their next statement does not wait for it.
void Session::move_when_idle() {
  if (!must_move() || !may_be_asked() || held_) return;
  working_ = true;  // From now on, not from when the task first runs.
  spawn(move(), "move");
}

/// Our own statements are through: the client may go on, or learns that its server is gone.
void Session::work_done() {
  working_ = false;
  update_attention();
  if (!ended_ && main_ && !main_->usable())
    terminate(wire::make_error("FATAL", "08006", "connection to the server was lost"));
  gate_news();
  fence_.notify();
  worker_.settled();
  // Notifications that came meanwhile.
  if (!ended_ && !stash_.empty()) spawn(send_stash(), "send_stash");
  if (drain_) leave();
  move_when_idle();
}

asio::awaitable<void> Session::send_stash() {
  const auto self = shared_from_this();
  const wire::ByteView nothing;  // The stash goes first, whatever is written.
  const bool open = co_await to_client(nothing);
  static_cast<void>(open);
}

asio::awaitable<void> Session::warm(Side side) {
  const auto self = shared_from_this();
  if (!serving_ || ended_ || pooled() || !main_ || main_->side == side || warming_) co_return;
  warming_ = true;
  if (!aside_ || !aside_->usable()) {
    // The client goes on meanwhile; only reading its state makes it wait.
    ServerPtr fresh;
    const auto failure = co_await lease(side, fresh);
    if (!failure && !ended_ && main_ && main_->side != side && !aside_) {
      aside_ = fresh;
      aside_state_.reset();
      worker_.start_relay(fresh);
    } else {
      release(fresh);
    }
  }
  warming_ = false;
  if (!aside_ || aside_->side != side || !may_be_asked()) co_return;
  working_ = true;
  attention_ = true;
  co_await bring_up(aside_);
  work_done();
}

/// Gives aside_ the state of the session, LISTEN apart: notifications come from one server.
asio::awaitable<void> Session::bring_up(ServerPtr server) {
  auto wanted = co_await read_state(main_);
  if (!wanted || !wanted->pin.empty()) co_return;
  touched_ = false;
  aside_channels_ = std::exchange(wanted->channels, {});
  auto present = std::exchange(aside_state_, std::nullopt).value_or(SessionState{});
  const auto problem = co_await establish(server, std::move(present), *wanted);
  if (problem.empty() && server == aside_) aside_state_ = std::move(wanted);
  if (problem.empty() || server != aside_) co_return;
  release(aside_);
}

asio::awaitable<void> Session::report_pin(std::shared_ptr<std::vector<SessionReport>> found) {
  const auto self = shared_from_this();
  // A session that holds no server has nothing that pins it.
  const auto limit = Clock::now() + std::chrono::seconds{10};
  while (pooled() && working_ && !ended_ && Clock::now() < limit) co_await fence_.wait_until(limit);
  if (!may_be_asked() || !main_) co_return;
  working_ = true;
  attention_ = true;
  auto question = query_of(pin_query());
  const auto answer = co_await ask(main_, std::move(question), 1);
  const auto reason = pin_of(answer);
  if (!reason.empty()) found->push_back(report(reason));
  work_done();
}

}  // namespace pgjanus
