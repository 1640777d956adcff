#include "metrics/dashboard.hpp"

#include <random>

#include "dashboard_page.hpp"

namespace pgjanus::metrics {
namespace {

/// 128 bits, fresh for each answer: only elements that carry it are obeyed (CSP Level 3, "nonces").
std::string fresh_nonce() {
  std::random_device random;
  static constexpr char digits[] = "0123456789abcdef";
  std::string nonce;
  for (int word = 0; word < 4; ++word) {
    for (auto bits = random(), i = 0U; i < 8; ++i, bits >>= 4) nonce += digits[bits & 15];
  }
  return nonce;
}

}  // namespace

Response dashboard() {
  static constexpr std::string_view mark = "@NONCE@";
  const auto nonce = fresh_nonce();
  std::string page{dashboard_html};
  for (auto at = page.find(mark); at != std::string::npos; at = page.find(mark, at)) {
    page.replace(at, mark.size(), nonce);
  }
  return {200, "text/html; charset=utf-8", std::move(page),
          "default-src 'none'; script-src 'nonce-" + nonce + "'; style-src 'nonce-" + nonce +
              "'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"};
}

}  // namespace pgjanus::metrics
