// Which catalog the primary had when replaying DDL began, whether it has another one by now, and what the primary is
// given for it: capture, and notes of what has to be read anew.

#include "proxy/capture/capture.hpp"
#include "proxy/ddl/beside_load.hpp"
#include "proxy/ddl/displaced.hpp"
#include "proxy/ddl/document.hpp"
#include "proxy/ddl/listing.hpp"
#include "proxy/ddl/named.hpp"
#include "proxy/ddl/partitions.hpp"
#include "proxy/log.hpp"
#include "proxy/mirror/loop.hpp"

namespace pgjanus {

namespace asio = boost::asio;

namespace {

constexpr const char* look_session = R"(
SAVEPOINT pgjanus_look;
SET LOCAL enable_hashjoin = on;
SET LOCAL enable_mergejoin = on;
SET LOCAL enable_seqscan = on)";

}  // namespace

// What is stored belongs to the boundary. Where nothing is (the first batch of a direction, or a mirror
// that was prepared by hand) the catalog of now is where we begin.
asio::awaitable<void> MirrorLoop::know_shape() {
  auto there = co_await applier_->run("SELECT to_regclass('pgjanus.shape') IS NOT NULL");
  if (!there.boolean(0, 0)) {
    ddl_.on = false;
    ddl_.unknowable = true;
    if (std::exchange(ddl_.at_flip, nullptr)) changed_();
    log_event(LogLevel::warn, "ddl_not_followed", {{"why", "prepared by an older version"}});
    co_return;
  }
  co_await know_relabelled();  // Ahead of what can be taken over only once.
  const auto marked = ddl_.at_flip;
  ddl_.probe.clear();
  if (marked && !marked->marks.empty()) {
    ddl_.probe = marked->marks;
    ddl_.found = marked->found;
    ddl_.load_ended = false;
  }
  if (marked && marked->stored) {
    ddl_.known = std::move(*marked->shape);
    log_event(LogLevel::info, "ddl_followed_from_here", {{"objects", ddl_.known.size()}});
  } else {
    ddl_.known = co_await ddl::stored_shape(*applier_, settings_.epoch.value);
  }
  if (ddl_.known.empty()) {
    bool exact = marked && marked->shape && marked->exact;
    ddl::Shape begin;
    if (marked && marked->shape) {
      begin = *marked->shape;  // Should storing it fail, it is needed again.
    } else {
      begin = co_await ddl::stored_shape(*reader_, settings_.epoch.value);  // Kept by a process that was killed.
      exact = !begin.empty();
    }
    if (begin.empty()) begin = co_await ddl::read_shape(*reader_);
    co_await applier_->run("BEGIN");
    co_await ddl::store_shape(*applier_, ddl::Shape{}, begin, settings_.epoch.value);
    co_await applier_->run("COMMIT");
    ddl_.known = std::move(begin);
    log_event(LogLevel::info, "ddl_followed_from_here", {{"objects", ddl_.known.size()}});
    if (!exact) {
      log_event(LogLevel::error, "ddl_may_be_missed",
                {{"why", "it ran while mirroring in this direction began"},
                 {"remedy", "VERIFY compares the schemas of both sides, too"}});
    }
  }
  ddl_.shape_known = true;
  if (std::exchange(ddl_.at_flip, nullptr)) changed_();
}

// The mirror's columns are those of the shape. What the primary's were called when they were described may be later, and gone again when somebody looks.
void MirrorLoop::number_columns() {
  for (auto& [id, pair] : tables_.by_id) {
    const auto oid = static_cast<std::int64_t>(pair.primary.oid);
    std::map<std::string, int> numbers;
    for (auto at = ddl_.known.lower_bound({"column", oid, 0}); at != ddl_.known.end(); ++at) {
      const auto& [kind, table, number] = at->first;
      if (kind != "column" || table != oid) break;
      numbers.emplace(ddl::text(at->second, "name"), static_cast<int>(number));
    }
    for (auto& column : pair.primary.columns) {
      const auto found = numbers.find(column.name);
      if (found != numbers.end()) column.number = found->second;
    }
  }
}

