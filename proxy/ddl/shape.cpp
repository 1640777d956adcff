#include "proxy/ddl/shape.hpp"

#include <algorithm>
#include <array>

#include "proxy/ddl/document.hpp"
#include "proxy/log.hpp"
#include "proxy/schema/differences.hpp"
#include "sql_texts.hpp"

namespace pgjanus::ddl {

namespace asio = boost::asio;
using nlohmann::json;

namespace {
constexpr pg::Duration look_limit{60'000};
constexpr std::size_t stored_at_once = 500;
}  // namespace

std::string shape_sql(std::string_view touched, std::string_view whole) {
  auto text = std::string{sql::ddl_shape}.append(sql::ddl_shape_end);
  const auto fill = [&](std::string_view mark, std::string_view by) {
    for (auto at = text.find(mark); at != std::string::npos; at = text.find(mark, at)) text.replace(at, mark.size(), by);
  };
  fill("{touched}", touched);
  fill("{whole}", whole);
  return text;
}

json folded(json doc) {
  const auto props = doc.find("props");
  if (props != doc.end() && props->is_object()) *props = props->dump();
  return doc;
}

json props_of(const json& doc) {
  const auto props = doc.find("props");
  if (props == doc.end()) return nullptr;
  return props->is_string() ? json::parse(props->get_ref<const std::string&>()) : *props;
}

asio::awaitable<Shape> read_own_shape(pg::Connection& connection, bool (*wanted)(const Key&)) {
  auto statement = shape_sql("true", "true");
  auto rows = co_await connection.run(std::move(statement), look_limit);
  Shape shape;
  for (int row = 0; row < rows.size(); ++row) {
    const Key key{rows.str(row, 0), rows.integer(row, 1), rows.integer(row, 2)};
    if (wanted != nullptr && !wanted(key)) continue;
    auto doc = json::parse(rows.text(row, 3));
    // The server describes objects as they are now, whatever snapshot asks. It says nothing of a function that is gone by now, and
    // "DROP ROUTINE f()" would drop no f(integer).
    static constexpr std::array<const char*, 5> says{"label", "create", "drop", "rename", "move"};
    if (std::get<0>(key) == "function" && std::any_of(says.begin(), says.end(), [&](const char* field) { return doc.at(field).is_null(); })) {
      pg::Error gone{"cache lookup failed for function " + std::to_string(std::get<1>(key))};
      gone.message = gone.what();
      gone.sqlstate = "XX000";
      throw gone;
    }
    if (wanted != nullptr) {
      json few;
      for (const char* field : {"create", "drop", "on", "name", "ns"}) {
        if (doc.contains(field) && (std::get<0>(key) != "table" || *field == 'n')) few[field] = std::move(doc[field]);
      }
      doc = std::move(few);
    }
    shape.emplace(key, folded(std::move(doc)));
  }
  co_return shape;
}

asio::awaitable<Shape> read_shape(pg::Connection& connection) {
  auto shape = co_await read_own_shape(connection);
  const auto differences = co_await read_differences(connection);
  auto mapped = renamed(std::move(shape), differences, other(differences.side));
  co_return mapped;
}

asio::awaitable<Shape> stored_shape(pg::Connection& mirror, std::uint64_t epoch) {
  auto rows = co_await mirror.run(
      "SELECT kind, oid, sub, doc::text FROM pgjanus.shape WHERE "
      "(SELECT extra ->> 'shape_epoch' FROM pgjanus.state) = '" + std::to_string(epoch) + "'",
      look_limit);
  Shape shape;
  for (int row = 0; row < rows.size(); ++row) {
    shape.emplace(Key{rows.str(row, 0), rows.integer(row, 1), rows.integer(row, 2)},
                  folded(json::parse(rows.text(row, 3))));
  }
  co_return shape;
}

asio::awaitable<void> store_shape(pg::Connection& mirror, const Shape& before, const Shape& now,
                                  std::uint64_t epoch) {
  json gone = json::array(), come = json::array();
  const auto key = [](const Key& k) {
    return json{{"kind", std::get<0>(k)}, {"oid", std::get<1>(k)}, {"sub", std::get<2>(k)}};
  };
  for (const auto& [k, doc] : before) {
    const auto found = now.find(k);
    if (found == now.end() || found->second != doc) gone.push_back(key(k));
  }
  if (before.empty()) {
    co_await mirror.run("DELETE FROM pgjanus.shape");
  } else if (!gone.empty()) {
    auto keys = pg::params(gone.dump());
    co_await mirror.run("DELETE FROM pgjanus.shape s USING jsonb_to_recordset($1::jsonb) "
                        "k (kind text, oid bigint, sub bigint) "
                        "WHERE (s.kind, s.oid, s.sub) = (k.kind, k.oid, k.sub)", std::move(keys), look_limit);
  }
  for (auto at = now.begin(); at != now.end();) {
    const auto& [k, doc] = *at++;
    const auto found = before.find(k);
    if (found == before.end() || found->second != doc) {
      auto row = key(k);
      row["doc"] = doc;
      auto props = props_of(doc);
      if (!props.is_null()) row["doc"]["props"] = std::move(props);
      come.push_back(std::move(row));
    }
    if (come.empty() || (at != now.end() && come.size() < stored_at_once)) continue;
    auto rows = pg::params(come.dump());
    come = json::array();
    co_await mirror.run("INSERT INTO pgjanus.shape SELECT * FROM jsonb_to_recordset($1::jsonb) "
                        "k (kind text, oid bigint, sub bigint, doc jsonb) "
                        "ON CONFLICT (kind, oid, sub) DO UPDATE SET doc = EXCLUDED.doc", std::move(rows), look_limit);
  }
  if (before.empty()) {
    auto value = pg::params(std::to_string(epoch));
    co_await mirror.run("UPDATE pgjanus.state SET extra = extra || "
                        "jsonb_build_object('shape_epoch', $1::text)", std::move(value));
  }
}

bool changed_before(const nlohmann::json& column, const std::optional<Snapshot>& boundary) {
  if (!boundary) return true;
  const auto written = text(column, "xmin");
  const auto xmin = static_cast<std::uint32_t>(std::stoul(written.empty() ? "0" : written));
  const auto xmax = static_cast<std::uint32_t>(boundary->xmax.value);
  if (static_cast<std::int32_t>(xmin - xmax) >= 0) return false;
  return std::none_of(boundary->xip.begin(), boundary->xip.end(), [&](FullXid running) {
    return static_cast<std::uint32_t>(running.value) == xmin;
  });
}

bool has_partition(const Shape& shape, std::int64_t relation) {
  const auto found = shape.lower_bound({"partition", relation, 0});
  return found != shape.end() && std::get<0>(found->first) == "partition" &&
         std::get<1>(found->first) == relation;
}

void go_on_unfilled(std::vector<Step>& steps) {
  std::erase_if(steps, [](const Step& step) {
    if (step.kind != Step::Kind::fill) return false;
    log_event(LogLevel::warn, "materialized_view_not_refreshed", {{"view", step.label}, {"why", step.why}});
    return true;
  });
}

bool key_moved(const Shape& before, const Shape& now, std::int64_t table, const std::vector<std::string>& key) {
  const auto number_of = [&](const Shape& shape, const std::string& name) -> std::int64_t {
    for (auto at = shape.lower_bound({"column", table, 0});
         at != shape.end() && std::get<0>(at->first) == "column" && std::get<1>(at->first) == table; ++at) {
      if (text(at->second, "name") == name) return std::get<2>(at->first);
    }
    return 0;
  };
  return std::any_of(key.begin(), key.end(), [&](const std::string& name) {
    const auto was = number_of(before, name);
    return was != 0 && was != number_of(now, name);
  });
}

}  // namespace pgjanus::ddl
