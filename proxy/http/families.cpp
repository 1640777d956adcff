#include "proxy/http/families.hpp"

#include <algorithm>
#include <ctime>
#include <limits>
#include <span>

namespace pgjanus::http {
namespace {

using metrics::Bucket;
using metrics::Family;
using metrics::Labels;
using metrics::Sample;
using metrics::Type;

/// Bounds of pgjanus_flip_blackout_seconds: the aim is below 0.1 s, the limit some seconds.
constexpr double blackout_bounds[] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};

class Builder {
 public:
  explicit Builder(const Status& status) : database_{"database", status.database} {}

  void begin(std::string name, std::string help, Type type) {
    out_.push_back({"pgjanus_" + std::move(name), std::move(help), type, {}});
  }
  void add(double value, Labels labels = {}) {
    labels.insert(labels.begin(), database_);
    out_.back().samples.push_back({std::move(labels), value, {}, 0});
  }
  template <class T>
  void add_known(const std::optional<T>& value, Labels labels = {}) {
    if (value) add(static_cast<double>(*value), std::move(labels));
  }
  template <class T>
  void gauge(std::string name, std::string help, T value) {
    begin(std::move(name), std::move(help), Type::gauge);
    add(static_cast<double>(value));
  }
  template <class T>
  void known_gauge(std::string name, std::string help, const std::optional<T>& value) {
    begin(std::move(name), std::move(help), Type::gauge);
    add_known(value);
  }
  void counter(std::string name, std::string help, std::uint64_t value) {
    begin(std::move(name), std::move(help), Type::counter);
    add(static_cast<double>(value));
  }
  void histogram(const HistogramCounts& counts, Labels labels = {}) {
    Sample sample{std::move(labels), 0, {}, counts.sum};
    sample.labels.insert(sample.labels.begin(), database_);
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < std::size(counts.buckets); ++i) {
      total += counts.buckets[i];
      const auto last = i == std::size(HistogramCounts::bounds);
      sample.buckets.push_back(
          {last ? std::numeric_limits<double>::infinity() : HistogramCounts::bounds[i], total});
    }
    out_.back().samples.push_back(std::move(sample));
  }
  void histogram(const std::vector<double>& observed, std::span<const double> bounds) {
    Sample sample{{database_}, 0, {}, 0};
    for (const double value : observed) sample.sum += value;
    for (const double bound : bounds) {
      const auto below = std::ranges::count_if(observed, [&](double v) { return v <= bound; });
      sample.buckets.push_back({bound, static_cast<std::uint64_t>(below)});
    }
    sample.buckets.push_back({std::numeric_limits<double>::infinity(), observed.size()});
    out_.back().samples.push_back(std::move(sample));
  }
  /// One series for each value of a state, 1 for the present one.
  template <class Enum>
  void states(std::string name, std::string help, const char* label, Enum last, Enum now) {
    begin(std::move(name), std::move(help), Type::gauge);
    for (int value = 0; value <= static_cast<int>(last); ++value) {
      const auto state = static_cast<Enum>(value);
      add(state == now ? 1 : 0, {{label, std::string{to_string(state)}}});
    }
  }
  std::vector<Family> take() { return std::move(out_); }

 private:
  std::pair<std::string, std::string> database_;
  std::vector<Family> out_;
};

constexpr Side sides[] = {Side::source, Side::target};

Labels of(Side side) { return {{"side", std::string{to_string(side)}}}; }

/// Seconds since 1970 of an RFC 3339 time in UTC; nothing when it is none.
std::optional<double> timestamp(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  std::tm utc{};
  if (!strptime(text->c_str(), "%Y-%m-%dT%H:%M:%S", &utc) &&
      !strptime(text->c_str(), "%Y-%m-%d %H:%M:%S", &utc)) {
    return std::nullopt;
  }
  return static_cast<double>(timegm(&utc));
}

void sessions(Builder& out, const SessionTotals& totals) {
  out.gauge("clients", "Clients connected to this proxy.", totals.clients);
  out.gauge("held_clients", "Clients that wait at the closed gate.", totals.held_clients);
  out.begin("servers", "Connections of sessions to each database.", Type::gauge);
  for (const auto side : sides) out.add(static_cast<double>(totals.servers[side]), of(side));
  out.begin("queries_total", "Statements by what they can do and where they went.",
            Type::counter);
  for (const auto side : sides) {
    for (std::size_t kind = 0; kind < statement_kinds; ++kind) {
      const auto name = std::string{to_string(static_cast<StatementKind>(kind))};
      out.add(static_cast<double>(totals.queries[side][kind]),
              {{"kind", name}, {"side", std::string{to_string(side)}}});
    }
  }
  out.begin("query_seconds", "From a statement sent to the server's answer.", Type::histogram);
  for (const auto side : sides) out.histogram(totals.query_seconds[side], of(side));
  out.begin("overhead_seconds", "Time that the proxy itself adds to a statement.",
            Type::histogram);
  out.histogram(totals.overhead_seconds);
  out.begin("commit_wait_seconds", "Time that a COMMIT waited for the mirror.", Type::histogram);
  out.histogram(totals.commit_wait_seconds);
  out.counter("commits_unacknowledged_total",
              "Commits that returned before the mirror had them (acknowledge_wait was over).",
              totals.commits_unacknowledged);
  out.counter("auth_failures_total", "Logins of clients that failed.", totals.auth_failures);
  out.counter("client_received_bytes_total", "Bytes read from clients.", totals.client_bytes_in);
  out.counter("client_sent_bytes_total", "Bytes written to clients.", totals.client_bytes_out);
}

