// DDL in a batch: the catalog under the batch's snapshot is compared with the one of the boundary, and
// what leads from one to the other runs in the mirror's transaction, around the rows (proxy/ddl/README.md).

#include <array>

#include "proxy/capture/capture.hpp"
#include "proxy/ddl/beside_load.hpp"
#include "proxy/ddl/displaced.hpp"
#include "proxy/ddl/listing.hpp"
#include "proxy/ddl/order.hpp"
#include "proxy/ddl/partitions.hpp"
#include "proxy/flip/roles.hpp"
#include "proxy/log.hpp"
#include "proxy/mirror/loop.hpp"

namespace pgjanus {

namespace asio = boost::asio;
using namespace std::chrono_literals;

namespace {

constexpr auto look_interval = 1000ms;  // DDL that bypasses us is found this late at most.

/// Of a round that led no further; where nothing was refused each waits for another.
pg::Error first_refusal(const std::optional<pg::Error>& first, const ddl::Step& step) {
  if (first) return *first;
  return with_state("PGJ05", step.label + ": its name is another's" + std::string{ddl_statement_mark} + step.sql);
}

}  // namespace

bool MirrorLoop::look_due() const noexcept {
  if (ddl_.at_flip && !ddl_.at_flip->over) return false;
  return ddl_.on && (ddl_.due || tickets_.defining() > 0 || tickets_.defined() != ddl_.defined ||
                     Clock::now() - ddl_.looked_at > look_interval);
}

asio::awaitable<void> MirrorLoop::begin_replay(Batch& batch) {
  ddl_.skip = ddl_.skip_asked;
  if (!ddl_.changes.strange.empty() && !ddl_.skip) {
    throw with_state("PGJ05", ddl_.changes.strange.front() +
                                  ": pgjanus does not replay such objects; make the same change on the "
                                  "mirror, then SKIP");
  }
  ddl_.refusal.reset();
  co_await run_apart();
  co_await batch.begin_on_mirror();
  co_await applier_->run("SET LOCAL check_function_bodies = off");
  co_await ddl::leave_others_rows(*reader_, ddl_.changes.early);
  co_await bar_copies();
  ddl_.left = co_await run_steps(std::move(ddl_.changes.early), false);
  ddl_.astray.clear();
  ddl_.put_off.clear();
  for (const auto& step : ddl_.left) {
    // Behind the batch's rows it would delete these.
    if (step.kind == ddl::Step::Kind::empty && !ddl_.skip) throw first_refusal(ddl_.refusal, step);
    ddl_.astray.insert(step.trees.begin(), step.trees.end());
  }
  ddl_.astray = ddl::with_what_follows(ddl_.now, std::move(ddl_.astray));
  std::erase_if(ddl_.left, [](const auto& step) { return step.kind == ddl::Step::Kind::empty; });
  co_await find_relabelled(batch.to());
  co_await pair_tables_anew();
  co_await read_late_labels();
}

// Keys, and whole rows of tables without one, are noted as text: by the labels and attributes of then. Tables with such are read anew.
asio::awaitable<void> MirrorLoop::find_relabelled(const Boundary& to) {
  if (ddl_.changes.relabelled.empty()) co_return;
  const auto columns = co_await ddl::columns_of(*reader_, ddl_.changes.relabelled);
  for (const auto& table : ddl_.next->primary) {
    const auto oid = static_cast<std::int64_t>(table.oid);
    const bool noted = table.key.empty()
        ? std::any_of(columns.begin(), columns.end(), [&](const auto& one) { return one.first == oid; })
        : std::any_of(table.key.begin(), table.key.end(), [&](const auto& part) { return columns.contains({oid, part.name}); });
    if (!noted) continue;
    ddl_.changes.anew.insert(oid);
    ddl_.relabelled[table.id] = parse_snapshot(to.snapshot).value_or(Snapshot{}).xmax;
  }
}

// In the batch's transaction: whoever goes on where we are killed has to know of it. Nobody takes it away, as ids below the boundary mean nothing.
asio::awaitable<void> MirrorLoop::keep_relabelled() {
  if (ddl_.relabelled.empty()) co_return;
  std::string tables;
  for (const auto& [id, until] : ddl_.relabelled) tables += (tables.empty() ? "{\"" : ",\"") + std::to_string(id) + "\":" + std::to_string(until.value);
  auto values = pg::params(std::to_string(settings_.epoch.value), tables + "}");
  co_await applier_->run("UPDATE pgjanus.state SET extra = extra || jsonb_build_object('relabelled', "
                         "jsonb_build_object('epoch', $1::text, 'tables', $2::jsonb))", std::move(values));
}

asio::awaitable<void> MirrorLoop::know_relabelled() {
  const auto kept = co_await applier_->run("SELECT t.key, t.value FROM pgjanus.state, jsonb_each_text(extra #> '{relabelled,tables}') t "
                                           "WHERE extra #>> '{relabelled,epoch}' = $1", pg::params(std::to_string(settings_.epoch.value)));
  for (int row = 0; row < kept.size(); ++row) {
    ddl_.relabelled.emplace(static_cast<int>(kept.integer(row, 0)), FullXid{static_cast<std::uint64_t>(kept.integer(row, 1))});
  }
}

// Types are altered without a lock of the tables: whoever has written before, and commits later, has noted those of before.
asio::awaitable<void> MirrorLoop::read_late_labels() {
  const auto own = plan().own;
  const auto common = parse_snapshot(boundary_.snapshot).value_or(Snapshot{}).xmin;
  for (auto at = ddl_.relabelled.begin(); at != ddl_.relabelled.end();) {
    const auto [id, until] = *at;
    const bool waits = held_up_.contains(id) || left_out_.contains(id);
    if (!waits && !own.contains(id) && until <= common) {
      at = ddl_.relabelled.erase(at);
      continue;
    }
    ++at;
    if (waits || !tables_.by_id.contains(id) || tables_.whole.contains(id)) continue;
    const auto from = own.find(id);
    auto sql = "SELECT FROM pgjanus.journal WHERE table_id = " + std::to_string(id) + " AND xid < '" + std::to_string(until.value) +
               "'::xid8 AND " + new_since(from == own.end() ? boundary_.snapshot : from->second) + " LIMIT 1";
    const auto late = co_await reader_->run(std::move(sql));
    if (!late.empty()) tables_.whole.insert(id);
  }
}

// Labels of an enum get other names without a lock of the tables that have them. What a load copies meanwhile would go by those of before and,
// from wherever the server looks again, by those of now; once this is through a COPY has to hold what it copied against the shape.
asio::awaitable<void> MirrorLoop::bar_copies() {
  if (left_out_.empty() || !ddl::relabels(ddl_.known, ddl_.now)) co_return;
  std::string names;
  const auto stored = co_await stored_tables(*applier_);
  for (const auto& table : stored) {
    if (table.oid != 0 && left_out_.contains(table.id)) names += (names.empty() ? "" : ", ") + table.sql_rows();
  }
  if (names.empty()) co_return;
  ddl::Step lock{ddl::Step::Kind::alter, "labels of an enum", "LOCK TABLE " + names + " IN SHARE MODE"};
  ddl_.changes.early.insert(ddl_.changes.early.begin(), std::move(lock));
}

// The lists and catalogs of both sides as the batch has them: the primary's under its snapshot, the
// mirror's in its transaction.
asio::awaitable<void> MirrorLoop::pair_tables_anew() {
  ddl_.new_tables = co_await ddl::follow_listing(*applier_, ddl_.next_listing);
  co_await describe_mirrored();
  auto primary = ddl_.next->primary;
  auto mirror = ddl_.next->mirror;
  std::map<int, TableInfo> of_mirror;
  for (auto& table : mirror) of_mirror.emplace(table.id, std::move(table));
  std::set<int> listed, owed;
  const auto own = plan().own;
  const auto old = std::move(tables_.by_id);
  tables_.by_id.clear();
  for (auto& table : primary) {
    const int id = table.id;
    listed.insert(id);
    const auto oid = static_cast<std::int64_t>(table.oid);
    std::vector<std::string> key;
    for (const auto& column : table.key) key.push_back(column.name);
    const bool anew = ddl_.changes.anew.contains(oid) || ddl::key_moved(ddl_.known, ddl_.now, oid, key);
    const bool reshaped = ddl_.changes.reshaped.contains(oid);
    const bool uncounted = ddl_.changes.uncounted.contains(oid);
    const auto [emptied, emptied_end] = ddl_.changes.emptied.equal_range(oid);
    if (left_out_.contains(id)) {
      // A load may have copied it before, into a partition that has left since; whoever copies later waits for the locks of the steps above.
      if (anew || reshaped || emptied != emptied_end || uncounted) owed.insert(id);
      continue;
    }
    if (ddl_.astray.contains(oid)) {
      owed.insert(id);
      tables_.nobodys.insert(id);
      ddl_.put_off.insert(id);
      continue;
    }
    std::optional<pg::Error> failure;
    try {
      auto pair = pair_table(std::move(table), of_mirror[id]);
      pair.delete_first = pair.delete_first || ddl_.changes.loose.contains(oid);
      tables_.by_id.emplace(id, std::move(pair));
    } catch (const pg::Error& error) {
      failure = error;
    }
    if (failure && !ddl_.skip) throw ddl_.refusal ? *ddl_.refusal : *failure;
    if (failure) {
      // The operator said so: the table stays behind, at the boundary it has, until it is loaded anew.
      tables_.nobodys.insert(id);
      auto why = pg::params(std::to_string(id), failure->message, boundary_.snapshot);
      co_await applier_->run("UPDATE pgjanus.tables SET state = 'error', error = $2, "
                             "boundary = coalesce(boundary, $3) WHERE id = $1", std::move(why));
      broken_[id] = failure->message;
      continue;
    }
    // A load's copy is later than this boundary, and was made with the columns and partitions from before.
    const bool copied_without = own.contains(id) && !held_up_.contains(id) && !ddl_.once_more.contains(id);
    // What was deleted here is in the journal since the table's boundary, unless that is later than the partition.
    const auto at = own.find(id);
    const bool gone = std::any_of(emptied, emptied_end, [&](const auto& one) {
      return at != own.end() && ddl::changed_before(one.second, parse_snapshot(at->second));
    });
    const bool counted = !tables_.by_id.at(id).keyed() && (reshaped || emptied != emptied_end || uncounted ||
                         ddl::renamed_late(ddl_.known, ddl_.now, oid, parse_snapshot(boundary_.snapshot)));
    const bool other_rows = ((reshaped || uncounted) && copied_without) || gone || counted;
    if (other_rows || ddl_.new_tables.contains(id) || anew) tables_.whole.insert(id);
  }
  for (const auto& [id, pair] : old) {
    if (!listed.contains(id)) tables_.nobodys.insert(id);
  }
  for (const int id : held_up_) {
    if (tables_.whole.erase(id) > 0) owed.insert(id);
  }
  if (!owed.empty()) co_await owe_whole(std::move(owed));
  auto forgotten = co_await ddl::journaled_ids(*reader_, boundary_.snapshot);
  for (const auto& one : own) forgotten.insert(one.first);  // Their keys may all be from before that.
  for (const int id : forgotten) {
    if (!listed.contains(id)) tables_.nobodys.insert(id);
  }
}

/// Rows of a table that is being loaded, or has to be, or waits for the next batch, are from before what they would have to fit: they go, and
/// are read whole by whichever batch takes the table up. False: what was refused has nothing to do with that.
asio::awaitable<bool> MirrorLoop::clear_left_out() {
  if (!ddl_.refusal || ddl_.refusal->table.empty() || (left_out_.empty() && ddl_.put_off.empty())) co_return false;
  const auto name = pg::qualified(ddl_.refusal->schema, ddl_.refusal->table);
  auto found = co_await applier_->run("SELECT coalesce(to_regclass($1)::oid::bigint, 0)", pg::params(name));
  const auto oid = found.integer(0, 0);
  const auto stored = co_await stored_tables(*applier_);
  for (const auto& table : stored) {
    const bool refuses = std::any_of(table.relations.begin(), table.relations.end(),
                                     [&](const auto& relation) { return relation.oid == oid; });
    const bool put_off = ddl_.put_off.contains(table.id);  // Owed already.
    if (!refuses || (!put_off && !left_out_.contains(table.id))) continue;
    std::set<int> owed{table.id};
    if (!put_off) co_await owe_whole(std::move(owed));
    co_await quiet_triggers(*applier_, replica_role_);  // Steps before may have enabled what would act on this.
    auto sql = "DELETE FROM " + table.sql_rows();
    co_await applier_->run(std::move(sql), ddl_step_limit);
    log_event(LogLevel::info, "table_emptied_for_ddl", {{"table", table.display()}});
    co_return true;
  }
  co_return false;
}

asio::awaitable<void> MirrorLoop::end_replay() {
  auto late = std::move(ddl_.left);
  for (auto& step : ddl_.changes.late) late.push_back(std::move(step));
  late = co_await run_steps(std::move(late), true);
  for (auto tries = left_out_.size() + ddl_.put_off.size(); !late.empty() && tries > 0; --tries) {
    const bool cleared = co_await clear_left_out();
    if (!cleared) break;
    late = co_await run_steps(std::move(late), true);
  }
  ddl::go_on_unfilled(late);
  if (!late.empty() && !ddl_.skip) throw first_refusal(ddl_.refusal, late.front());
  for (const auto& step : late) {
    log_event(LogLevel::warn, "ddl_skipped", {{"what", step.label}});
  }
  // The mirror's side of capture: what refuses others' writes now, and notes ours after a flip.
  std::vector<TableInfo> all;
  co_await describe_mirrored();
  auto mirror = ddl_.next->mirror;
  if (ddl_.again) std::erase_if(mirror, [&](const TableInfo& table) { return !ddl_.again->contains(table.id); });
  const auto unpinned = co_await capture::unpinned(*applier_, mirror);
  for (auto& table : mirror) {
    if (table.oid == 0) continue;
    if (ddl_.new_tables.contains(table.id) || unpinned.contains(table.id)) {
      // By the primary's key: an index may stand under another name here, or be built by a load yet.
      const auto& listed = ddl_.next->primary;
      const auto same = std::find_if(listed.begin(), listed.end(), [&](const auto& one) { return one.id == table.id; });
      if (same != listed.end()) table.key = same->key;
      // Two who replace one function at a time fail: a load makes it with its row held (hold_listed()).
      co_await applier_->run("SELECT FROM pgjanus.tables WHERE id = $1 FOR UPDATE", pg::params(std::to_string(table.id)));
      co_await applier_->run(capture::functions_sql(table));
    }
    if (ddl_.beside_load && left_out_.contains(table.id)) continue;  // The load brings triggers when it is through.
    all.push_back(std::move(table));
  }
  auto steps = co_await capture::capture_steps(*applier_, all);
  for (const auto& step : steps) co_await applier_->run(step.sql);
  co_await quiet_triggers(*applier_, replica_role_);
  co_await ddl::store_shape(*applier_, ddl_.known, ddl_.now, settings_.epoch.value);
  co_await keep_relabelled();
}

void MirrorLoop::replayed() {
  log_event(LogLevel::info, "ddl_followed", {{"objects", ddl_.now.size()}});
  ddl_.known = std::move(ddl_.now);
  ddl_.probe = ddl_.seen;
  ddl_.skip = ddl_.skip_asked = ddl_.due = ddl_.load_ended = false;
  ddl_.unsettled = 0;
  ddl_.misfits.clear();
  ddl_.stalled.clear();
  ddl_.looked_at = Clock::now();
  ++ddl_.changes_made;
  tables_.whole.clear();
  tables_.nobodys.clear();
  described_ = ddl_.next;
  tables_known_ = false;
  ddl_.stored = std::exchange(ddl_.next, std::nullopt);
  ddl_.listing = std::move(ddl_.next_listing);
  // Statements that are prepared may refer to types that are no more.
  if (ddl_.changes.types_gone) drop_connections();
}

/// After the transactions of a failed batch were rolled back. May replace the failure by a better one.
asio::awaitable<void> MirrorLoop::after_failure(std::exception_ptr& failure) {
  tables_.whole.clear();
  tables_.nobodys.clear();
  ddl_.astray.clear();
  const bool waited_for = !std::exchange(ddl_.left, {}).empty() && ddl_.refusal;
  std::optional<pg::Error> error;
  try {
    std::rethrow_exception(failure);
  } catch (const pg::Error& caught) {
    error = caught;
  } catch (const std::exception&) {
  }
  constexpr std::array<std::string_view, 4> other_shape{"42P01", "42703", "XX000", "0A000"};
  if (error && std::find(other_shape.begin(), other_shape.end(), error->sqlstate) != other_shape.end()) ddl_.due = ddl_.on;
  ddl_.strays = ddl_.strays || (error && error->is("42P01"));
  // While looking, nothing was done with them yet.
  if (ddl_.due && !ddl_.in_look) tables_known_ = false;
  // "cached plan must not change result type", "cache lookup failed for type", "type with OID ... does not exist": our statements
  // are of before a column's type was changed, or of a type that was made in a batch that was rolled back. A look has no
  // such statements: what it fails by is gone from the primary.
  constexpr std::array<std::string_view, 2> type_gone{"XX000", "42704"};
  const bool of_before = error && (error->is("0A000") || (!ddl_.in_look && std::find(type_gone.begin(), type_gone.end(), error->sqlstate) != type_gone.end()));
  // Tables that were merely rewritten have a way of their own (hold_up_rewritten()).
  if (error && ddl_.shape_known && !error->lost && !somebody_is_in_the_way(*error) && !error->is("PGJ04") && rewritten_.empty()) {
    const bool later = co_await catalog_moved_on();
    if (later && !ddl_.in_look) tables_known_ = false;
    if (!later) ddl_.stored.reset();
    if (later) failure = std::make_exception_ptr(with_state("PGJ01", "the schema changed while the batch was read: " + error->message));
    // What was to come before these rows says more than they do.
    else if (waited_for) failure = std::make_exception_ptr(*ddl_.refusal);
    ddl_.in_motion = later;
    if (of_before) drop_connections();
    co_return;
  }
  if (of_before) drop_connections();
  if (!error || !error->is("PGJ04")) co_return;
  try {
    co_await bring_capture();
    // Should it lack something for good, that is a fault like any other.
    ddl_.in_motion = ddl_.unsettled < holds_from || ddl_.found.marks != ddl_.seen;
    failure = std::make_exception_ptr(with_state("PGJ01", "capture was brought to new tables"));
  } catch (const pg::Error& refusal) {
    if (ddl_.behind_bar) co_return;  // The flip comes to nothing.
    // Names may have been exchanged in between, or something was dropped; a new snapshot tells. Not for ever: PGJ01 is counted.
    ddl_.in_motion = !refusal.lost && !somebody_is_in_the_way(refusal) && ddl_.unsettled < surprises_max;
    failure = refusal.lost ? std::current_exception()
                           : std::make_exception_ptr(with_state("PGJ01", "capture of new tables: " + refusal.message));
  }
}

}  // namespace pgjanus
