// classify() on any text that a Query can carry: it answers, the same each time, and never trusts
// a text more for knowing less about the database.

#include "router/classify.hpp"
#include "router/normalize.hpp"

#include "wire/assert.hpp"
#include "wire/bytes.hpp"

using namespace pgjanus;

namespace {

Catalog catalog() {
  Catalog names;
  names.safe_functions = {"lower", "count", "now", "coalesce", "sum"};
  names.plain_relations = {"t", "orders", "customers"};
  names.opaque_relations = {"v"};
  names.volatile_operators = {"<#>"};
  return names;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = wire::as_text({data, size});
  const auto text = input.substr(0, input.find('\0'));
  static const auto names = catalog();
  const auto first = classify(text, names);
  PROXY_ASSERT(first == classify(text, names));
  PROXY_ASSERT(!to_string(first.kind).empty());

  static const Catalog ignorant{.volatile_operators = names.volatile_operators};
  const auto strict = classify(text, ignorant);
  if (strict.kind == StatementKind::read) PROXY_ASSERT(first.kind == StatementKind::read);

  // Constants do not matter. (Longer texts may be thought too deep, and their short forms not.)
  std::string buffer;
  const auto plain = normalized(text, buffer);
  if (text.size() <= 1000) PROXY_ASSERT(classify(plain, names) == first);
  std::string again;
  PROXY_ASSERT(normalized(plain, again) == plain);
  return 0;
}
