#pragma once
// Errors of this folder: each names what the peer did.

#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>
#include <cstdint>

namespace pgjanus::wire {

/// A value or what the peer did wrong. Never carries bytes of the peer.
template <class T>
using Result = boost::system::result<T>;

enum class WireErrc : std::uint8_t {
  startup_length = 1,          // Startup packet shorter than 8 or longer than 10,000 bytes.
  startup_malformed,           // Parameters without terminator, a missing value, an empty name.
  unsupported_protocol,        // Major version other than 3.
  message_length,              // A length field below 4 or beyond 2^30 - 1.
  message_malformed,           // Fields that overrun the body, or bytes left over.
  unknown_message,             // A type byte that the protocol does not have.
  unsupported_authentication,  // The server asks for a method we do not have (GSS, SSPI, Kerberos).
  scram_malformed,             // A SCRAM message that RFC 5802 does not allow.
  scram_nonce,                 // The nonce does not continue ours.
  scram_iterations,            // Iteration count absurdly low or high.
  scram_channel_binding,       // Channel binding flag or data do not fit what was offered.
  scram_proof,                 // The proof is wrong: wrong password or unknown user.
  scram_server_signature,      // The server does not know the password: an impostor.
};

[[nodiscard]] const boost::system::error_category& wire_category() noexcept;
[[nodiscard]] boost::system::error_code make_error_code(WireErrc error) noexcept;

}  // namespace pgjanus::wire

template <>
struct boost::system::is_error_code_enum<pgjanus::wire::WireErrc> : std::true_type {};
