// Every decoder of message.hpp on the same body; what decodes and has an encoder must come back
// the same.

#include <string>

#include "wire/assert.hpp"
#include "wire/message.hpp"

using namespace pgjanus::wire;

namespace {

// The messages that `encode` writes from a decoded `body` must have that body again.
template <class Encode>
void same(ByteView body, Encode encode) {
  Bytes out;
  encode(out);
  PROXY_ASSERT(out.size() == body.size() + 5);
  PROXY_ASSERT(std::equal(body.begin(), body.end(), out.begin() + 5));
}

void frontend(ByteView body) {
  if (const auto parse = decode_parse(body)) {
    same(body, [&](Bytes& out) {
      encode_parse(out, parse->statement, parse->query, parse->parameter_types);
    });
  }
  if (const auto bind = decode_bind_names(body)) {
    PROXY_ASSERT(bind->portal.size() + bind->statement.size() + 2 <= body.size());
  }
  if (const auto target = decode_target(body)) {
    same(body, [&](Bytes& out) { encode_describe(out, target->kind, target->name); });
    same(body, [&](Bytes& out) { encode_close(out, target->kind, target->name); });
  }
  if (const auto execute = decode_execute(body)) {
    PROXY_ASSERT(execute->portal.size() + 5 == body.size());
  }
  if (const auto query = decode_query(body)) {
    same(body, [&](Bytes& out) { encode_query(out, *query); });
  }
  if (const auto password = decode_password(body)) {
    same(body, [&](Bytes& out) { encode_password(out, *password); });
  }
  if (const auto initial = decode_sasl_initial_response(body)) {
    if (initial->data.data() != nullptr) {  // Else its length was -1, which is not what we write.
      same(body, [&](Bytes& out) {
        encode_sasl_initial_response(out, initial->mechanism, initial->data);
      });
    }
  }
}

void backend(ByteView body) {
  if (const auto error = decode_error_fields(body)) {
    (void)error->severity();
    (void)error->sqlstate();
    same(body, [&](Bytes& out) { encode_error_response(out, *error); });
  }
  if (const auto status = decode_parameter_status(body)) {
    same(body, [&](Bytes& out) { encode_parameter_status(out, status->name, status->value); });
  }
  if (const auto key = decode_backend_key_data(body)) {
    same(body, [&](Bytes& out) { encode_backend_key_data(out, *key); });
  }
  if (const auto status = decode_ready_for_query(body)) {
    same(body, [&](Bytes& out) { encode_ready_for_query(out, *status); });
  }
  if (const auto tag = decode_command_complete(body)) {
    same(body, [&](Bytes& out) { encode_command_complete(out, *tag); });
  }
  if (const auto row = decode_data_row(body)) {
    std::vector<std::optional<std::string>> values;
    for (const auto& value : *row) {
      if (value) {
        values.emplace_back(std::string{*value});
      } else {
        values.emplace_back(std::nullopt);
      }
    }
    same(body, [&](Bytes& out) { encode_data_row(out, values); });
  }
  if (const auto columns = decode_row_description(body)) {
    Bytes out;  // Less than what came is kept of a column, so only the names must come back.
    encode_row_description(out, *columns);
    const auto again = decode_row_description(ByteView{out}.subspan(5));
    PROXY_ASSERT(again && again->size() == columns->size());
    for (std::size_t i = 0; i < columns->size(); ++i) {
      PROXY_ASSERT((*again)[i].name == (*columns)[i].name);
      PROXY_ASSERT((*again)[i].type_oid == (*columns)[i].type_oid);
    }
  }
}

void authentication(ByteView body) {
  const auto request = decode_authentication(body);
  if (!request) return;
  same(body, [&](Bytes& out) {
    const auto data = as_text(request->data);
    if (request->code == 0) encode_authentication_ok(out);
    if (request->code == 3) encode_authentication_cleartext(out);
    if (request->code == 5) encode_authentication_md5(out, request->data);
    if (request->code == 10) encode_authentication_sasl(out, request->mechanisms);
    if (request->code == 11) encode_authentication_sasl_continue(out, data);
    if (request->code == 12) encode_authentication_sasl_final(out, data);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView body{data, size};
  frontend(body);
  backend(body);
  authentication(body);
  return 0;
}
