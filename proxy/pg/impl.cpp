#include "proxy/pg/impl.hpp"

#include <poll.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace pgjanus::pg {

namespace {

std::string field(const PGresult* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text == nullptr ? std::string{} : std::string{text};
}

std::string without_line_feed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  return text;
}

/// The code in "FATAL:  28P01: password authentication …", which stands there in verbose mode; npos
/// when there is none.
std::size_t code_at(const std::string& text, std::size_t from) {
  static constexpr std::string_view before = ":  ", after = ": ";
  constexpr std::size_t size = 5;
  for (auto at = text.find(before, from); at != std::string::npos; at = text.find(before, at + 1)) {
    const auto code = at + before.size();
    if (text.compare(std::min(code + size, text.size()), after.size(), after) == 0 &&
        text.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", code) == code + size)
      return code;
  }
  return std::string::npos;
}

}  // namespace

/// What libpq says of a connection that was refused: its codes and the places in Postgres' source are
/// taken out of the text again, the last code is the error's.
Error login_error(std::string text) {
  std::string sqlstate;
  for (auto at = code_at(text, 0); at != std::string::npos; at = code_at(text, at)) {
    sqlstate = text.substr(at, 5);
    text.erase(at, 7);
  }
  for (auto at = text.find("\nLOCATION:"); at != std::string::npos; at = text.find("\nLOCATION:")) {
    const auto end = text.find('\n', at + 1);
    text.erase(at, end == std::string::npos ? end : end - at);
  }
  Error error{without_line_feed(std::move(text))};
  error.message = error.what();
  error.sqlstate = std::move(sqlstate);
  return error;
}

Error error_of(const PGresult* result, const std::string& purpose) {
  const auto message = field(result, PG_DIAG_MESSAGE_PRIMARY);
  const auto sqlstate = field(result, PG_DIAG_SQLSTATE);
  auto text = message.empty() ? without_line_feed(PQresultErrorMessage(result)) : message;
  if (!sqlstate.empty()) text += " (SQLSTATE " + sqlstate + ")";
  Error error{"pgjanus " + purpose + ": " + text};
  error.sqlstate = sqlstate;
  error.message = message.empty() ? text : message;
  error.detail = field(result, PG_DIAG_MESSAGE_DETAIL);
  error.hint = field(result, PG_DIAG_MESSAGE_HINT);
  error.schema = field(result, PG_DIAG_SCHEMA_NAME);
  error.table = field(result, PG_DIAG_TABLE_NAME);
  error.column = field(result, PG_DIAG_COLUMN_NAME);
  error.constraint = field(result, PG_DIAG_CONSTRAINT_NAME);
  const auto severity = field(result, PG_DIAG_SEVERITY_NONLOCALIZED);
  error.lost = severity == "FATAL" || severity == "PANIC" || sqlstate.empty();
  return error;
}

void Connection::Impl::close() noexcept {
  boost::system::error_code ignored;
  ++socket->armed;
  socket->timer.cancel();
  // libpq owns the descriptor: release it before PQfinish closes it.
  if (socket->descriptor.is_open()) {
    socket->descriptor.cancel(ignored);
    socket->descriptor.release();
  }
  if (handle != nullptr) PQfinish(handle);
  handle = nullptr;
  kept.clear();
}

void Connection::Impl::arm(Duration limit, const char* what) {
  require_usable();
  waiting_for = what;
  waiting_limit = limit;
  socket->expired = false;
  const auto number = ++socket->armed;
  socket->timer.expires_after(limit);
  socket->timer.async_wait([shared = socket, number](const boost::system::error_code& error) {
    if (error || shared->armed != number) return;
    shared->expired = true;
    boost::system::error_code ignored;
    shared->descriptor.cancel(ignored);
  });
}

void Connection::Impl::disarm() noexcept {
  ++socket->armed;
  socket->timer.cancel();
}

void Connection::Impl::fail_lost(std::string why) {
  close();
  Error error{"pgjanus " + purpose + ": " + why};
  error.message = std::move(why);
  error.lost = true;
  throw error;
}

void Connection::Impl::require_usable() {
  if (handle == nullptr) fail_lost("the connection is closed");
}

asio::awaitable<void> Connection::Impl::wait_readable() {
  const auto alive = socket;
  if (!alive->expired) {
    auto [error] = co_await alive->descriptor.async_wait(asio::posix::descriptor_base::wait_read,
                                                         asio::as_tuple(asio::use_awaitable));
    if (handle == nullptr) fail_lost("the connection was closed while waiting");
    if (!error) co_return;
  }
  fail_lost(std::string{"no answer within "} + std::to_string(waiting_limit.count()) + " ms (" +
            waiting_for + ")");
}

asio::awaitable<void> Connection::Impl::wait_readable_or_writable() {
  using namespace asio::experimental::awaitable_operators;
  const auto alive = socket;
  if (!alive->expired) {
    auto reading = alive->descriptor.async_wait(asio::posix::descriptor_base::wait_read,
                                                asio::as_tuple(asio::use_awaitable));
    auto writing = alive->descriptor.async_wait(asio::posix::descriptor_base::wait_write,
                                                asio::as_tuple(asio::use_awaitable));
    auto first = co_await (std::move(reading) || std::move(writing));
    if (handle == nullptr) fail_lost("the connection was closed while waiting");
    const auto error = first.index() == 0 ? std::get<0>(std::get<0>(first))
                                          : std::get<0>(std::get<1>(first));
    if (!error) co_return;
  }
  fail_lost(std::string{"no progress within "} + std::to_string(waiting_limit.count()) + " ms (" +
            waiting_for + ")");
}

