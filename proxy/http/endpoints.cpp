#include "proxy/http/endpoints.hpp"

#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>

#include "metrics/dashboard.hpp"
#include "metrics/family.hpp"
#include "proxy/engine/status_json.hpp"
#include "proxy/http/families.hpp"

namespace pgjanus::http {
namespace {

using metrics::Response;

Response text(unsigned status, std::string body) {
  Response response;
  response.status = status;
  response.body = std::move(body);
  return response;
}

Response status_answer(const Source& source) {
  auto status = source.status();
  // No query texts over HTTP (contract.md).
  const auto cut = [](std::string& why) { why.resize(std::min(why.size(), why.find(ddl_statement_mark))); };
  if (status.mirror_error) cut(*status.mirror_error);
  for (auto& waiting : status.waiting_for) cut(waiting.detail);
  for (auto& reason : status.rollback_reasons) cut(reason);
  const auto document = status_document(status);
  return {200, "application/json",
          document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n', {}};
}

Response metrics_answer(const Source& source) {
  return {200, metrics::text_format,
          metrics::render(families(source.status(), source.totals())), {}};
}

Response ready_answer(const Source& source) {
  if (source.draining()) return text(503, "draining\n");
  const auto status = source.status();
  if (status.ready) return text(200, "ready\n");
  const auto& why = status.not_ready_because;
  return text(503, (why.empty() ? "not ready" : why) + '\n');
}

}  // namespace

metrics::Handlers endpoints(boost::asio::io_context& io, Source source) {
  const auto shared = std::make_shared<const Source>(std::move(source));
  const auto asking = [&io, shared](Response (*answer)(const Source&)) -> metrics::Handler {
    return [&io, shared, answer](metrics::Reply reply) {
      boost::asio::post(io, [shared, answer, reply = std::move(reply)] { reply(answer(*shared)); });
    };
  };
  return {
      {"/", [](const metrics::Reply& reply) { reply(metrics::dashboard()); }},
      {"/status", asking(status_answer)},
      {"/metrics", asking(metrics_answer)},
      {"/healthz", asking([](const Source&) { return text(200, "ok\n"); })},
      {"/readyz", asking(ready_answer)},
  };
}

}  // namespace pgjanus::http