void mirror(Builder& out, const Status& status) {
  out.states("mirror_state", "State of the mirror, one series a value.", "state",
             MirrorState::stalled, status.mirror_state);
  out.known_gauge("mirror_lag_seconds", "Age of the last boundary that the mirror reached.",
                  status.lag_ms ? std::optional{*status.lag_ms / 1000} : std::nullopt);
  out.known_gauge("mirror_backlog_keys", "Changed keys that the mirror does not have yet.",
                  status.backlog_keys);
  out.counter("mirror_keys_total", "Changed keys applied.", status.mirror_keys);
  out.counter("mirror_batches_total", "Batches applied.", status.mirror_batches);
  out.counter("mirror_errors_total", "Errors of the mirror loop.", status.mirror_errors);
  out.known_gauge("journal_bytes", "Size of the journal on the primary.", status.journal_bytes);
  out.known_gauge("last_boundary_timestamp_seconds", "When the last boundary was taken.",
                  timestamp(status.boundary_at));
  out.begin("oldest_transaction_seconds", "Age of the oldest transaction on each side.",
            Type::gauge);
  for (const auto side : sides) {
    out.add_known(status.oldest_transaction_seconds[side], of(side));
  }
  out.begin("reachable", "1 while this proxy reaches the database.", Type::gauge);
  for (const auto side : sides) out.add(status.reachable[side] ? 1 : 0, of(side));
}

void work(Builder& out, const Status& status) {
  out.counter("load_rows_total", "Rows copied by loads.", status.load_rows_read);
  out.counter("load_bytes_total", "Bytes copied by loads.", status.load_bytes_read);
  out.known_gauge("load_bytes_done", "Bytes of the primary's tables that the load has done.",
                  status.load_bytes_done);
  out.known_gauge("load_bytes_expected", "Bytes that it has to do; absent until all is planned.",
                  status.load_bytes_total);
  out.gauge("load_workers", "Workers of the load that do something now.",
            static_cast<double>(status.load_workers.size()));
  out.gauge("load_limited", "1 while a limit or the app's latency slows the load.",
            status.load_limit ? 1 : 0);
  if (const auto& now = status.verifying) {
    out.gauge("verify_bytes_done", "Bytes of the primary's tables that the verification compared.",
              static_cast<double>(now->bytes_done));
    out.gauge("verify_bytes_expected", "Bytes that it has to compare; absent while none runs.",
              static_cast<double>(now->bytes_total));
  }
  out.counter("verify_rows_total", "Rows compared by verifications.", status.verify_rows);
  out.known_gauge("verify_differences", "Differences that the last verification found.",
                  status.verify_differences);
  out.known_gauge("verify_timestamp_seconds", "When the last verification ended.",
                  timestamp(status.verify_at));
  out.begin("flip_blackout_seconds", "Gate closed to gate open, of flips.", Type::histogram);
  out.histogram(status.flip_blackouts_seconds, blackout_bounds);
  out.begin("flips_total", "Flips by how they ended.", Type::counter);
  out.add(static_cast<double>(status.flips_done), {{"outcome", "done"}});
  out.add(static_cast<double>(status.flips_undone), {{"outcome", "undone"}});
  out.add(static_cast<double>(status.flips_in_doubt), {{"outcome", "in_doubt"}});
  out.begin("tables", "Tables by state.", Type::gauge);
  for (int value = 0; value <= static_cast<int>(TableState::error); ++value) {
    const auto state = static_cast<TableState>(value);
    const auto number = std::ranges::count(status.tables, state, &TableStatus::state);
    out.add(static_cast<double>(number), {{"state", std::string{to_string(state)}}});
  }
}

}  // namespace

std::vector<metrics::Family> families(const Status& status, const SessionTotals& totals) {
  Builder out{status};
  out.begin("build_info", "Always 1; the version is a label.", Type::gauge);
  out.add(1, {{"version", PGJANUS_VERSION}});
  out.states("phase", "Phase of the migration, one series a value.", "phase", Phase::finished,
             status.phase);
  out.states("held", "Whether the gate is closed and why, one series a value.", "state",
             Held::in_doubt, status.held);
  out.known_gauge("epoch", "Number of flips so far.", status.epoch);
  out.begin("primary", "1 for the side that is primary; no series is 1 while it is not known.",
            Type::gauge);
  for (const auto side : sides) out.add(status.primary == side ? 1 : 0, of(side));
  out.gauge("members", "Proxies that share this migration.", status.members.size());
  out.gauge("ready", "What /readyz answers.", status.ready ? 1 : 0);
  sessions(out, totals);
  mirror(out, status);
  work(out, status);
  return out.take();
}

}  // namespace pgjanus::http
