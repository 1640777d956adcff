// One chunk: rows of a page range from the primary's snapshot into the mirror, in one transaction
// there with the note that they are there.

#include "proxy/load/impl.hpp"
#include "proxy/log.hpp"

namespace pgjanus {

using namespace load;

namespace {

/// Hands what COPY TO gives to COPY FROM. Its functions suspend while the mirror takes no more, and
/// then copy_out reads no more: at most a parcel is held.
class Pipe {
 public:
  using Rest = std::function<asio::awaitable<void>(std::uint64_t rows, std::uint64_t bytes,
                                                   Clock::duration took)>;
  Pipe(Pair& pair, LoadProgress& progress, const bool& stopping, Rest rest)
      : pair_{pair}, progress_{progress}, stopping_{stopping}, rest_{std::move(rest)} {}

  pg::Connection::Sink sink() {
    return [this](std::string_view parcel) { return put(parcel); };
  }
 private:
  asio::awaitable<void> put(std::string_view parcel) {
    if (stopping_) {
      pg::Error error{"the load was stopped"};
      error.message = error.what();
      throw error;
    }
    if (pair_.asked) {  // What is under way yet, however slowly it is to go, would be thrown away.
      pg::Error error{"somebody waits for the table"};
      error.message = error.what();
      error.sqlstate = "57014";
      throw error;
    }
    co_await pair_.mirror->copy_in_put(parcel, copy_idle_limit);
    progress_.bytes_read += parcel.size();
    const auto rows = pair_.primary->copied_rows() - rows_;
    rows_ += rows;
    const auto took = Clock::now() - resumed_;
    co_await rest_(rows, parcel.size(), took);
    resumed_ = Clock::now();
  }

