#pragma once
// The operator's end of the admin socket: blocking libpq, for the short life of one verb.

#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>

namespace pgjanus::pg {

/// Could not connect: says where and why.
struct AdminClientError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class AdminClient {
 public:
  using OnNotice = std::function<void(const std::string&)>;
  /// Asked a few times a second; true once asks the proxy to cancel and goes on waiting.
  using Interrupted = std::function<bool()>;

  /// Connects. Throws AdminClientError.
  AdminClient(const std::string& directory, std::uint16_t port, OnNotice on_notice);
  ~AdminClient();
  AdminClient(const AdminClient&) = delete;
  AdminClient& operator=(const AdminClient&) = delete;

  struct Result {
    std::optional<std::string> document;  // First column of the first row that came.
    bool failed = false;
    bool lost = false;                    // The connection ended before the answer.
    std::string sqlstate, message, hint;  // Of the error.
  };
  /// Sends one command and waits for its whole answer.
  [[nodiscard]] Result run(const std::string& command, const Interrupted& interrupted);

 private:
  void wait(const Interrupted& interrupted);
  struct Impl;
  Impl* impl_;
};

}  // namespace pgjanus::pg
