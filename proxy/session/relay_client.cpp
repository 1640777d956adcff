// Client to server: read, look at the headers, stop where a transaction may not begin, write.

#include <boost/asio/post.hpp>

#include "proxy/log.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

using wire::Frontend;

namespace {

constexpr std::size_t outgoing_max = 256 * 1024;  // Statements may have to be sent along.

/// Whether this message can begin a transaction, or owe a reply outside one.
constexpr bool begins(std::uint8_t type) noexcept {
  switch (static_cast<Frontend>(type)) {
    case Frontend::copy_data:
    case Frontend::copy_done:
    case Frontend::copy_fail:
    case Frontend::password:
    case Frontend::terminate:
      return false;
    default:
      return true;
  }
}

}  // namespace

asio::awaitable<void> Session::relay_client() {
  const auto turn = [this] { return client_turn(); };
  while (!ended_) {
    client_in_.rest();
    const bool readable = co_await client_.turns(turn);
    if (!readable || ended_ || client_closed_) co_return;
    for (bool stuck = true; stuck; stuck = !pass_on_client()) {
      const auto step = client_step_;
      if (step.bytes > 0) {
        const auto server = active_;  // Lives while we write, whatever becomes of the session.
        const auto changed = std::exchange(changed_, {});
        wire::ByteView rest = changed;
        if (changed.empty()) rest = client_in_.data().subspan(client_sent_, step.bytes - client_sent_);
        client_writes_ = true;
        const bool open = co_await server->stream->write_all(rest);
        client_writes_ = false;
        if (!open || ended_) co_return;  // The reader of that server finds out why.
        client_passed(step.bytes);
      }
      if (step.next == Next::read) continue;
      if (step.next == Next::again) {
        co_await asio::post(worker_.io, asio::use_awaitable);
        if (ended_) co_return;
        break;
      }
      const bool go_on = co_await stop_client(step.next);
      if (!go_on) co_return;
    }
  }
}

/// Reads and passes on. True: nothing is left but to wait for more; otherwise client_step_ tells what
/// has to be done first, or client_closed_ that there is nothing more.
bool Session::client_turn() {
  if (std::exchange(queued_, false)) return pass_on_client();
  for (int round = 0; round < rounds_max; ++round) {
    const auto space = client_in_.space();
    const auto io = ended_ ? Stream::Io{} : client_.read_some(space);
    client_closed_ = io.state == Stream::State::closed;
    if (client_closed_) return false;
    if (io.bytes > 0) {
      client_in_.filled(io.bytes);
      worker_.counters.bytes_in.add(io.bytes);
      read_at_ = Clock::now();
      if (!pass_on_client()) return false;
      if (queued_) return true;
    }
    // The last read took all there was.
    if (io.state == Stream::State::again || (io.bytes < space.size() && client_.tls() == nullptr)) {
      client_in_.rest();
      return true;
    }
  }
  client_step_ = {0, Next::again};  // The other sessions of this thread get their turn.
  return false;
}

/// As far as it goes without waiting. False: client_step_, of whose bytes client_sent_ are written.
bool Session::pass_on_client() {
  do {
    client_step_ = scan_client();
    client_sent_ = 0;
    if (client_step_.bytes == 0) continue;
    auto bytes = client_in_.data().first(client_step_.bytes);
    if (!worker_.outgoing.empty()) bytes = worker_.outgoing;
    // Names that are new do not begin in the middle of a message.
    if (renames(*active_) && (!began_inside_ || active_->names.inside())) {
      worker_.outgoing = renamed(*active_, bytes);
      bytes = worker_.outgoing;
    }
    if (active_->usable()) client_sent_ = active_->stream->write_some(bytes).bytes;
    const bool all = client_sent_ == bytes.size();
    if (!worker_.outgoing.empty()) {
      if (!all) changed_.assign(bytes.begin() + static_cast<std::ptrdiff_t>(client_sent_), bytes.end());
      worker_.outgoing.clear();
    }
    if (!all) return false;
    client_passed(std::exchange(client_step_.bytes, 0));
  } while (client_step_.next == Next::gate && pass_at_once());
  return client_step_.next == Next::read || queued_;
}

/// Whether texts on their way to this server have to be looked at.
bool Session::renames(const Server& server) const noexcept {
  const auto& names = view().names;
  return (names && !(*names)[server.side].empty()) || server.names.inside();
}

/// What goes to the server in place of these bytes: its side's names for what the client calls otherwise.
wire::Bytes Session::renamed(Server& server, wire::ByteView bytes) const {
  static const Rewriter nothing;
  const auto& names = view().names;
  wire::Bytes out;
  server.names.pass(bytes, names ? (*names)[server.side] : nothing, plain_text_, out);
  return out;
}

