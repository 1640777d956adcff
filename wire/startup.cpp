#include "wire/startup.hpp"

#include <boost/endian/conversion.hpp>

#include "wire/assert.hpp"

namespace pgjanus::wire {
namespace {

// src/include/libpq/pqcomm.h: version numbers no real protocol will have.
constexpr std::int32_t cancel_request_code = (1234 << 16) | 5678;
constexpr std::int32_t ssl_request_code = (1234 << 16) | 5679;
constexpr std::int32_t gssenc_request_code = (1234 << 16) | 5680;
constexpr std::uint32_t startup_size_min = 8;  // Length and code.

Result<StartupPacket> decode_parameters(FieldReader fields, std::uint32_t version) {
  StartupMessage message;
  message.major = static_cast<std::uint16_t>(version >> 16);
  message.minor = static_cast<std::uint16_t>(version & 0xFFFF);
  if (message.major != 3) return WireErrc::unsupported_protocol;
  for (;;) {
    const auto name = fields.cstring();
    if (name.empty()) break;  // The terminator, or an overrun.
    const auto value = fields.cstring();
    if (fields.overrun()) break;
    message.parameters.emplace_back(name, value);
  }
  if (!fields.complete()) return WireErrc::startup_malformed;
  return StartupPacket{std::move(message)};
}

}  // namespace

std::optional<std::string_view> StartupMessage::parameter(std::string_view name) const noexcept {
  // The server applies parameters in the order sent, so the last one wins.
  for (auto entry = parameters.rbegin(); entry != parameters.rend(); ++entry) {
    if (entry->first == name) return std::string_view{entry->second};
  }
  return std::nullopt;
}

Result<std::optional<std::uint32_t>> startup_size(ByteView input) {
  if (input.size() < 4) return std::nullopt;
  const auto size = boost::endian::load_big_u32(input.data());
  if (size < startup_size_min || size > startup_size_max) return WireErrc::startup_length;
  return size;
}

Result<StartupPacket> decode_startup(ByteView packet) {
  FieldReader fields{packet};
  const auto length = static_cast<std::uint32_t>(fields.int32());
  const auto code = fields.int32();
  if (fields.overrun() || length != packet.size() || length > startup_size_max) {
    return WireErrc::startup_malformed;
  }
  switch (code) {
    case ssl_request_code:
      if (!fields.complete()) return WireErrc::startup_malformed;
      return StartupPacket{SslRequest{}};
    case gssenc_request_code:
      if (!fields.complete()) return WireErrc::startup_malformed;
      return StartupPacket{GssEncRequest{}};
    case cancel_request_code: {
      CancelRequest request;
      request.process_id = fields.int32();
      request.secret_key = fields.int32();
      // A key of another length (up to 256 bytes in 3.2) is nobody's; nobody is told.
      return StartupPacket{fields.complete() ? request : CancelRequest{}};
    }
    default:
      return decode_parameters(fields, static_cast<std::uint32_t>(code));
  }
}

void encode_startup(Bytes& out, const StartupMessage& message) {
  MessageWriter writer{out};
  writer.begin_untyped().int32((message.major << 16) | message.minor);
  for (const auto& [name, value] : message.parameters) {
    PROXY_ASSERT(!name.empty());  // An empty name is the terminator.
    writer.cstring(name).cstring(value);
  }
  writer.byte(0).end();
}

void encode_ssl_request(Bytes& out) {
  MessageWriter writer{out};
  writer.begin_untyped().int32(ssl_request_code).end();
}

void encode_cancel_request(Bytes& out, CancelRequest request) {
  MessageWriter writer{out};
  writer.begin_untyped()
      .int32(cancel_request_code)
      .int32(request.process_id)
      .int32(request.secret_key)
      .end();
}

void encode_negotiate_protocol_version(Bytes& out, std::int32_t newest_minor,
                                       const std::vector<std::string>& unknown_options) {
  PROXY_ASSERT(newest_minor >= 0 && newest_minor <= 0xFFFF);
  MessageWriter writer{out};
  // The manual says "newest minor version", but the server sends major and minor together
  // (SendNegotiateProtocolVersion, backend_startup.c) and libpq refuses anything else.
  writer.begin('v')
      .int32((3 << 16) | newest_minor)
      .int32(static_cast<std::int32_t>(unknown_options.size()));
  for (const auto& option : unknown_options) writer.cstring(option);
  writer.end();
}

}  // namespace pgjanus::wire