/// The catalog that the snapshot shows: what changed since the last look, or all of it.
asio::awaitable<void> MirrorLoop::read_now() {
  std::optional<ddl::Shape> now;
  // What a load is about to build, or has built, is told by the statements of all.
  ddl_.touched = ddl_.beside_load || ddl_.load_ended ? std::nullopt : ddl::changed_between(ddl_.probe, ddl_.seen);
  if (ddl_.touched) now = co_await ddl::read_changed(*reader_, ddl_.known, *ddl_.touched);
  if (!now) ddl_.touched.reset();
  if (!now) now = co_await ddl::read_shape(*reader_);
  ddl_.now = std::move(*now);
}

/// Under the batch's snapshot. True: ddl_.changes has to go along with this batch.
asio::awaitable<bool> MirrorLoop::look_at_catalog(const std::string& snapshot) {
  ddl_.looking = true;
  co_await reader_->run(look_session);
  if (!ddl_.shape_known) {
    co_await know_shape();
    number_columns();
  }
  ddl_.in_look = ddl_.on;
  if (!ddl_.on) co_return false;
  ddl_.seen = co_await ddl::read_marks(*reader_);
  bool replays = false;
  granted_.due = granted_.due || ddl_.seen != ddl_.probe;
  // A table that was made and dropped between two looks leaves the catalog as it was, and the list not.
  if (ddl_.seen != ddl_.probe || !ddl_.misfits.empty()) {
    co_await read_now();
    if (ddl_.beside_load) ddl_.now = ddl::without_post_data(ddl_.known, std::move(ddl_.now));
    auto stands = co_await what_the_load_left();
    const bool otherwise = !stands.empty();  // Has to be stored.
    {
      const ddl::AmendedShape amended{ddl_.known, std::move(stands)};
      ddl_.changes = ddl::compare(ddl_.known, ddl_.now, boundary_.snapshot, replica_role_);
      ddl_.changes.relabelled = ddl::relabelled(ddl_.known, ddl_.now);
    }
    if (ddl_.beside_load) ddl::keep_post_data(ddl_.known, ddl_.now);
    const bool captured = co_await capture_stands();
    if (!captured) throw with_state("PGJ04", "new tables are not captured yet");
    // Texts of indexes, constraints, views call things by the names of the time when they were read, not by those of the snapshot.
    co_await open_lister();
    const auto since = parse_snapshot(snapshot).value_or(Snapshot{}).xmin;
    const bool renamed = co_await ddl::otherwise_named(*reader_, *lister_, since);
    if (renamed) throw with_state("PGJ01", "names changed while the schema was read");
    replays = !ddl_.changes.empty() || otherwise;
  }
  co_await reader_->run("ROLLBACK TO SAVEPOINT pgjanus_look; RELEASE SAVEPOINT pgjanus_look");
  if (!replays && ddl_.seen != ddl_.probe) {
    ddl_.known = std::move(ddl_.now);
    ddl_.probe = ddl_.seen;
    ddl_.load_ended = false;
    if (ddl_.again && ddl_.listing == ddl_.next_listing) ddl_.stored->primary = std::move(ddl_.next->primary);
    else ddl_.stored.reset();
  }
  if (!replays && !ddl_.misfits.empty()) {
    // Not the primary's doing, since this snapshot is later: now these tables are said to be broken.
    ddl_.broken = std::exchange(ddl_.misfits, {});
    forget_tables();
    throw with_state("PGJ01", "tables that do not fit");
  }
  ddl_.looked_at = Clock::now();
  ddl_.due = replays;
  ddl_.in_look = false;
  co_return replays;
}

