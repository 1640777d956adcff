#include "proxy/pg/connection.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "proxy/pg/impl.hpp"

namespace pgjanus::pg {

namespace {

// One round trip that makes the session independent of what roles, databases and hosts preset.
// The timeouts let the locks of a proxy that died silently go (design.md section 9). The role: two
// logins that take turns, as secrets rotate, act as one, which owns what either makes.
constexpr const char* pin_session = R"(
SET search_path = pg_catalog, pg_temp;
SET DateStyle = 'ISO, MDY';
SET IntervalStyle = 'postgres';
SET TimeZone = 'UTC';
SET extra_float_digits = 3;
SET bytea_output = 'hex';
SET lc_monetary = 'C';
SET xmloption = 'content';
SET array_nulls = on;
SET quote_all_identifiers = off;
SET transform_null_equals = off;
SET standard_conforming_strings = on;
SET row_security = off;
SET client_min_messages = error;
SET jit = off;
SET synchronous_commit = on;
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = '30s';
SET default_transaction_isolation = 'read committed';
SET default_transaction_read_only = off;
SET default_transaction_deferrable = off;
SET tcp_user_timeout = 10000;
SET tcp_keepalives_idle = 10;
SET tcp_keepalives_interval = 3;
SET tcp_keepalives_count = 3;
SELECT set_config('client_encoding', CASE current_setting('server_encoding')
       WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END, false);
SELECT set_config('role', owner.name, false)
  FROM (SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'pgjanus') owner (name)
  WHERE owner.name <> session_user
    AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user)
    AND pg_has_role(session_user, owner.name,
                    CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END);
)";

/// libpq resolves names with a blocking call: resolve here and hand it the address; the name stays
/// for certificate checks.
asio::awaitable<void> resolve(ConnectionParameters& parameters) {
  const auto host = parameters.get("host");
  if (host.empty() || host.front() == '/' || host.front() == '@' ||
      host.find(',') != std::string::npos || !parameters.get("hostaddr").empty()) {
    co_return;
  }
  auto executor = co_await asio::this_coro::executor;
  asio::ip::tcp::resolver resolver{executor};
  auto [error, found] =
      co_await resolver.async_resolve(host, "5432", asio::as_tuple(asio::use_awaitable));
  if (error || found.empty()) {
    Error failure{"cannot resolve the host name " + host + ": " + error.message()};
    failure.message = failure.what();
    failure.lost = true;
    throw failure;
  }
  parameters.values["hostaddr"] = found.begin()->endpoint().address().to_string();
}

std::vector<const char*> pointers(const Parameters& parameters) {
  std::vector<const char*> values;
  values.reserve(parameters.size());
  for (const auto& value : parameters) values.push_back(value ? value->c_str() : nullptr);
  return values;
}

}  // namespace

