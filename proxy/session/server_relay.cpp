// A server's reader: what it brings is passed on at once, by the poller's call, as long as nothing has
// to be waited for.

#include <boost/asio/post.hpp>

#include "proxy/session/session.hpp"

namespace pgjanus {

/// What the reader of one server does without waiting, and where it stopped.
struct Session::ServerRelay {
  Worker& worker;
  Server& server;
  std::shared_ptr<Session> session;  // Whose `step` it is; of its bytes, `sent` are written.
  Step step;
  std::size_t sent = 0;
  bool closed = false;

  bool operator()();
  bool pass_on();
};

asio::awaitable<void> Session::relay_server(Worker& worker, ServerPtr server) {
  ServerRelay relay{worker, *server, nullptr, {}};
  bool open = true;
  while (open && server->stream->is_open()) {
    server->in.rest();
    open = co_await server->stream->turns(relay);
    if (!open || relay.closed) break;
    if (relay.step.next == Next::again && relay.step.bytes == 0) {
      co_await asio::post(worker.io, asio::use_awaitable);
      continue;
    }
    for (bool stuck = true; stuck; stuck = open && !relay.pass_on()) {
      const auto step = relay.step;
      auto& session = *relay.session;
      if (step.bytes > 0) {
        const auto rest = server->in.data().subspan(relay.sent, step.bytes - relay.sent);
        open = co_await session.to_client_slowly(server, rest);
        session.note_written(*server, step.bytes);
      }
      if (step.next == Next::hidden) server->in.drop(step.held);
      if (step.next == Next::ticket || step.next == Next::fenced || step.next == Next::renamed ||
          step.next == Next::violation) {
        const bool go_on = co_await session.stop_server(server, step);
        open = open && go_on;
      }
      session.after_step(*server);
      if (step.next == Next::read || server->session != relay.session.get()) break;
    }
    relay.session.reset();
  }
  co_await relay_ended(worker, std::move(server));
}

/// Reads and passes on. True: nothing is left but to wait for more; otherwise `step` has to be gone
/// on with, or the stream is closed.
bool Session::ServerRelay::operator()() {
  for (int round = 0; round < rounds_max; ++round) {
    const auto space = server.in.space();
    const auto io = server.stream->read_some(space);
    closed = io.state == Stream::State::closed;
    if (closed) return false;
    if (io.bytes > 0) {
      server.in.filled(io.bytes);
      if (server.session == nullptr) {
        closed = !worker.servers.idle_talk(server);
        if (closed) return false;
      } else {
        session = server.session->shared_from_this();
        session->replied_at_ = Clock::now();
        if (!pass_on()) return false;
        session.reset();
      }
    }
    // The last read took all there was.
    if (io.state == Stream::State::again || (io.bytes < space.size() && server.stream->tls() == nullptr)) {
      server.in.rest();
      return true;
    }
  }
  step = {0, Next::again};  // The other sessions of this thread get their turn.
  return false;
}

/// As far as it goes without waiting.
bool Session::ServerRelay::pass_on() {
  do {
    step = session->scan_server(server);
    sent = 0;
    if (step.bytes > 0) {
      // The client has begun to hear its answer.
      if (&server == session->retry_on_) session->retry_.clear();
      server.kept_batch.clear();
      const auto bytes = server.in.data().first(step.bytes);
      if (session->may_write(server)) sent = session->client_.write_some(bytes).bytes;
      if (sent < bytes.size()) return false;
      session->note_written(server, std::exchange(step.bytes, 0));
    }
    if (step.next == Next::hidden) server.in.drop(step.held);
    if (step.next == Next::ticket || step.next == Next::fenced || step.next == Next::renamed ||
        step.next == Next::violation)
      return false;
    session->after_step(server);
  } while (step.next != Next::read && server.session == session.get());
  return true;
}

void Session::after_step(Server& server) {
  if (retry_due_ && server.answer == nullptr) begin_retry(server);
  if (at_boundary_) after_boundary();
}

}  // namespace pgjanus
