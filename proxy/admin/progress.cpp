#include "proxy/admin/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace pgjanus::admin {
namespace {

std::size_t terminal_width() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col;
  return 80;
}

/// Cut to `width` characters, not bytes, so that a cut never splits one.
std::string cut(const std::string& text, std::size_t width) {
  std::size_t characters = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto begins = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (begins && characters++ == width) return text.substr(0, i);
  }
  return text;
}

}  // namespace

double share_in(const std::string& text) {
  const auto sign = text.find('%');
  if (sign == std::string::npos) return -1;
  auto end = sign;
  while (end > 0 && text[end - 1] == ' ') --end;
  auto begin = end;
  while (begin > 0 && ((text[begin - 1] >= '0' && text[begin - 1] <= '9') || text[begin - 1] == '.')) {
    --begin;
  }
  if (begin == end) return -1;
  return std::clamp(std::strtod(text.c_str() + begin, nullptr) / 100, 0.0, 1.0);
}

ProgressPrinter::ProgressPrinter() {
  const char* terminal = std::getenv("TERM");
  terminal_ = isatty(STDERR_FILENO) != 0 && terminal && std::string{terminal} != "dumb";
}

ProgressPrinter::~ProgressPrinter() { finish(); }

void ProgressPrinter::show(const std::string& text) {
  if (text == last_) return;
  last_ = text;
  if (!terminal_) {
    std::fprintf(stderr, "%s\n", text.c_str());
    return;
  }
  const auto share = share_in(text);
  if (share < 0) {
    finish();
    std::fprintf(stderr, "%s\n", text.c_str());
    return;
  }
  constexpr std::size_t cells = 24;
  const auto full = static_cast<std::size_t>(share * cells);
  std::string bar;
  for (std::size_t i = 0; i < cells; ++i) bar += i < full ? "█" : "░";
  const auto room = terminal_width() - std::min(terminal_width(), cells + 2);
  std::fprintf(stderr, "\r\033[K%s %s", bar.c_str(), cut(text, room).c_str());
  std::fflush(stderr);
  open_ = true;
}

void ProgressPrinter::finish() {
  if (open_) std::fputc('\n', stderr);
  open_ = false;
}

}  // namespace pgjanus::admin