  Pair& pair_;
  LoadProgress& progress_;
  const bool& stopping_;
  const Rest rest_;
  std::uint64_t rows_ = 0;
  Clock::time_point resumed_ = Clock::now();
};

}  // namespace

// Opens the mirror's transaction and locks the chunk's row. False: it is done already. Two loaders
// (a proxy that was taken for dead) meet at this row: one waits, and then finds it done.
asio::awaitable<bool> Loader::Impl::claim_chunk(Pair& pair, TableLoad& table, const Chunk& chunk) {
  co_await pair.mirror->run("BEGIN; " + apply_marks(replica_role) +
                            "; SET LOCAL lock_timeout = '20s'");
  const auto end = chunk.end_page ? std::optional{std::to_string(*chunk.end_page)} : std::nullopt;
  const auto rows = co_await pair.mirror->run(
      "SELECT c.done FROM pgjanus.chunks c JOIN pgjanus.tables t ON t.id = c.table_id, "
      "pgjanus.state s WHERE c.table_id = $1::int AND c.part = $2::int AND s.role = 'mirror' "
      "AND (c.done OR (t.boundary = $3 AND t.file = $4 AND c.end_page IS NOT DISTINCT FROM $5::bigint)) FOR UPDATE OF c",
      pg::params(std::to_string(table.info.id), std::to_string(chunk.part), table.boundary,
                 table.file, end));
  if (rows.empty()) {
    // Replayed DDL may have owed it anew; a proxy that was taken for dead, or a flip, ends the next run at its beginning.
    throw behind("the load of " + table.progress.name + " was begun anew, or the sides were swapped");
  }
  co_return !rows.boolean(0, 0);
}

asio::awaitable<void> Loader::Impl::copy_chunk(Pair& pair, TableLoad& table, std::size_t index) {
  const auto chunk = table.chunks.at(index);
  const bool whole = table.file == whole_file;
  const auto claimed = co_await claim_chunk(pair, table, chunk);
  std::uint64_t copied = 0;
  std::string snapshot;
  if (claimed) {
    if (whole) co_await empty_table(*pair.mirror, table.there);
    auto labels = co_await begin_copy(*pair.primary);
    if (whole) {
      const auto rows = co_await pair.primary->run("SELECT pg_current_snapshot()::text");
      snapshot = rows.str(0, 0);
    }
    const std::vector<TableLoad*> only(1, &table);
    const auto formats = co_await formats_of(pair, only);
    copied = co_await copy_rows(pair, table, chunk, formats.front());
    // With the relation's lock still held: a rewrite or TRUNCATE between the snapshot and the lock
    // is not MVCC, and pages mean something else than in the plan.
    const auto files = co_await files_of(*pair.primary, table.info.oid);
    if (!files.current || (!whole && files.text != table.file)) throw FileChanged{};
    co_await require_name(*pair.primary, table.info);
    co_await require_name(*pair.mirror, table.there);
    const std::vector<const TableInfo*> copied_from(1, &table.info);
    co_await end_copy(pair, copied_from, std::move(labels));
    co_await make_durable(*pair.primary);
    const auto id = std::to_string(table.info.id);
    co_await pair.mirror->run(
        "UPDATE pgjanus.chunks SET done = true, rows = $3::bigint "
        "WHERE table_id = $1::int AND part = $2::int",
        pg::params(id, std::to_string(chunk.part), std::to_string(copied)));
    if (whole) {
      co_await pair.mirror->run(
          "UPDATE pgjanus.tables SET boundary = $2, state = 'indexing', rows = $3::bigint "
          "WHERE id = $1::int",
          pg::params(id, snapshot, std::to_string(copied)));
    }
  }
  co_await pair.mirror->run("COMMIT", work_limit);

  if (!claimed) {  // Its commit was in doubt, and had happened.
    const auto rows = co_await pair.mirror->run(
        "SELECT c.rows, t.boundary FROM pgjanus.chunks c JOIN pgjanus.tables t ON t.id = "
        "c.table_id "
        "WHERE c.table_id = $1::int AND c.part = $2::int",
        pg::params(std::to_string(table.info.id), std::to_string(chunk.part)));
    copied = static_cast<std::uint64_t>(rows.integer(0, 0));
    if (whole) snapshot = rows.str(0, 1);
  }
  auto& done = table.chunks.at(index);  // Not before: others may be added to them.
  done.done = true;
  done.rows = static_cast<std::int64_t>(copied);
  table.progress.rows_done += done.rows;
  table.progress.bytes_done += done.bytes;
  if (!whole) co_return;
  table.boundary = snapshot;
  table.stage = Stage::build;
  table.progress.state = TableState::indexing;
}

asio::awaitable<std::uint64_t> Loader::Impl::copy_rows(Pair& pair, TableLoad& table,
                                                       const Chunk& chunk, Format format) {
  const auto columns = column_list(table.info);
  const bool whole = table.file == whole_file;
  const auto from = whole ? table.info.sql_rows() : "ONLY " + chunk.relation;
  // Without a list COPY takes all columns that are not generated: of this table none. The texts
  // have names: GCC 12 destroys a conditional temporary of a co_await expression twice.
  const auto list = columns.empty() ? std::string{} : " (" + columns + ")";
  const auto pages = whole ? std::string{"true"} : pages_condition(chunk);
  const auto options = format == Format::binary ? std::string{" (FORMAT binary)"} : std::string{};
  auto into = "COPY " + table.there.sql_name() + list + " FROM STDIN" + options;
  auto out_of =
      "COPY (SELECT " + columns + " FROM " + from + " WHERE " + pages + ") TO STDOUT" + options;
  co_await pair.mirror->copy_in_begin(std::move(into));
  Pipe pipe{pair, state, stopping, [&](std::uint64_t rows, std::uint64_t size, Clock::duration took) {
              return rest(pair, rows, size, took);
            }};
  const auto sent =
      co_await pair.primary->copy_out(std::move(out_of), pipe.sink(), copy_idle_limit);
  const auto taken = co_await pair.mirror->copy_in_end(std::nullopt, work_limit);
  if (sent != taken) {
    throw std::runtime_error{"the primary sent " + std::to_string(sent) +
                             " rows, the mirror took " + std::to_string(taken)};
  }
  state.rows_read += sent;
  co_return sent;
}

// Inside of the mirror's transaction. TRUNCATE where nothing refers to the table, else DELETE.
asio::awaitable<void> Loader::Impl::empty_table(pg::Connection& mirror, const TableInfo& table) {
  const auto referred = co_await mirror.run(
      "SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = " +
      pg::quote_literal(table.sql_name()) + "::regclass AND conrelid <> confrelid)");
  auto sql = (referred.boolean(0, 0) ? "DELETE FROM " : "TRUNCATE ") + table.sql_rows();
  co_await mirror.run(std::move(sql), work_limit);
}

}  // namespace pgjanus
