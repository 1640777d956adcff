#include "proxy/engine/status_json.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "proxy/admin/render.hpp"
#include "proxy/admin/show.hpp"
#include "proxy/http/families.hpp"

using namespace pgjanus;
using nlohmann::json;

namespace {

Status busy() {
  Status status;
  status.database = "shop";
  status.phase = Phase::mirroring;
  status.primary = Side::source;
  status.epoch = 4;
  status.mirror_state = MirrorState::in_sync;
  status.lag_ms = 12.5;
  status.backlog_keys = 0;
  status.boundary_at = "2026-11-20T10:00:00.000Z";
  status.reads = {ReadsPolicy::Kind::percent, 25};
  status.tables.push_back({"public.orders", TableState::mirrored, 10, 0, {}, {}, ""});
  status.tables.push_back({"public.new", TableState::fresh, {}, {}, {}, {}, ""});
  status.last_flip = LastFlip{Side::target, "2026-11-20T09:00:00Z", 41.5, false};
  status.waiting_for.push_back({"a long transaction", "source", "app", "worker", "", 4711, 9.5});
  status.members.push_back({"host:1", "0.1.0", "2026-11-20T10:00:00Z", true, 3});
  status.flip_blackouts_seconds = {0.04, 0.2};
  status.flips_done = 2;
  return status;
}

double sample(const std::vector<metrics::Family>& families, const std::string& name,
              const metrics::Labels& labels = {}) {
  for (const auto& family : families) {
    if (family.name != name) continue;
    for (const auto& candidate : family.samples) {
      const auto all = std::ranges::all_of(labels, [&](const auto& label) {
        return std::ranges::find(candidate.labels, label) != candidate.labels.end();
      });
      if (all) return candidate.value;
    }
  }
  FAIL("no sample of " << name);
  return 0;
}

}  // namespace

TEST_CASE("the status document has the contract's names", "[status]") {
  const auto document = status_document(busy());
  CHECK(document["version"] == PGJANUS_VERSION);
  REQUIRE(document["databases"].size() == 1);
  const auto& db = document["databases"][0];
  for (const auto* pointer :
       {"/database", "/phase", "/primary", "/epoch", "/held", "/mirror/state", "/mirror/lag_ms",
        "/mirror/backlog_keys", "/mirror/journal_bytes", "/mirror/boundary_at", "/mirror/error",
        "/reads/side", "/reads/target_percent", "/load/rows_done", "/load/rows_total",
        "/load/bytes_done", "/load/error", "/tables/0/name", "/tables/0/state", "/tables/0/rows",
        "/tables/0/differences", "/verify/at", "/verify/tables", "/verify/differences",
        "/last_flip/to", "/last_flip/at", "/last_flip/blackout_ms", "/last_flip/forced",
        "/rollback/ready", "/rollback/reasons", "/waiting_for/0/what", "/waiting_for/0/side",
        "/waiting_for/0/pid", "/waiting_for/0/user", "/waiting_for/0/application_name",
        "/waiting_for/0/seconds", "/waiting_for/0/detail", "/members/0/name",
        "/members/0/version", "/members/0/leader", "/members/0/clients", "/members/0/seen_at",
        "/clients"}) {
    CAPTURE(pointer);
    CHECK(db.contains(json::json_pointer{pointer}));
  }
  CHECK(db["tables"][1]["state"] == "new");
  CHECK(db["reads"]["target_percent"] == 25);
}

TEST_CASE("unknown is null, never 0", "[status]") {
  const auto db = to_json(Status{});
  CHECK(db["primary"].is_null());
  CHECK(db["epoch"].is_null());
  CHECK(db["mirror"]["lag_ms"].is_null());
  CHECK(db["reads"]["target_percent"].is_null());
  CHECK(db["last_flip"].is_null());
  CHECK(db["verify"]["differences"].is_null());
}

TEST_CASE("names of states go both ways", "[status]") {
  for (const auto* name : {"idle", "prepared", "loading", "mirroring", "flipping", "finished"}) {
    CHECK(to_string(*phase_from(name)) == name);
  }
  for (const auto* name : {"new", "loading", "indexing", "mirrored", "held_up", "capture_lost",
                           "excluded", "error"}) {
    CHECK(to_string(*table_state_from(name)) == name);
  }
  CHECK_FALSE(phase_from("fresh"));
  CHECK_FALSE(table_state_from("fresh"));
}

TEST_CASE("SHOW STATUS has dotted names", "[status][admin]") {
  admin::Command command;
  command.verb = admin::Verb::show;
  command.what = "status";
  const auto reply = admin::show_status(command, busy());
  const auto value = [&](std::string_view name) -> std::optional<std::string> {
    for (const auto& row : reply.rows) {
      if (row[0] == name) return row[1];
    }
    FAIL("no " << name);
    return {};
  };
  CHECK(value("mirror.state") == "in_sync");
  CHECK(value("last_flip.to") == "target");
  CHECK(value("reads.side") == "25%");
  CHECK_FALSE(value("mirror.error"));
  CHECK(json::parse(*value("tables")).size() == 2);
}

TEST_CASE("metrics come from the same status", "[status][http]") {
  SessionTotals totals;
  totals.clients = 7;
  totals.queries[Side::target][static_cast<std::size_t>(StatementKind::read)] = 5;
  totals.query_seconds[Side::source].buckets[2] = 3;
  totals.query_seconds[Side::source].sum = 0.001;
  const auto families = http::families(busy(), totals);
  CHECK(sample(families, "pgjanus_mirror_state", {{"state", "in_sync"}}) == 1);
  CHECK(sample(families, "pgjanus_mirror_state", {{"state", "stalled"}}) == 0);
  CHECK(sample(families, "pgjanus_mirror_lag_seconds") == Approx(0.0125));
  CHECK(sample(families, "pgjanus_primary", {{"side", "source"}}) == 1);
  CHECK(sample(families, "pgjanus_queries_total", {{"side", "target"}, {"kind", "read"}}) == 5);
  CHECK(sample(families, "pgjanus_last_boundary_timestamp_seconds") == 1795168800);
  for (const auto& family : families) {
    CAPTURE(family.name);
    CHECK(family.name.starts_with("pgjanus_"));
    for (const auto& one : family.samples) {
      CHECK(one.labels.front() == std::pair<std::string, std::string>{"database", "shop"});
    }
  }
  // Unknown has no sample: a lag of 0 before the first measurement lets a cutover through.
  for (const auto& family : http::families(Status{}, {})) {
    if (family.name == "pgjanus_mirror_lag_seconds") CHECK(family.samples.empty());
  }
}

TEST_CASE("the screen of status says what it waits for", "[status][admin]") {
  const auto screen = admin::render_status(to_json(busy()), "9.9");
  for (const auto* part :
       {"pgjanus 9.9", "shop", "in_sync, lag 12 ms", "source, epoch 4", "25%",
        "waiting for a long transaction, side source, pid 4711", "to the target", "public.orders"}) {
    CAPTURE(screen, part);
    CHECK(screen.find(part) != std::string::npos);
  }
}
