#pragma once
// What a client may send first (PostgreSQL manual, "Message Formats": StartupMessage, SSLRequest,
// GSSENCRequest, CancelRequest).

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "wire/bytes.hpp"
#include "wire/error.hpp"

namespace pgjanus::wire {

/// MAX_STARTUP_PACKET_LENGTH of src/include/libpq/pqcomm.h, which does not count the length field.
inline constexpr std::uint32_t startup_size_max = 10'004;

struct SslRequest {};
struct GssEncRequest {};

/// Names one running session; both numbers were sent to its client in BackendKeyData.
struct CancelRequest {
  std::int32_t process_id = 0;
  std::int32_t secret_key = 0;
};

struct StartupMessage {
  std::uint16_t major = 3;
  std::uint16_t minor = 0;
  std::vector<std::pair<std::string, std::string>> parameters;  // In the order sent.
  /// The value of one parameter (the last where it was sent twice, as the server takes it), or
  /// nothing. Protocol options (`_pq_.`) are parameters too.
  [[nodiscard]] std::optional<std::string_view> parameter(std::string_view name) const noexcept;
};

using StartupPacket = std::variant<SslRequest, GssEncRequest, CancelRequest, StartupMessage>;

/// Size of the packet at the front of `input` once its length field is there; nothing before.
/// Errors: startup_length.
[[nodiscard]] Result<std::optional<std::uint32_t>> startup_size(ByteView input);

/// Decodes one whole packet. Errors: startup_malformed, unsupported_protocol.
[[nodiscard]] Result<StartupPacket> decode_startup(ByteView packet);

void encode_startup(Bytes& out, const StartupMessage& message);
void encode_ssl_request(Bytes& out);
void encode_cancel_request(Bytes& out, CancelRequest request);

/// NegotiateProtocolVersion: the newest minor version that we speak and the `_pq_.` options that
/// we do not know.
void encode_negotiate_protocol_version(Bytes& out, std::int32_t newest_minor,
                                       const std::vector<std::string>& unknown_options);

}  // namespace pgjanus::wire
