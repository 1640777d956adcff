// The encoders of message.hpp; their decoders stand in message.cpp.

#include <limits>

#include "wire/assert.hpp"
#include "wire/message.hpp"

namespace pgjanus::wire {
namespace {

constexpr std::uint8_t code(Frontend type) { return static_cast<std::uint8_t>(type); }
constexpr std::uint8_t code(Backend type) { return static_cast<std::uint8_t>(type); }

template <class Size>
Size bounded(std::size_t size) {
  PROXY_ASSERT(size <= static_cast<std::size_t>(std::numeric_limits<Size>::max()));
  return static_cast<Size>(size);
}

void encode_text(Bytes& out, std::uint8_t type, std::string_view text) {
  MessageWriter{out}.begin(type).cstring(text).end();
}

void encode_fields(Bytes& out, Backend type, const ErrorFields& fields) {
  MessageWriter writer{out};
  writer.begin(code(type));
  for (const auto& [field, value] : fields.fields) {
    PROXY_ASSERT(field != '\0');  // The terminator.
    writer.byte(static_cast<std::uint8_t>(field)).cstring(value);
  }
  writer.byte(0).end();
}

void encode_named(Bytes& out, Frontend type, std::uint8_t kind, std::string_view name) {
  PROXY_ASSERT(kind == 'S' || kind == 'P');
  MessageWriter{out}.begin(code(type)).byte(kind).cstring(name).end();
}

MessageWriter begin_authentication(Bytes& out, std::int32_t request) {
  MessageWriter writer{out};
  writer.begin(code(Backend::authentication)).int32(request);
  return writer;
}

}  // namespace

void encode_authentication_ok(Bytes& out) { begin_authentication(out, 0).end(); }

void encode_authentication_cleartext(Bytes& out) { begin_authentication(out, 3).end(); }

void encode_authentication_md5(Bytes& out, ByteView salt) {
  PROXY_ASSERT(salt.size() == 4);
  begin_authentication(out, 5).bytes(salt).end();
}

void encode_authentication_sasl(Bytes& out, const std::vector<std::string_view>& mechanisms) {
  auto writer = begin_authentication(out, 10);
  for (const auto mechanism : mechanisms) {
    PROXY_ASSERT(!mechanism.empty());  // The terminator.
    writer.cstring(mechanism);
  }
  writer.byte(0).end();
}

void encode_authentication_sasl_continue(Bytes& out, std::string_view data) {
  begin_authentication(out, 11).text(data).end();
}

void encode_authentication_sasl_final(Bytes& out, std::string_view data) {
  begin_authentication(out, 12).text(data).end();
}

void encode_parameter_status(Bytes& out, std::string_view name, std::string_view value) {
  MessageWriter{out}.begin(code(Backend::parameter_status)).cstring(name).cstring(value).end();
}

void encode_backend_key_data(Bytes& out, BackendKeyData key) {
  MessageWriter{out}
      .begin(code(Backend::backend_key_data))
      .int32(key.process_id)
      .int32(key.secret_key)
      .end();
}

void encode_ready_for_query(Bytes& out, TransactionStatus status) {
  MessageWriter{out}
      .begin(code(Backend::ready_for_query))
      .byte(static_cast<std::uint8_t>(status))
      .end();
}

void encode_error_response(Bytes& out, const ErrorFields& fields) {
  encode_fields(out, Backend::error_response, fields);
}

void encode_notice_response(Bytes& out, const ErrorFields& fields) {
  encode_fields(out, Backend::notice_response, fields);
}

void encode_row_description(Bytes& out, const std::vector<Column>& columns) {
  MessageWriter writer{out};
  writer.begin(code(Backend::row_description)).int16(bounded<std::int16_t>(columns.size()));
  for (const auto& column : columns) {
    writer.cstring(column.name);
    writer.int32(0).int16(0).int32(column.type_oid);  // No table, no attribute number.
    writer.int16(-1).int32(-1).int16(0);              // Variable size, no modifier, text format.
  }
  writer.end();
}

void encode_data_row(Bytes& out, const std::vector<std::optional<std::string>>& values) {
  MessageWriter writer{out};
  writer.begin(code(Backend::data_row)).int16(bounded<std::int16_t>(values.size()));
  for (const auto& value : values) {
    if (value) {
      writer.int32(bounded<std::int32_t>(value->size())).text(*value);
    } else {
      writer.int32(-1);
    }
  }
  writer.end();
}

void encode_command_complete(Bytes& out, std::string_view tag) {
  encode_text(out, code(Backend::command_complete), tag);
}

void encode_empty(Bytes& out, Backend type) { MessageWriter{out}.begin(code(type)).end(); }

void encode_password(Bytes& out, std::string_view password) {
  encode_text(out, code(Frontend::password), password);
}

void encode_sasl_initial_response(Bytes& out, std::string_view mechanism, std::string_view data) {
  MessageWriter{out}
      .begin(code(Frontend::password))
      .cstring(mechanism)
      .int32(bounded<std::int32_t>(data.size()))
      .text(data)
      .end();
}

void encode_sasl_response(Bytes& out, std::string_view data) {
  MessageWriter{out}.begin(code(Frontend::password)).text(data).end();
}

void encode_query(Bytes& out, std::string_view query) {
  encode_text(out, code(Frontend::query), query);
}

void encode_parse(Bytes& out, std::string_view statement, std::string_view query,
                  const std::vector<std::int32_t>& parameter_types) {
  MessageWriter writer{out};
  writer.begin(code(Frontend::parse)).cstring(statement).cstring(query);
  writer.int16(bounded<std::int16_t>(parameter_types.size()));
  for (const auto type : parameter_types) writer.int32(type);
  writer.end();
}

void encode_close(Bytes& out, std::uint8_t kind, std::string_view name) {
  encode_named(out, Frontend::close, kind, name);
}

void encode_describe(Bytes& out, std::uint8_t kind, std::string_view name) {
  encode_named(out, Frontend::describe, kind, name);
}

void encode_sync(Bytes& out) { MessageWriter{out}.begin(code(Frontend::sync)).end(); }

void encode_terminate(Bytes& out) { MessageWriter{out}.begin(code(Frontend::terminate)).end(); }

}  // namespace pgjanus::wire
