#include "proxy/pg/admin_client.hpp"

#include <libpq-fe.h>
#include <poll.h>

#include <array>
#include <memory>

namespace pgjanus::pg {

struct AdminClient::Impl {
  PGconn* connection = nullptr;
  OnNotice on_notice;
  bool cancelled = false;
};

namespace {

std::string field(const PGresult* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text ? text : "";
}

std::string last_error(PGconn* connection) {
  std::string text = PQerrorMessage(connection);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

struct Clear {
  void operator()(PGresult* result) const noexcept { PQclear(result); }
};

}  // namespace

AdminClient::AdminClient(const std::string& directory, std::uint16_t port, OnNotice on_notice)
    : impl_{new Impl{nullptr, std::move(on_notice), false}} {
  const auto port_text = std::to_string(port);
  const std::array names{"host",     "port",    "dbname", "user",
                         "sslmode",  "gssencmode", "connect_timeout", "application_name",
                         static_cast<const char*>(nullptr)};
  const std::array values{directory.c_str(), port_text.c_str(), "pgjanus", "pgjanus",
                          "disable",         "disable",         "10",      "pgjanus cli",
                          static_cast<const char*>(nullptr)};
  impl_->connection = PQconnectdbParams(names.data(), values.data(), 0);
  if (PQstatus(impl_->connection) != CONNECTION_OK) {
    const auto why = last_error(impl_->connection);
    PQfinish(impl_->connection);
    delete impl_;
    throw AdminClientError{why};
  }
  PQsetNoticeReceiver(
      impl_->connection,
      [](void* self, const PGresult* result) {
        const auto text = field(result, PG_DIAG_MESSAGE_PRIMARY);
        static_cast<Impl*>(self)->on_notice(text);
      },
      impl_);
}

AdminClient::~AdminClient() {
  PQfinish(impl_->connection);
  delete impl_;
}

void AdminClient::wait(const Interrupted& interrupted) {
  while (PQisBusy(impl_->connection)) {
    pollfd ready{PQsocket(impl_->connection), POLLIN, 0};
    // A signal ends the poll early; the limit only covers one that came just before it.
    const int result = poll(&ready, 1, 200);
    if (interrupted() && !impl_->cancelled) {
      impl_->cancelled = true;
      std::array<char, 256> why{};
      const std::unique_ptr<PGcancel, decltype(&PQfreeCancel)> cancel{
          PQgetCancel(impl_->connection), &PQfreeCancel};
      if (cancel) PQcancel(cancel.get(), why.data(), static_cast<int>(why.size()));
    }
    if (result > 0 && !PQconsumeInput(impl_->connection)) return;
  }
}

AdminClient::Result AdminClient::run(const std::string& command, const Interrupted& interrupted) {
  Result answer;
  auto* connection = impl_->connection;
  if (!PQsendQuery(connection, command.c_str())) {
    return {std::nullopt, true, true, {}, last_error(connection), {}};
  }
  while (true) {
    wait(interrupted);
    const std::unique_ptr<PGresult, Clear> result{PQgetResult(connection)};
    if (!result) break;
    const auto status = PQresultStatus(result.get());
    if (status == PGRES_TUPLES_OK && PQntuples(result.get()) > 0 && !answer.document) {
      answer.document = PQgetvalue(result.get(), 0, 0);
    } else if (status == PGRES_FATAL_ERROR) {
      answer.failed = true;
      answer.sqlstate = field(result.get(), PG_DIAG_SQLSTATE);
      answer.message = field(result.get(), PG_DIAG_MESSAGE_PRIMARY);
      answer.hint = field(result.get(), PG_DIAG_MESSAGE_HINT);
      if (answer.message.empty()) answer.message = last_error(connection);
      if (PQstatus(connection) == CONNECTION_BAD) {
        answer.lost = true;
        break;
      }
    }
  }
  return answer;
}

}  // namespace pgjanus::pg