Connection::Connection(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
Connection::~Connection() = default;

asio::awaitable<ConnectionPtr> Connection::open(ConnectionParameters parameters,
                                                std::string purpose, Duration limit) {
  auto executor = co_await asio::this_coro::executor;
  co_await resolve(parameters);
  auto& values = parameters.values;
  values["application_name"] = "pgjanus " + purpose;
  values["fallback_application_name"] = "pgjanus";
  values.try_emplace("keepalives_idle", "10");
  values.try_emplace("keepalives_interval", "3");
  values.try_emplace("keepalives_count", "3");
  values.try_emplace("tcp_user_timeout", "10000");
  ConnectionPtr connection{
      new Connection{std::make_unique<Impl>(executor, std::move(purpose))}};
  auto& impl = *connection->impl_;
  // arm() wants a live handle; the timer covers connecting as well.
  impl.waiting_for = "connecting";
  impl.waiting_limit = limit;
  const auto number = ++impl.socket->armed;
  impl.socket->timer.expires_after(limit);
  impl.socket->timer.async_wait(
      [shared = impl.socket, number](const boost::system::error_code& error) {
        if (error || shared->armed != number) return;
        shared->expired = true;
        boost::system::error_code ignored;
        shared->descriptor.cancel(ignored);
      });
  co_await impl.connect(parameters);
  impl.disarm();
  co_await connection->run(pin_session, limit);
  co_return connection;
}

asio::awaitable<Rows> Connection::run(std::string sql, Duration limit) {
  impl_->arm(limit, "a query");
  impl_->send_or_fail(PQsendQuery(impl_->handle, sql.c_str()));
  co_await impl_->flush();
  auto rows = co_await impl_->last_result();
  co_return rows;
}

asio::awaitable<Rows> Connection::run(std::string sql, Parameters parameters, Duration limit) {
  impl_->arm(limit, "a query");
  const auto values = pointers(parameters);
  impl_->send_or_fail(PQsendQueryParams(impl_->handle, sql.c_str(),
                                        static_cast<int>(values.size()), nullptr, values.data(),
                                        nullptr, nullptr, 0));
  co_await impl_->flush();
  auto rows = co_await impl_->last_result();
  co_return rows;
}

asio::awaitable<Rows> Connection::kept(std::string sql, Parameters parameters, Duration limit) {
  std::vector<Statement> one;
  one.push_back({std::move(sql), std::move(parameters), true});
  auto results = co_await batch(std::move(one), limit);
  co_return results.front();
}

asio::awaitable<std::vector<Rows>> Connection::batch(std::vector<Statement> statements,
                                                     Duration limit) {
  auto& impl = *impl_;
  impl.arm(limit, "a batch of statements");
  impl.send_or_fail(PQenterPipelineMode(impl.handle));
  struct Expected {
    bool prepares = false;
    std::size_t statement = 0;
  };
  std::vector<Expected> expected;
  for (std::size_t i = 0; i < statements.size(); ++i) {
    const auto& statement = statements[i];
    const auto values = pointers(statement.parameters);
    const auto count = static_cast<int>(values.size());
    if (statement.keep) {
      auto [entry, fresh] =
          impl.kept.try_emplace(statement.sql, "k" + std::to_string(impl.kept_count));
      if (fresh) {
        ++impl.kept_count;
        impl.send_or_fail(PQsendPrepare(impl.handle, entry->second.c_str(), statement.sql.c_str(),
                                        0, nullptr));
        expected.push_back({true, i});
      }
      impl.send_or_fail(PQsendQueryPrepared(impl.handle, entry->second.c_str(), count,
                                            values.data(), nullptr, nullptr, 0));
    } else {
      impl.send_or_fail(PQsendQueryParams(impl.handle, statement.sql.c_str(), count, nullptr,
                                          values.data(), nullptr, nullptr, 0));
    }
    expected.push_back({false, i});
    // Long batches: let the socket drain before libpq's buffer holds everything twice.
    if (i % 64 == 63) co_await impl.flush();
  }
  impl.send_or_fail(PQpipelineSync(impl.handle));
  co_await impl.flush();

  std::vector<Rows> results(statements.size());
  std::optional<Error> failure;
  for (const auto& step : expected) {
    auto result = co_await impl.next_result();
    const auto status = result ? PQresultStatus(result.get()) : PGRES_FATAL_ERROR;
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
      if (!step.prepares) {
        results[step.statement] = Rows{std::shared_ptr<void>{
            result.release(), [](void* r) { PQclear(static_cast<PGresult*>(r)); }}};
      }
    } else {
      // A name that was not prepared, or only maybe, must not be used again.
      if (step.prepares) impl.kept.erase(statements[step.statement].sql);
      if (!failure && result && status != PGRES_PIPELINE_ABORTED) {
        failure = error_of(result.get(), impl.purpose);
        failure->statement = step.statement;
      }
      if (PQstatus(impl.handle) == CONNECTION_BAD) break;
    }
    auto end = co_await impl.next_result();  // The null that ends each statement.
    if (end) impl.fail_lost("the server sent more results than statements");
  }
  if (PQstatus(impl.handle) == CONNECTION_BAD) {
    if (!failure) impl.fail_lost("the connection was lost");
    failure->lost = true;
    impl.close();
    throw *failure;
  }
  auto sync = co_await impl.next_result();
  if (!sync || PQresultStatus(sync.get()) != PGRES_PIPELINE_SYNC) {
    impl.fail_lost("the batch did not end with its Sync");
  }
  impl.send_or_fail(PQexitPipelineMode(impl.handle));
  impl.disarm();
  if (failure) throw *failure;
  co_return results;
}

void Connection::close() noexcept { impl_->close(); }
bool Connection::usable() const noexcept {
  return impl_->handle != nullptr && PQstatus(impl_->handle) == CONNECTION_OK;
}
bool Connection::in_transaction() const noexcept {
  return usable() && PQtransactionStatus(impl_->handle) != PQTRANS_IDLE;
}
int Connection::process_id() const noexcept {
  return impl_->handle == nullptr ? 0 : PQbackendPID(impl_->handle);
}
int Connection::server_version() const noexcept {
  return impl_->handle == nullptr ? 0 : PQserverVersion(impl_->handle);
}
const std::string& Connection::purpose() const noexcept { return impl_->purpose; }

}  // namespace pgjanus::pg