void Session::client_passed(std::size_t bytes) {
  client_in_.drop(bytes);
  sent_at_ = Clock::now();
  worker_.counters.overhead_seconds.observe(sent_at_ - read_at_);
  if (!active_ || !active_->exchange.quiescent()) return;
  // The end of what a failed COPY left behind.
  if (pooled()) settle_lease();
  if (attention_) move_when_idle();
}

/// What the scanner would not pass. False: the session ends.
asio::awaitable<bool> Session::stop_client(Next why) {
  switch (why) {
    case Next::gate: {
      const bool passed = co_await pass_gate();
      co_return passed;
    }
    case Next::drop: {
      const bool open = co_await drop_message();
      co_return open;
    }
    case Next::skip: {
      const bool open = co_await skip_message();
      co_return open;
    }
    case Next::violation:
      co_await end_violation();
      co_return false;
    case Next::terminate:
      terminated_ = true;
      co_return false;
    case Next::read:
    case Next::again:
    case Next::ticket:
    case Next::fenced:
    case Next::hidden:
    case Next::renamed:
    case Next::more:
      break;
    case Next::later:
      while (!ended_ && client_.is_open() && stays_back(client_in_.data())) co_await wait_at_gate(Deadline::max());
      co_return !ended_ && client_.is_open();
  }
  co_return !ended_;
}

Session::Step Session::scan_client() {
  scanned_ = client_in_.data();
  began_inside_ = client_framer_.inside();
  copied_ = 0;
  const auto step = scan_messages();
  auto& out = worker_.outgoing;
  if (!out.empty()) {
    const auto rest = scanned_.first(step.bytes).subspan(copied_);
    out.insert(out.end(), rest.begin(), rest.end());
  }
  return step;
}

Session::Step Session::scan_messages() {
  const auto data = client_in_.data();
  std::size_t at = 0;
  if (skip_ != Skip::none) return {0, data.empty() ? Next::read : Next::skip};
  while (at < data.size()) {
    const bool fresh = !client_framer_.inside();
    const auto type = data[at];
    if (fresh) {
      if (!wire::is_frontend(type) || wire::exceeds_its_kind(data.subspan(at)))
        return {at, Next::violation};
      if (type == static_cast<std::uint8_t>(Frontend::terminate)) return {at, Next::terminate};
      if (!active_ && type == static_cast<std::uint8_t>(Frontend::password)) return {at, Next::violation};
      // Nobody's: late CopyData of a COPY that failed, and a Flush of nothing.
      constexpr std::array<std::uint8_t, 5> flush{'H', 0, 0, 0, 4};
      if (!active_ && (!begins(type) || type == flush.front())) {
        if (data.size() - at < flush.size()) break;
        if (!begins(type) || std::ranges::equal(data.subspan(at, flush.size()), flush)) return {at, Next::drop};
      }
      if (!active_ || ((attention_ || routing_) && !gate_passed_ && !in_batch_ && begins(type)))
        return {at, Next::gate};
      if (stays_back(data.subspan(at))) return {at, Next::later};
    }
    const auto next = client_framer_.next(data.subspan(at));
    if (!next) return {at, Next::violation};
    if (!*next) break;
    const auto& piece = **next;
    if (fresh)
      note_client_message(piece);
    else if (piece.type == static_cast<std::uint8_t>(Frontend::parse))
      note_parse(piece);
    at += piece.bytes.size();
    if (worker_.outgoing.size() > outgoing_max) return {at, Next::more};
  }
  return {at, Next::read};
}

void Session::note_client_message(const wire::Piece& piece) {
  const auto type = static_cast<Frontend>(piece.type);
  auto& exchange = active_->exchange;
  if (type != Frontend::copy_data) {
    if (exchange.quiescent()) {
      state_at_ = read_at_;
      if (active_ == main_) keep_lone(piece);
      if (active_ == main_ && pooled()) keep_batch(piece);
    }
    gate_passed_ = false;
    auto sent_as = type;
    Mark mark;
    if (pooled()) rename(piece, sent_as, mark);
    // A Flush is not answered; one with a body is, by an error, and until then the server is not free.
    if (type == Frontend::flush && !(piece.whole() && piece.body().empty())) sent_as = Frontend::describe;
    exchange.from_client(sent_as, mark);
  }
  switch (type) {
    case Frontend::query: {
      in_batch_ = false;
      ++batch_;
      statements_.simple_query();
      auto text = wire::Result<std::string_view>{std::string_view{}};
      if (piece.whole()) text = wire::decode_query(piece.body());
      note_query(text ? *text : std::string_view{}, piece.whole() && text);
      break;
    }
    case Frontend::parse:
      in_batch_ = true;
      note_parse(piece);
      break;
    case Frontend::bind: {
      in_batch_ = true;
      const auto names = wire::decode_bind_names(piece.body());
      note_statement_use(names ? names->statement : std::string_view{});
      break;
    }
    case Frontend::close: {
      in_batch_ = true;
      const auto target = wire::decode_target(piece.body());
      if (piece.whole() && target && target->kind == 'S') {
        statements_.close(target->name);
        touched_ = true;
      }
      break;
    }
    case Frontend::describe:
    case Frontend::execute:
      in_batch_ = true;
      break;
    case Frontend::flush:
      // Alone it begins nothing, and what follows has to pass the gate; one with a body is an error.
      if (!piece.whole() || !piece.body().empty()) in_batch_ = true;
      break;
    case Frontend::sync:
      in_batch_ = false;
      ++batch_;
      break;
    case Frontend::function_call:
      in_batch_ = false;
      ++batch_;
      note_kind({.defines = false});
      break;
    case Frontend::copy_data:
    case Frontend::copy_done:
    case Frontend::copy_fail:
    case Frontend::password:
    case Frontend::terminate:
      break;
  }
}

