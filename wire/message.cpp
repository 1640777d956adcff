#include "wire/message.hpp"

#include <algorithm>
#include <boost/endian/conversion.hpp>

namespace pgjanus::wire {
namespace {

// Whether `count` items of at least `item_size` bytes each can be in what is left: checked before
// anything is reserved for them, since the peer chooses the count.
bool may_hold(const FieldReader& fields, std::int16_t count, std::size_t item_size) {
  return count >= 0 && static_cast<std::size_t>(count) <= fields.rest().size() / item_size;
}

template <class Value>
Result<Value> if_complete(const FieldReader& fields, Value value) {
  if (!fields.complete()) return WireErrc::message_malformed;
  return value;
}

}  // namespace

bool is_frontend(std::uint8_t type) noexcept {
  switch (static_cast<Frontend>(type)) {
    case Frontend::bind:
    case Frontend::close:
    case Frontend::copy_data:
    case Frontend::copy_done:
    case Frontend::copy_fail:
    case Frontend::describe:
    case Frontend::execute:
    case Frontend::flush:
    case Frontend::function_call:
    case Frontend::parse:
    case Frontend::password:
    case Frontend::query:
    case Frontend::sync:
    case Frontend::terminate:
      return true;
  }
  return false;
}

bool exceeds_its_kind(ByteView input) noexcept {
  constexpr std::uint32_t small_length_max = 10'000;  // PQ_SMALL_MESSAGE_LIMIT of libpq.h.
  if (input.size() < 5 || boost::endian::load_big_u32(input.data() + 1) <= small_length_max) return false;
  switch (static_cast<Frontend>(input.front())) {
    case Frontend::bind:
    case Frontend::copy_data:
    case Frontend::function_call:
    case Frontend::parse:
    case Frontend::query:
      return false;  // As long as the server can hold; the framer knows that limit.
    default:
      return true;
  }
}

bool is_backend(std::uint8_t type) noexcept {
  switch (static_cast<Backend>(type)) {
    case Backend::authentication:
    case Backend::backend_key_data:
    case Backend::bind_complete:
    case Backend::close_complete:
    case Backend::command_complete:
    case Backend::copy_data:
    case Backend::copy_done:
    case Backend::copy_in_response:
    case Backend::copy_out_response:
    case Backend::copy_both_response:
    case Backend::data_row:
    case Backend::empty_query_response:
    case Backend::error_response:
    case Backend::function_call_response:
    case Backend::negotiate_protocol_version:
    case Backend::no_data:
    case Backend::notice_response:
    case Backend::notification_response:
    case Backend::parameter_description:
    case Backend::parameter_status:
    case Backend::parse_complete:
    case Backend::portal_suspended:
    case Backend::ready_for_query:
    case Backend::row_description:
      return true;
  }
  return false;
}

std::string_view ErrorFields::get(char code) const noexcept {
  const auto field = std::find_if(fields.begin(), fields.end(),
                                  [code](const auto& entry) { return entry.first == code; });
  return field == fields.end() ? std::string_view{} : std::string_view{field->second};
}

std::string_view ErrorFields::severity() const noexcept {
  const auto untranslated = get('V');
  return untranslated.empty() ? get('S') : untranslated;
}

ErrorFields make_error(std::string_view severity, std::string_view sqlstate,
                       std::string_view message, std::string_view detail, std::string_view hint) {
  ErrorFields error;
  const auto add = [&error](char code, std::string_view value) {
    // A zero byte ends a field; text that quotes a peer must not be able to forge another one.
    error.fields.emplace_back(code, value.substr(0, value.find('\0')));
  };
  add('S', severity);
  add('V', severity);
  add('C', sqlstate);
  add('M', message);
  if (!detail.empty()) add('D', detail);
  if (!hint.empty()) add('H', hint);
  return error;
}

Result<ErrorFields> decode_error_fields(ByteView body) {
  FieldReader fields{body};
  ErrorFields error;
  for (;;) {
    const auto code = fields.byte();
    if (code == 0) break;  // The terminator, or an overrun.
    const auto value = fields.cstring();
    if (fields.overrun()) break;
    error.fields.emplace_back(static_cast<char>(code), value);
  }
  return if_complete(fields, std::move(error));
}

Result<ParseView> decode_parse(ByteView body) {
  FieldReader fields{body};
  ParseView parse;
  parse.statement = fields.cstring();
  parse.query = fields.cstring();
  const auto count = fields.int16();
  if (!may_hold(fields, count, 4)) return WireErrc::message_malformed;
  parse.parameter_types.reserve(static_cast<std::size_t>(count));
  for (std::int16_t i = 0; i < count; ++i) parse.parameter_types.push_back(fields.int32());
  return if_complete(fields, std::move(parse));
}

Result<BindView> decode_bind_names(ByteView body_front) {
  FieldReader fields{body_front};
  BindView bind;
  bind.portal = fields.cstring();
  bind.statement = fields.cstring();
  if (fields.overrun()) return WireErrc::message_malformed;
  return bind;
}

Result<TargetView> decode_target(ByteView body) {
  FieldReader fields{body};
  TargetView target;
  target.kind = fields.byte();
  target.name = fields.cstring();
  if (target.kind != 'S' && target.kind != 'P') return WireErrc::message_malformed;
  return if_complete(fields, target);
}

Result<ExecuteView> decode_execute(ByteView body) {
  FieldReader fields{body};
  ExecuteView execute;
  execute.portal = fields.cstring();
  execute.row_limit = fields.int32();
  return if_complete(fields, execute);
}

Result<std::string_view> decode_query(ByteView body) {
  FieldReader fields{body};
  const auto query = fields.cstring();
  return if_complete(fields, query);
}

Result<ParameterStatusView> decode_parameter_status(ByteView body) {
  FieldReader fields{body};
  ParameterStatusView status;
  status.name = fields.cstring();
  status.value = fields.cstring();
  return if_complete(fields, status);
}

Result<BackendKeyData> decode_backend_key_data(ByteView body) {
  FieldReader fields{body};
  BackendKeyData key;
  key.process_id = fields.int32();
  key.secret_key = fields.int32();
  return if_complete(fields, key);
}

Result<TransactionStatus> decode_ready_for_query(ByteView body) {
  FieldReader fields{body};
  const auto status = static_cast<TransactionStatus>(fields.byte());
  switch (status) {
    case TransactionStatus::idle:
    case TransactionStatus::in_transaction:
    case TransactionStatus::failed:
      return if_complete(fields, status);
  }
  return WireErrc::message_malformed;
}

Result<std::string_view> decode_command_complete(ByteView body) { return decode_query(body); }

Result<AuthenticationView> decode_authentication(ByteView body) {
  FieldReader fields{body};
  AuthenticationView request;
  request.code = fields.int32();
  if (fields.overrun()) return WireErrc::message_malformed;
  switch (request.code) {
    case 0:
    case 3:
      break;
    case 5:
      request.data = fields.bytes(4);
      break;
    case 10:
      for (;;) {
        const auto mechanism = fields.cstring();
        if (mechanism.empty()) break;  // The terminator, or an overrun.
        request.mechanisms.push_back(mechanism);
      }
      break;
    case 11:
    case 12:
      request.data = fields.bytes(fields.rest().size());
      break;
    default:
      return WireErrc::unsupported_authentication;
  }
  return if_complete(fields, std::move(request));
}

Result<std::vector<std::optional<std::string_view>>> decode_data_row(ByteView body) {
  FieldReader fields{body};
  std::vector<std::optional<std::string_view>> values;
  const auto count = fields.int16();
  if (!may_hold(fields, count, 4)) return WireErrc::message_malformed;
  values.reserve(static_cast<std::size_t>(count));
  for (std::int16_t i = 0; i < count; ++i) {
    const auto size = fields.int32();
    if (size < -1) return WireErrc::message_malformed;
    if (size == -1) {
      values.push_back(std::nullopt);
    } else {
      values.push_back(as_text(fields.bytes(static_cast<std::size_t>(size))));
    }
  }
  return if_complete(fields, std::move(values));
}

Result<std::vector<Column>> decode_row_description(ByteView body) {
  FieldReader fields{body};
  std::vector<Column> columns;
  const auto count = fields.int16();
  if (!may_hold(fields, count, 19)) return WireErrc::message_malformed;  // 1+4+2+4+2+4+2.
  columns.reserve(static_cast<std::size_t>(count));
  for (std::int16_t i = 0; i < count; ++i) {
    Column column;
    column.name = fields.cstring();
    fields.int32();  // Table.
    fields.int16();  // Attribute number.
    column.type_oid = fields.int32();
    fields.int16();  // Type size.
    fields.int32();  // Type modifier.
    fields.int16();  // Format.
    columns.push_back(std::move(column));
  }
  return if_complete(fields, std::move(columns));
}

Result<std::string_view> decode_password(ByteView body) { return decode_query(body); }

Result<SaslInitialView> decode_sasl_initial_response(ByteView body) {
  FieldReader fields{body};
  SaslInitialView initial;
  initial.mechanism = fields.cstring();
  const auto size = fields.int32();
  if (size < -1) return WireErrc::message_malformed;
  if (size >= 0) initial.data = as_text(fields.bytes(static_cast<std::size_t>(size)));
  return if_complete(fields, initial);
}

}  // namespace pgjanus::wire