void Connection::Impl::send_or_fail(int accepted) {
  if (accepted == 1) return;
  fail_lost(without_line_feed(PQerrorMessage(handle)));
}

bool Connection::Impl::speaks() const noexcept {
  pollfd one{PQsocket(handle), POLLIN, 0};
  return poll(&one, 1, 0) > 0;
}

bool Connection::Impl::broken_off() {
  if (!interrupted) return false;
  if (PQconsumeInput(handle) != 1) fail_lost(without_line_feed(PQerrorMessage(handle)));
  PQisBusy(handle);  // Takes notices out of what has come; an error stays there until the end.
  const bool talk = std::exchange(noticed, notices) != notices;
  if (talk) interrupted = false;
  return std::exchange(suspected, !talk) && !talk;
}

asio::awaitable<void> Connection::Impl::flush() {
  for (;;) {
    if (copying_in && speaks()) interrupted = true;  // Before libpq reads it, which tells nobody until the end.
    const int rest = PQflush(handle);
    if (rest == 0) co_return;
    if (rest < 0) fail_lost(without_line_feed(PQerrorMessage(handle)));
    // Keep reading while we write: a server that blocks on its own results reads nothing.
    co_await wait_readable_or_writable();
    if (copying_in && speaks()) interrupted = true;
    if (PQconsumeInput(handle) != 1) fail_lost(without_line_feed(PQerrorMessage(handle)));
  }
}

asio::awaitable<ResultPtr> Connection::Impl::next_result() {
  while (PQisBusy(handle) != 0) {
    co_await wait_readable();
    if (PQconsumeInput(handle) != 1) {
      // The server's own last word (FATAL …) is in a result, if it sent one.
      ResultPtr last{PQgetResult(handle)};
      if (last && PQresultStatus(last.get()) == PGRES_FATAL_ERROR) {
        auto error = error_of(last.get(), purpose);
        error.lost = true;
        close();
        throw error;
      }
      fail_lost(without_line_feed(PQerrorMessage(handle)));
    }
  }
  co_return ResultPtr{PQgetResult(handle)};
}

asio::awaitable<Rows> Connection::Impl::last_result() {
  ResultPtr last;
  std::optional<Error> failure;
  for (;;) {
    auto result = co_await next_result();
    if (!result) break;
    const auto status = PQresultStatus(result.get());
    if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE) {
      if (!failure) failure = error_of(result.get(), purpose);
      if (PQstatus(handle) == CONNECTION_BAD) break;
      continue;
    }
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
      last = std::move(result);
      break;
    }
    last = std::move(result);
  }
  if (PQstatus(handle) == CONNECTION_BAD) {
    auto why = failure ? failure->message : without_line_feed(PQerrorMessage(handle));
    if (!failure) fail_lost(std::move(why));
    failure->lost = true;
    close();
  }
  disarm();
  if (failure) throw *failure;
  co_return Rows{std::shared_ptr<void>{last.release(), [](void* result) {
                   PQclear(static_cast<PGresult*>(result));
                 }}};
}

asio::awaitable<void> Connection::Impl::connect(const ConnectionParameters& parameters) {
  std::vector<const char*> keys, values;
  for (const auto& [key, value] : parameters.values) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  keys.push_back(nullptr);
  values.push_back(nullptr);
  handle = PQconnectStartParams(keys.data(), values.data(), 0);
  if (handle == nullptr) fail_lost("out of memory");
  // The only way to learn the SQLSTATE of a refused login from libpq; see login_error().
  PQsetErrorVerbosity(handle, PQERRORS_VERBOSE);
  if (PQstatus(handle) == CONNECTION_BAD) fail_lost(without_line_feed(PQerrorMessage(handle)));
  auto& descriptor = socket->descriptor;
  for (auto state = PGRES_POLLING_WRITING; state != PGRES_POLLING_OK;) {
    // The socket may be another one after each step (PQconnectPoll, manual section 34.1).
    if (descriptor.is_open()) descriptor.release();
    descriptor.assign(PQsocket(handle));
    boost::system::error_code error;
    if (socket->expired) error = asio::error::timed_out;
    const auto kind = state == PGRES_POLLING_READING ? asio::posix::descriptor_base::wait_read
                                                     : asio::posix::descriptor_base::wait_write;
    if (!error) {
      auto [waited] = co_await descriptor.async_wait(kind, asio::as_tuple(asio::use_awaitable));
      error = waited;
    }
    if (handle == nullptr) fail_lost("the connection was closed while connecting");
    if (error) {
      fail_lost("cannot connect to " + parameters.describe() + ": no answer within " +
                std::to_string(waiting_limit.count()) + " ms");
    }
    descriptor.release();
    state = PQconnectPoll(handle);
    if (state == PGRES_POLLING_FAILED) {
      auto refused = login_error(PQerrorMessage(handle));
      close();
      auto why = "cannot connect to " + parameters.describe() + ": " + refused.message;
      Error failure{"pgjanus " + purpose + ": " + why};
      failure.message = std::move(why);
      failure.sqlstate = std::move(refused.sqlstate);
      failure.lost = true;
      throw failure;
    }
  }
  if (descriptor.is_open()) descriptor.release();
  descriptor.assign(PQsocket(handle));
  PQsetErrorVerbosity(handle, PQERRORS_DEFAULT);
  PQsetnonblocking(handle, 1);
  PQsetNoticeReceiver(handle, [](void* count, const PGresult*) { ++*static_cast<std::uint64_t*>(count); }, &notices);
}

}  // namespace pgjanus::pg
