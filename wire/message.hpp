#pragma once
// Messages after start-up, named as in the PostgreSQL manual ("Message Formats"). Structs with
// views borrow from the body that was decoded.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wire/bytes.hpp"
#include "wire/error.hpp"

namespace pgjanus::wire {

/// Type bytes of messages from the frontend. Bytes outside the enumerators are unknown messages.
enum class Frontend : std::uint8_t {
  bind = 'B',
  close = 'C',
  copy_data = 'd',
  copy_done = 'c',
  copy_fail = 'f',
  describe = 'D',
  execute = 'E',
  flush = 'H',
  function_call = 'F',
  parse = 'P',
  password = 'p',
  query = 'Q',
  sync = 'S',
  terminate = 'X',
};

/// Type bytes of messages from the backend.
enum class Backend : std::uint8_t {
  authentication = 'R',
  backend_key_data = 'K',
  bind_complete = '2',
  close_complete = '3',
  command_complete = 'C',
  copy_data = 'd',
  copy_done = 'c',
  copy_in_response = 'G',
  copy_out_response = 'H',
  copy_both_response = 'W',
  data_row = 'D',
  empty_query_response = 'I',
  error_response = 'E',
  function_call_response = 'V',
  negotiate_protocol_version = 'v',
  no_data = 'n',
  notice_response = 'N',
  notification_response = 'A',
  parameter_description = 't',
  parameter_status = 'S',
  parse_complete = '1',
  portal_suspended = 's',
  ready_for_query = 'Z',
  row_description = 'T',
};

[[nodiscard]] bool is_frontend(std::uint8_t type) noexcept;
/// Whether the frontend message that begins `input` says that it is longer than a server takes one of
/// its kind (SocketBackend, postgres.c). False while its header is not complete.
[[nodiscard]] bool exceeds_its_kind(ByteView input) noexcept;
[[nodiscard]] bool is_backend(std::uint8_t type) noexcept;

/// The status byte of ReadyForQuery.
enum class TransactionStatus : std::uint8_t { idle = 'I', in_transaction = 'T', failed = 'E' };

/// Fields of ErrorResponse and NoticeResponse by their one-byte codes ("Error and Notice Message
/// Fields"). Any of them may be absent.
struct ErrorFields {
  std::vector<std::pair<char, std::string>> fields;
  [[nodiscard]] std::string_view get(char code) const noexcept;  // Empty when absent.
  [[nodiscard]] std::string_view severity() const noexcept;      // 'V', else 'S'.
  [[nodiscard]] std::string_view sqlstate() const noexcept { return get('C'); }
  [[nodiscard]] std::string_view message() const noexcept { return get('M'); }
};

struct ParseView {
  std::string_view statement, query;
  std::vector<std::int32_t> parameter_types;  // OIDs; 0 leaves the choice to the server.
};
struct BindView {  // Only the names; values are passed on as they came.
  std::string_view portal, statement;
};
/// Describe and Close: kind 'S' (statement) or 'P' (portal).
struct TargetView {
  std::uint8_t kind = 'S';
  std::string_view name;
};
struct ExecuteView {
  std::string_view portal;
  std::int32_t row_limit = 0;  // 0: all rows.
};
struct ParameterStatusView {
  std::string_view name, value;
};
struct BackendKeyData {
  std::int32_t process_id = 0, secret_key = 0;
};

/// AuthenticationRequest: `code` 0 ok, 3 cleartext, 5 md5, 10 SASL, 11 continue, 12 final.
struct AuthenticationView {
  std::int32_t code = 0;
  ByteView data;                             // md5 salt (4 bytes), SASL continue/final data.
  std::vector<std::string_view> mechanisms;  // Of code 10.
};

/// SASLInitialResponse: the mechanism that the client chose and its first message.
struct SaslInitialView {
  std::string_view mechanism, data;
};

/// Column of RowDescription, text format; enough for the admin console and tests.
struct Column {
  std::string name;
  std::int32_t type_oid = 25;  // text
};

// Decoders take a whole body. Errors: message_malformed.
[[nodiscard]] Result<ErrorFields> decode_error_fields(ByteView body);
[[nodiscard]] Result<ParseView> decode_parse(ByteView body);
/// Works on the first piece of a long Bind too: nothing but the two names is read.
[[nodiscard]] Result<BindView> decode_bind_names(ByteView body_front);
[[nodiscard]] Result<TargetView> decode_target(ByteView body);
[[nodiscard]] Result<ExecuteView> decode_execute(ByteView body);
[[nodiscard]] Result<std::string_view> decode_query(ByteView body);
[[nodiscard]] Result<ParameterStatusView> decode_parameter_status(ByteView body);
[[nodiscard]] Result<BackendKeyData> decode_backend_key_data(ByteView body);
[[nodiscard]] Result<TransactionStatus> decode_ready_for_query(ByteView body);
[[nodiscard]] Result<std::string_view> decode_command_complete(ByteView body);
/// Errors: message_malformed, unsupported_authentication.
[[nodiscard]] Result<AuthenticationView> decode_authentication(ByteView body);
/// A DataRow's values; nothing stands for NULL.
[[nodiscard]] Result<std::vector<std::optional<std::string_view>>> decode_data_row(ByteView body);
[[nodiscard]] Result<std::vector<Column>> decode_row_description(ByteView body);
/// PasswordMessage: the clear text or the md5 answer. A secret: never log it.
[[nodiscard]] Result<std::string_view> decode_password(ByteView body);
/// SASLInitialResponse; the body of SASLResponse is its data and needs no decoder.
[[nodiscard]] Result<SaslInitialView> decode_sasl_initial_response(ByteView body);

// Encoders append to `out`.
void encode_authentication_ok(Bytes& out);
void encode_authentication_cleartext(Bytes& out);
void encode_authentication_md5(Bytes& out, ByteView salt);  // Four bytes.
void encode_authentication_sasl(Bytes& out, const std::vector<std::string_view>& mechanisms);
void encode_authentication_sasl_continue(Bytes& out, std::string_view data);
void encode_authentication_sasl_final(Bytes& out, std::string_view data);
void encode_parameter_status(Bytes& out, std::string_view name, std::string_view value);
void encode_backend_key_data(Bytes& out, BackendKeyData key);
void encode_ready_for_query(Bytes& out, TransactionStatus status);
void encode_error_response(Bytes& out, const ErrorFields& fields);
void encode_notice_response(Bytes& out, const ErrorFields& fields);
void encode_row_description(Bytes& out, const std::vector<Column>& columns);
void encode_data_row(Bytes& out, const std::vector<std::optional<std::string>>& values);
void encode_command_complete(Bytes& out, std::string_view tag);
void encode_empty(Bytes& out, Backend type);  // Messages without a body: ParseComplete, NoData, ...

void encode_password(Bytes& out, std::string_view password);
void encode_sasl_initial_response(Bytes& out, std::string_view mechanism, std::string_view data);
void encode_sasl_response(Bytes& out, std::string_view data);
void encode_query(Bytes& out, std::string_view query);
void encode_parse(Bytes& out, std::string_view statement, std::string_view query,
                  const std::vector<std::int32_t>& parameter_types);
void encode_close(Bytes& out, std::uint8_t kind, std::string_view name);
void encode_describe(Bytes& out, std::uint8_t kind, std::string_view name);
void encode_sync(Bytes& out);
void encode_terminate(Bytes& out);

/// An error of ours: severity, SQLSTATE, message, and detail or hint where not empty.
[[nodiscard]] ErrorFields make_error(std::string_view severity, std::string_view sqlstate,
                                     std::string_view message, std::string_view detail = {},
                                     std::string_view hint = {});

}  // namespace pgjanus::wire
