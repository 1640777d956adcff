// COPY in both directions, and cancel.

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/pg/impl.hpp"

namespace pgjanus::pg {

namespace {
// Rows are handed on in parcels of about this size: one coroutine call a parcel, not a row.
constexpr std::size_t parcel_bytes = 64 * 1024;
}  // namespace

asio::awaitable<std::uint64_t> Connection::copy_out(std::string sql, Sink sink,
                                                    Duration idle_limit) {
  auto& impl = *impl_;
  impl.arm(idle_limit, "COPY TO STDOUT");
  impl.send_or_fail(PQsendQuery(impl.handle, sql.c_str()));
  co_await impl.flush();
  auto begun = co_await impl.next_result();
  if (!begun || PQresultStatus(begun.get()) != PGRES_COPY_OUT) {
    auto failure = begun ? error_of(begun.get(), impl.purpose) : Error{"no COPY OUT"};
    while (begun) begun = co_await impl.next_result();
    impl.disarm();
    throw failure;
  }
  begun.reset();
  std::string parcel;
  impl.copied = 0;
  for (;;) {
    char* row = nullptr;
    const int size = PQgetCopyData(impl.handle, &row, 1);
    if (size > 0) {
      ++impl.copied;
      parcel.append(row, static_cast<std::size_t>(size));
      PQfreemem(row);
      if (parcel.size() < parcel_bytes) continue;
    }
    if (!parcel.empty() && (size <= 0 || parcel.size() >= parcel_bytes)) {
      impl.disarm();  // The sink's waits have limits of their own.
      co_await sink(parcel);
      parcel.clear();
      impl.arm(idle_limit, "COPY TO STDOUT");
    }
    if (size == -1) break;
    if (size == -2) impl.fail_lost("COPY TO STDOUT broke off");
    if (size == 0) {
      co_await impl.wait_readable();
      if (PQconsumeInput(impl.handle) != 1) impl.fail_lost("the connection was lost during COPY");
    }
  }
  auto rows = co_await impl.last_result();
  co_return rows.affected();
}

std::uint64_t Connection::copied_rows() const noexcept { return impl_->copied; }

asio::awaitable<void> Connection::copy_in_begin(std::string sql, Duration limit) {
  auto& impl = *impl_;
  impl.arm(limit, "COPY FROM STDIN");
  impl.send_or_fail(PQsendQuery(impl.handle, sql.c_str()));
  co_await impl.flush();
  auto begun = co_await impl.next_result();
  if (!begun || PQresultStatus(begun.get()) != PGRES_COPY_IN) {
    auto failure = begun ? error_of(begun.get(), impl.purpose) : Error{"no COPY IN"};
    while (begun) begun = co_await impl.next_result();
    impl.disarm();
    throw failure;
  }
  impl.disarm();
  impl.copying_in = true;
  impl.interrupted = impl.suspected = false;
}

asio::awaitable<void> Connection::copy_in_put(std::string_view data, Duration idle_limit) {
  auto& impl = *impl_;
  impl.arm(idle_limit, "COPY FROM STDIN");
  while (!data.empty()) {
    const auto part = data.substr(0, std::size_t{1} << 20);
    const int taken = PQputCopyData(impl.handle, part.data(), static_cast<int>(part.size()));
    if (taken < 0) impl.fail_lost("the connection was lost during COPY");
    if (taken == 1) data.remove_prefix(part.size());
    co_await impl.flush();
    if (!impl.broken_off()) continue;
    co_await copy_in_end("the server has ended it", idle_limit);  // Throws what it says.
    impl.fail_lost("the server ended COPY");
  }
  impl.disarm();
}

asio::awaitable<std::uint64_t> Connection::copy_in_end(std::optional<std::string> failure,
                                                       Duration limit) {
  auto& impl = *impl_;
  impl.arm(limit, "the end of COPY FROM STDIN");
  impl.copying_in = false;
  for (;;) {
    const int taken = PQputCopyEnd(impl.handle, failure ? failure->c_str() : nullptr);
    if (taken < 0) impl.fail_lost("the connection was lost during COPY");
    co_await impl.flush();
    if (taken == 1) break;
  }
  auto rows = co_await impl.last_result();
  co_return rows.affected();
}

void Connection::cancel() noexcept {
  if (impl_->handle == nullptr) return;
  // PQcancel blocks, without a limit where a server does not answer: it runs on a thread of its own, which nobody
  // waits for at the end, and frees its object itself.
  PGcancel* request = PQgetCancel(impl_->handle);
  if (request == nullptr) return;
  if (impl_->cancelling->exchange(true)) {  // An earlier request is under way.
    PQfreeCancel(request);
    return;
  }
  static auto* const pool = new asio::thread_pool{4};
  asio::post(*pool, [request, pending = impl_->cancelling] {
    char why[256];
    PQcancel(request, why, sizeof why);
    PQfreeCancel(request);
    *pending = false;
  });
}

}  // namespace pgjanus::pg