void Session::note_parse(const wire::Piece& piece) {
  // Whole texts are stored as they pass; long ones are put together up to what is worth keeping.
  if (piece.whole()) {
    const auto parse = wire::decode_parse(piece.body());
    if (!parse) return;
    if (!pooled() || parse->statement.empty()) statements_.parse(*parse);
    if (!parse->statement.empty()) touched_ = true;
    note_custom_names(parse->query, custom_names_);
    return;
  }
  if (piece.first) long_parse_.clear();
  const bool fits = piece.size <= Statements::text_max;
  if (fits || piece.first)
    long_parse_.insert(long_parse_.end(), piece.body().begin(), piece.body().end());
  if (!piece.last) return;
  touched_ = dirty_ = true;
  if (fits) {
    if (const auto parse = wire::decode_parse(long_parse_)) {
      if (!pooled() || (parse->statement.empty() && unnamed_id_ == long_unnamed_))
        statements_.parse(*parse);
      else if (!parse->statement.empty() && long_id_ != 0)  // An unnamed one was skipped before its end came.
        names_.replace(long_id_, worker_.texts.separate(parse->query, parse->parameter_types, active_->side, long_id_));
      note_custom_names(parse->query, custom_names_);
    }
  } else {
    wire::FieldReader fields{long_parse_};
    const auto name = fields.cstring();
    if (!pooled() || (name.empty() && unnamed_id_ == long_unnamed_)) statements_.parse_unseen(name);
  }
  long_parse_ = {};
}

/// Drops one message, however long.
asio::awaitable<bool> Session::drop_message() {
  for (bool last = false; !last;) {
    const auto next = client_framer_.next(client_in_.data());
    if (!next) {
      const bool go_on = co_await stop_client(Next::violation);
      co_return go_on;
    }
    if (*next) {
      last = (*next)->last;
      client_in_.drop((*next)->bytes.size());
      continue;
    }
    const bool open = co_await client_.readable();
    const auto io = open ? client_.read_some(client_in_.space()) : Stream::Io{};
    if (ended_ || io.state == Stream::State::closed) co_return false;
    client_in_.filled(io.bytes);
  }
  co_return true;
}

/// Drops what a cancelled client has sent for a statement that will not run.
asio::awaitable<bool> Session::skip_message() {
  const auto front = client_in_.data();
  const bool wrong = !client_framer_.inside() && !front.empty() &&
                     (!wire::is_frontend(front[0]) || wire::exceeds_its_kind(front));
  const auto next = wrong ? wire::Result<std::optional<wire::Piece>>{wire::WireErrc::message_length}
                          : client_framer_.next(front);
  if (!next) {
    const bool go_on = co_await stop_client(Next::violation);
    co_return go_on;
  }
  if (!*next) {
    // Incomplete: the rest is read first, into the same buffer.
    const bool open = co_await client_.readable();
    const auto io = open ? client_.read_some(client_in_.space()) : Stream::Io{};
    if (ended_ || io.state == Stream::State::closed) co_return false;
    client_in_.filled(io.bytes);
    co_return true;
  }
  const auto type = static_cast<Frontend>((*next)->type);
  const bool last = (*next)->last;
  client_in_.drop((*next)->bytes.size());
  if (!last || (skip_ == Skip::until_sync && type != Frontend::sync)) co_return true;
  skip_ = Skip::none;
  wire::Bytes out;
  wire::encode_ready_for_query(out, wire::TransactionStatus::idle);
  const bool open = co_await to_client(out);
  co_return open;
}

}  // namespace pgjanus