// DDL around us is found up to a second late. Batches in between read rows by today's names and wrote them by those of before:
// what changed since the last look is read again, once the mirror has followed. Whole rows, which are counted, cannot be: compare() sees to these.
asio::awaitable<bool> MirrorLoop::looks_too_late() {
  if (!ddl_.once_more.empty() || ddl_.looked == boundary_.snapshot) co_return false;
  bool displaced = ddl::displaces(ddl_.known, ddl_.now);
  if (!displaced && !ddl_.changes.relabelled.empty()) {
    const auto columns = co_await ddl::columns_of(*reader_, ddl_.changes.relabelled);
    displaced = !columns.empty();
  }
  if (!displaced) co_return false;
  auto since = ddl_.looked;
  if (since.empty()) {  // Somebody who was killed may have looked last; the journal goes back to that.
    const auto first = co_await reader_->run("SELECT min(xid)::text FROM pgjanus.journal");
    if (first.null(0, 0)) co_return false;
    since = first.str(0, 0) + ":" + first.str(0, 0) + ":";
  }
  const auto written = co_await ddl::journaled_ids(*reader_, since);
  const auto horizon = [](const std::string& text) { return parse_snapshot(text).value_or(Snapshot{}).xmin; };
  // One that does not fit as it was described is among those that the batch will pair.
  for (const auto& table : ddl_.next->primary) {
    if (!table.keyed() || left_out_.contains(table.id) || !written.contains(table.id)) continue;
    const auto own = own_.find(table.id);
    if (own == own_.end()) {
      ddl_.once_more.emplace(table.id, since);
    } else if (horizon(since) < horizon(own->second)) {  // Held up since then: nobody has taken these keys anew.
      own->second = since;
      if (held_up_.contains(table.id)) unsaved_holds_.insert(table.id);
    }
  }
  co_return !ddl_.once_more.empty();
}

/// Behind a load, which built from later texts than those that the shape knows.
asio::awaitable<ddl::Amended> MirrorLoop::what_the_load_left() {
  ddl::Amended stands;
  if (!ddl_.load_ended || ddl_.behind_bar) co_return stands;
  const auto mirror = co_await ddl::read_own_shape(*applier_, ddl::stands_with_tables);
  const auto steps = co_await applier_->run("SELECT step FROM pgjanus.steps");
  std::vector<std::string> built;
  for (int row = 0; row < steps.size(); ++row) built.push_back(steps.str(row, 0));
  stands = ddl::as_it_stands(ddl_.known, ddl_.now, mirror, built);
  co_return stands;
}

/// Whether every table that the snapshot shows is listed as it is, and captured whole.
asio::awaitable<bool> MirrorLoop::capture_stands() {
  const auto listing = co_await ddl::read_listing(*reader_);
  const auto found = co_await ddl::candidates(*reader_, listing, settings_.exclude, ddl_.found, ddl_.seen);
  for (const auto& name : found.beyond_us) {
    if (ddl_.beyond_us.contains(name)) continue;
    log_event(LogLevel::error, "table_not_mirrored", {{"table", name}});
  }
  ddl_.beyond_us = found.beyond_us;
  if (!ddl::listed_rightly(listing, found.tables)) co_return false;
  co_await describe_listed(listing);
  const auto doubtful = ddl::unsure(ddl_.next->primary, ddl_.found);
  const auto lost = co_await capture::lost(*reader_, doubtful);
  const auto unpinned = co_await capture::unpinned(*reader_, doubtful);
  const auto& back = ddl_.changes.rejoined;
  const bool noted = std::all_of(back.begin(), back.end(), [&](const auto& one) {
    const auto known = ddl_.noted.find(one.first);
    return known != ddl_.noted.end() && known->second == one.second;
  });
  if (!lost.empty() || !unpinned.empty() || !noted) co_return false;
  for (const auto& table : doubtful) ddl_.found.whole.emplace(table.id, table.oid);
  co_return true;
}

