#pragma once
// Progress on stderr: a bar on a terminal, lines elsewhere.

#include <string>

namespace pgjanus::admin {

class ProgressPrinter {
 public:
  ProgressPrinter();
  ~ProgressPrinter();
  ProgressPrinter(const ProgressPrinter&) = delete;
  ProgressPrinter& operator=(const ProgressPrinter&) = delete;
  /// One line from the proxy. A percentage in it ("42%", "42.5 %") becomes the bar.
  void show(const std::string& text);
  /// Ends a bar that stands on the terminal's line; results may follow.
  void finish();

 private:
  bool terminal_ = false, open_ = false;
  std::string last_;
};

/// Share between 0 and 1 that a line mentions, or a negative number.
[[nodiscard]] double share_in(const std::string& text);

}  // namespace pgjanus::admin
