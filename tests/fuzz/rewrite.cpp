// The rewriter of names: SQL in, SQL with the other side's names out. The first byte chooses the
// renames; 'c': two names on the first line. What is rewritten must parse as before and have as much
// in it, must hold nothing more to rewrite, and comes back as it was under the renames the other way
// round.

#include "router/rewrite.hpp"

#include <algorithm>
#include <optional>
#include <string>

#include "router/name_places.hpp"
#include "router/parse_tree.hpp"
#include "wire/assert.hpp"
#include "wire/bytes.hpp"

using namespace pgjanus;

namespace {

using Entries = std::vector<Rewriter::Entry>;

Entries turned(Entries entries) {
  for (auto& entry : entries) {
    std::swap(entry.from, entry.to);
    entry.alone = Unqualified::stays;  // As towards the source.
  }
  return entries;
}

/// To themselves: spells every name out.
Entries same(Entries entries) {
  for (auto& entry : entries) entry.to = entry.from;
  return entries;
}

const Entries moved{{{"public", "users"}, {"auth", "users"}, Unqualified::is_ours},
                    {{"public", "seq"}, {"auth", "seq"}, Unqualified::is_ours},
                    {{"app", "Odd \"x\""}, {"auth", "Odd \"x\""}, Unqualified::is_ours}};
const Entries renamed{{{"public", "users"}, {"auth", "people"}, Unqualified::is_ours},
                      {{"app", "t"}, {"app", "u"}, Unqualified::is_ours}};

/// Nothing has come or gone, and what had a schema has one.
void check_places(const Places& before, const Places& after) {
  PROXY_ASSERT(before.relations.size() == after.relations.size());
  PROXY_ASSERT(before.columns.size() == after.columns.size());
  PROXY_ASSERT(before.functions.size() == after.functions.size());
  PROXY_ASSERT(before.types.size() == after.types.size());
  auto there = after.relations.begin();
  for (const auto& [at, relation] : before.relations) {
    if (relation.qualified) PROXY_ASSERT(there->second.qualified);
    ++there;
  }
}

void check(std::string_view text, const Entries& entries, TextOf whose) {
  const Rewriter there{entries};
  const auto result = there.rewrite(text, whose);
  PROXY_ASSERT(result == there.rewrite(text, whose));
  if (!there.may_concern(text)) PROXY_ASSERT(!result);
  if (!result) return;

  const auto statements = parse_statements(text), others = parse_statements(*result);
  PROXY_ASSERT(!statements || others);
  if (statements) {
    PROXY_ASSERT(statements->size() == others->size());
    for (std::size_t i = 0; i < statements->size(); ++i) PROXY_ASSERT((*statements)[i].type == (*others)[i].type);
    const auto before = places_of(std::string{text}), after = places_of(*result);
    PROXY_ASSERT(before && after);
    check_places(*before, *after);
  }

  const Rewriter back{turned(entries)};
  if (back.rewrite(text, whose)) return;  // It has the other side's names, too.
  PROXY_ASSERT(!there.rewrite(*result, whose));
  for (const auto& entry : entries) {
    if (entry.from.name != entry.to.name) return;  // An alias has come into it.
  }
  if (!statements) return;  // UPDATE users(: by its tokens that is a relation, and qualified a function.
  const auto again = back.rewrite(*result, whose);
  PROXY_ASSERT(again && again == Rewriter{same(entries)}.rewrite(text, whose));
}

/// The edits of a head are the first ones of the text, read by its tokens alone as well: blanks make it too long for more.
void check_head(std::string_view text, const Entries& entries, TextOf whose) {
  const Rewriter there{entries};
  const auto head = there.rewrite_head(text, whose);
  if (!head) return;
  const auto whole = there.rewrite(std::string{text} + std::string(Rewriter::parse_bytes_max, ' '), whose);
  if (!whole) return;  // A quote that does not close.
  const auto same = std::mismatch(head->begin(), head->end(), whole->begin(), whole->end()).first;
  PROXY_ASSERT(text.ends_with(std::string_view{same, head->end()}));
}

/// Its query has the view's name in scope, which stays when the view is called otherwise. Nobody makes a
/// view of a table's name.
bool is_recursive_view(std::string_view text) {
  const auto said = [&](std::string_view word) {
    return std::search(text.begin(), text.end(), word.begin(), word.end(), [](char a, char b) { return (a | ' ') == b; }) != text.end();
  };
  return said("recursive") && said("view");
}

/// A name comes back from SQL as it was, and a map of one name works both ways.
std::optional<Rewriter::Entry> custom(std::string_view line) {
  const auto gap = line.find('\t');
  if (gap == std::string_view::npos) return std::nullopt;
  const auto from = parse_name(line.substr(0, gap)), to = parse_name(line.substr(gap + 1));
  if (!from || !to || from->schema.empty() || to->schema.empty() || *from == *to) return std::nullopt;
  PROXY_ASSERT(parse_name(sql_name(*from)) == from);
  NameMap names;
  PROXY_ASSERT(names.add({*from, *to}) && !names.add({*from, *to}));
  PROXY_ASSERT(names.on(Side::target, *from) == *to && names.of(Side::target, *to) == *from);
  return Rewriter::Entry{*from, *to, Unqualified::is_ours};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  auto text = wire::as_text({data + 1, size - 1});
  text = text.substr(0, text.find('\0'));
  if (is_recursive_view(text)) return 0;
  Entries chosen = data[0] % 2 == 0 ? moved : renamed;
  if (data[0] == 'c') {
    const auto end = text.find('\n');
    const auto entry = end == std::string_view::npos ? std::nullopt : custom(text.substr(0, end));
    if (!entry) return 0;
    chosen = {*entry};
    text.remove_prefix(end + 1);
  }
  for (const auto whose : {TextOf::client, TextOf::shadowed_client, TextOf::catalog}) check(text, chosen, whose);
  check_head(text, chosen, TextOf::client);
  for (auto& entry : chosen) entry.alone = Unqualified::unclear;
  const Rewriter unclear{chosen};
  const auto spelled = unclear.rewrite(text, TextOf::client);
  if (spelled && parse_statements(text)) PROXY_ASSERT(parse_statements(*spelled));
  static_cast<void>(unclear.hides(text));
  return 0;
}
