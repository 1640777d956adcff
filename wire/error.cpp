#include "wire/error.hpp"

#include <string>

namespace pgjanus::wire {
namespace {

// Categories are never deleted through their base, whose destructor is not virtual by design.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"
class WireCategory final : public boost::system::error_category {
 public:
  const char* name() const noexcept override { return "pgjanus.wire"; }

  std::string message(int value) const override {
    switch (static_cast<WireErrc>(value)) {
      case WireErrc::startup_length:
        return "invalid length of startup packet";
      case WireErrc::startup_malformed:
        return "invalid startup packet layout";
      case WireErrc::unsupported_protocol:
        return "unsupported frontend protocol";
      case WireErrc::message_length:
        return "invalid message length";
      case WireErrc::message_malformed:
        return "invalid message format";
      case WireErrc::unknown_message:
        return "invalid message type";
      case WireErrc::unsupported_authentication:
        return "the server asks for an authentication method that is not supported";
      case WireErrc::scram_malformed:
        return "malformed SCRAM message";
      case WireErrc::scram_nonce:
        return "SCRAM nonce does not match";
      case WireErrc::scram_iterations:
        return "SCRAM iteration count out of range";
      case WireErrc::scram_channel_binding:
        return "SCRAM channel binding check failed";
      case WireErrc::scram_proof:
        return "password authentication failed";
      case WireErrc::scram_server_signature:
        return "incorrect server signature in SCRAM exchange";
    }
    return "unknown wire error";
  }
};
#pragma GCC diagnostic pop

}  // namespace

const boost::system::error_category& wire_category() noexcept {
  static const WireCategory category;
  return category;
}

boost::system::error_code make_error_code(WireErrc error) noexcept {
  return {static_cast<int>(error), wire_category()};
}

}  // namespace pgjanus::wire