/// The primary's listed tables under the snapshot: those that changed, or are listed otherwise, or all of them.
asio::awaitable<void> MirrorLoop::describe_listed(const std::vector<ddl::Listed>& listing) {
  ddl_.next_listing = listing;
  ddl_.again.reset();
  if (!ddl_.touched || !ddl_.stored) {
    ddl_.next.emplace();
    ddl_.next->primary = co_await stored_tables(*reader_);
    co_return;
  }
  std::map<int, const ddl::Listed*> was, is;
  for (const auto& one : ddl_.listing) was[one.id] = &one;
  for (const auto& one : listing) is[one.id] = &one;
  std::set<int> again;
  for (const auto& table : ddl_.stored->primary) {
    if (ddl::has_one_of(table, *ddl_.touched)) again.insert(table.id);
  }
  for (const auto& [id, one] : is) {
    const auto before = was.find(id);
    if (before == was.end() || *before->second != *one) again.insert(id);
  }
  for (const auto& table : ddl_.found.tables) {  // A name that another one has by now.
    if (!ddl::has_one_of(table, *ddl_.touched)) continue;
    const auto name = table.by_source();
    for (const auto& one : listing)
      if (QualifiedName{one.schema, one.name} == name) again.insert(one.id);
  }
  ddl_.next = ddl_.stored;
  const auto over = [&](const TableInfo& table) { return again.contains(table.id) || !is.contains(table.id); };
  std::erase_if(ddl_.next->primary, over);
  std::erase_if(ddl_.next->mirror, over);
  auto some = co_await stored_again(*reader_, again);
  for (auto& table : some) ddl_.next->primary.push_back(std::move(table));
  ddl_.again = std::move(again);
}

/// The mirror's, in its transaction, once the list is the primary's.
asio::awaitable<void> MirrorLoop::describe_mirrored() {
  if (!ddl_.again) {
    ddl_.next->mirror = co_await stored_tables(*applier_);
    co_return;
  }
  auto again = *ddl_.again;
  std::erase_if(ddl_.next->mirror, [&](const TableInfo& table) { return again.contains(table.id); });
  auto some = co_await stored_again(*applier_, std::move(again));
  for (auto& table : some) ddl_.next->mirror.push_back(std::move(table));
}

asio::awaitable<void> MirrorLoop::open_lister() {
  if (!lister_ || !lister_->usable() || lister_->in_transaction()) {
    lister_ = co_await databases_.open(settings_.primary, "ddl", pg::Duration{5'000});
  }
  listed_at_ = Clock::now();
}

/// Lists what the primary has now, captures it, and notes the rows that came before the triggers, or while they were away.
asio::awaitable<void> MirrorLoop::bring_capture() {
  co_await open_lister();
  const auto& connection = lister_;
  const auto& known = ddl_.known;
  const auto exclude = settings_.exclude;
  const auto writes = ddl_.behind_bar ? ddl::Primary::barred : ddl::Primary::open;
  const auto back = ddl_.changes.rejoined;
  co_await ddl::list_and_capture(*connection, known, exclude, writes, ddl_.found);
  if (back.empty()) {
    ++ddl_.changes_made;
    co_return;
  }
  if (ddl_.behind_bar) throw with_state("PGJ04", "partitions that came back are to be read anew");
  co_await ddl::note_rejoined(*connection, back);
  ddl_.noted = back;
  ++ddl_.changes_made;
}

// Tables that wait for a lock, or are being loaded, while this batch goes on without their rows: whichever
// batch takes them up reads them whole. Committed before the batch is; more of it than needed does no harm.
asio::awaitable<void> MirrorLoop::owe_whole(std::set<int> tables) {
  if (ddl_.behind_bar) throw with_state("PGJ04", "tables that wait are to be read anew");
  std::string list = "{";
  for (const int id : tables) list += (list.size() > 1 ? "," : "") + std::to_string(id);
  auto connection = co_await databases_.open(settings_.primary, "ddl", pg::Duration{5'000});
  co_await connection->run("INSERT INTO pgjanus.journal (xid, table_id) "
                           "SELECT pg_current_xact_id(), unnest($1::int[])", pg::params(list + "}"));
}

}  // namespace pgjanus
