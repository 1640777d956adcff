#pragma once
// One client: its socket, the servers it leases, and what runs between them. README.md argues the
// states and races.

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "proxy/session/login.hpp"
#include "proxy/session/pool.hpp"
#include "proxy/session/server.hpp"
#include "proxy/session/statements.hpp"
#include "proxy/session/transfer.hpp"
#include "proxy/session/worker.hpp"

namespace pgjanus {

using ServerPtr = std::shared_ptr<Server>;

/// Accept to close of one client connection. Lives on its worker's thread; every coroutine of it
/// holds it. Two tasks relay: client to server (with the gate in it), and one for each server.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Worker& worker, Stream::Socket socket);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Starts the task that is the whole life of the client.
  void start();

  /// The worker has a new view.
  void on_view();
  /// Not between transactions, or its last commit is not acknowledged yet.
  [[nodiscard]] bool busy() const noexcept;
  [[nodiscard]] bool idle_in_service() const noexcept { return serving_ && !ended_ && !busy(); }
  [[nodiscard]] bool in_transaction() const noexcept;
  [[nodiscard]] SessionReport report(std::string reason) const;
  [[nodiscard]] std::string busy_reason() const;
  [[nodiscard]] ClientReport client_report() const;
  [[nodiscard]] std::int32_t process_id() const noexcept { return key_.process_id; }
  [[nodiscard]] std::uint64_t ticket() const noexcept { return ticket_; }

  /// Ends the session with this FATAL (when the stream stands between messages).
  void terminate(wire::ErrorFields why);
  /// Ends it now when it is between transactions, otherwise when it is; SIGTERM's way. One that has
  /// only just come and asked nothing yet gets a moment to run what it came for.
  void drain();
  /// Ends it without waiting for anybody: one try to say why.
  void cut(const wire::ErrorFields& why) noexcept;
  /// A cancel request with the right key came in.
  asio::awaitable<void> cancel();
  /// Opens the server on `side` and brings it up to date, if the session is idle.
  asio::awaitable<void> warm(Side side);
  /// Appends what pins it to its server, if it is idle and something does.
  asio::awaitable<void> report_pin(std::shared_ptr<std::vector<SessionReport>> found);
  /// The ticket may be covered.
  void ticket_news() { ticket_alarm_.notify(); }

  /// A task of it has thrown: what is left of it ends without sockets.
  void fail(std::string_view task, const std::exception_ptr& failure);
  /// Server to client, for as long as the server lives, whoever leases it.
  static asio::awaitable<void> relay_server(Worker& worker, ServerPtr server);

  // For the pool.
  [[nodiscard]] const std::shared_ptr<const PoolIdentity>& identity() const noexcept { return identity_; }
  [[nodiscard]] const std::shared_ptr<const SessionState>& known_state() const noexcept { return state_; }
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }
  /// Nothing has to be said to this server, nor to the client, before it serves the client.
  [[nodiscard]] bool suits(const Server& server) const noexcept;
  [[nodiscard]] const std::string& pin_reason() const noexcept { return pin_; }
  [[nodiscard]] double waited_seconds() const noexcept;
  [[nodiscard]] std::optional<ServerReport> server_report() const;
  [[nodiscard]] bool holds(const Server& server) const noexcept {
    return (main_ ? main_ : aside_).get() == &server;
  }
  /// Something has changed that it may wait for before a transaction begins.
  void gate_news();
  /// The server that was asked for, or why there is none.
  void granted(ServerPtr server);
  void refused(wire::ErrorFields why);

 private:
  // What scanning a buffer came to.
  enum class Next : std::uint8_t { read, again, gate, ticket, fenced, skip, drop, terminate, violation, hidden, renamed, later, more };
  struct Step {
    std::size_t bytes = 0;  // At the front of the buffer, to be passed on.
    Next next = Next::read;
    std::size_t held = 0;   // Bytes behind them that wait for the ticket, or are not passed on.
  };
  /// Reads without a pause after which the other sessions of this thread get their turn.
  static constexpr int rounds_max = 16;
  enum class Skip : std::uint8_t { none, message, until_sync };

  // session.cpp: life.
  asio::awaitable<void> run();
  asio::awaitable<void> serve(Accepted client);
  asio::awaitable<std::optional<wire::ErrorFields>> begin_service();
  asio::awaitable<void> welcome();
  asio::awaitable<void> last_answers();
  asio::awaitable<void> end_with(wire::ErrorFields why);
  asio::awaitable<void> finish();
  asio::awaitable<void> let_servers_go();
  [[nodiscard]] std::optional<wire::ErrorFields> closed_door() const;
  void leave();
  void spawn(asio::awaitable<void> work, std::string_view name);
  [[nodiscard]] const View& view() const noexcept { return worker_.view(); }

  // relay_client.cpp: client to server.
  asio::awaitable<void> relay_client();
  bool client_turn();
  bool pass_on_client();
  void client_passed(std::size_t bytes);
  [[nodiscard]] bool renames(const Server& server) const noexcept;
  [[nodiscard]] wire::Bytes renamed(Server& server, wire::ByteView bytes) const;
  Step scan_client();
  Step scan_messages();
  void note_client_message(const wire::Piece& piece);
  void note_parse(const wire::Piece& piece);
  asio::awaitable<bool> stop_client(Next why);
  asio::awaitable<bool> skip_message();
  asio::awaitable<bool> drop_message();

  // prepared.cpp, prepared_replies.cpp: statements by the names that servers know.
  [[nodiscard]] bool waits_for_answers(wire::ByteView message) const;
  void rename(const wire::Piece& piece, wire::Frontend& sent_as, Mark& mark);
  void rename_parse(const wire::Piece& piece, wire::Frontend& sent_as, Mark& mark);
  void refuse_parse(const wire::Piece& piece, std::string_view name, Mark& mark);
  void rename_use(const wire::Piece& piece, std::size_t before, std::string_view name, Mark& mark);
  void rename_close(const wire::Piece& piece, Mark& mark);
  std::optional<std::string> rename_deallocate(const wire::Piece& piece, std::string_view text);
  void bring_unnamed(const wire::Piece& piece);
  void begin_unnamed();
  void put_off_unnamed();
  void end_unnamed() noexcept;
  void lose_unnamed(bool failed);
  [[nodiscard]] PreparedPtr as_analysed(const PreparedPtr& prepared);
  void ensure(const PreparedPtr& prepared);
  void make_room(const Prepared& coming);
  void copy_up_to(const wire::Piece& piece);
  [[nodiscard]] std::string text_context() const;
  void note_answered(Server& server, const Mark& mark);
  /// What became of the first message that is lost: the others were skipped.
  enum class Loss : std::uint8_t { skipped, failed, plan_is_old };
  void settle_lost(Server& server, Loss first);
  bool renames_error(Server& server, const wire::Piece& piece);
  void note_deallocated(Server& server, std::string_view tag);

  // prepared_repair.cpp: what a server has lost or keeps in an old shape.
  void keep_batch(const wire::Piece& piece);
  [[nodiscard]] bool repairs(Server& server, const wire::Piece& piece, wire::ByteView before);
  asio::awaitable<void> repeat_batch();

  // pooling.cpp, pooling_return.cpp: a server for a transaction.
  [[nodiscard]] bool pooled() const noexcept { return identity_ != nullptr; }
  asio::awaitable<std::optional<wire::ErrorFields>> begin_pooled();
  asio::awaitable<bool> next_server();
  asio::awaitable<bool> answer_refused();
  void use(ServerPtr server);
  asio::awaitable<void> adopt(ServerPtr server);
  asio::awaitable<std::string> take_over(ServerPtr server);
  asio::awaitable<std::string> become(ServerPtr server, SessionState wanted);
  void settle_lease();
  asio::awaitable<void> read_back();
  void give_back(ServerPtr& server);
  void leave_server(ServerPtr& server);
  asio::awaitable<void> cleanse(ServerPtr server);
  void stop_waiting();
  void want_server(Side side);
  asio::awaitable<void> next_aside();
  asio::awaitable<bool> wait_for_primary();

  // relay_server.cpp: server to client.
  struct ServerRelay;
  Step scan_server(Server& server);
  void after_step(Server& server);
  bool note_server_message(Server& server, const wire::Piece& piece);
  void note_error(Server& server, const wire::Piece& piece);
  void note_tag(std::string_view tag) noexcept;
  void note_schema_change();
  void note_complete(Server& server, const wire::Piece& piece);
  void note_parameter(Server& server, const wire::Piece& piece);
  bool swallow(Server& server);
  void after_boundary();
  [[nodiscard]] bool may_write(const Server& server) const noexcept;
  void collect(Server& server, const wire::Piece& piece);
  bool note_ready(Server& server, wire::TransactionStatus status);
  asio::awaitable<bool> stop_server(ServerPtr server, Step step);
  void note_written(Server& server, std::size_t bytes);
  static asio::awaitable<void> relay_ended(Worker& worker, ServerPtr server);
  asio::awaitable<void> server_gone(ServerPtr server);
  asio::awaitable<bool> to_client(wire::ByteView bytes);
  asio::awaitable<bool> to_client_slowly(ServerPtr server, wire::ByteView bytes);

  // gate.cpp: who may begin a transaction, and on which server.
  asio::awaitable<bool> pass_gate();
  bool pass_at_once();
  asio::awaitable<void> wait_at_gate(Deadline limit);
  void set_held(bool held);
  asio::awaitable<bool> answer_cancelled();
  asio::awaitable<void> answers_before(Deadline limit);
  asio::awaitable<void> end_violation();
  asio::awaitable<bool> answer_instead(wire::ErrorFields error);
  void watch_client();
  [[nodiscard]] bool must_wait() const noexcept;
  [[nodiscard]] bool must_move() const noexcept;
  void update_attention() noexcept;

  // reads.cpp: statements that the other side serves.
  void update_routing() noexcept;
  [[nodiscard]] bool goes_aside();
  asio::awaitable<void> ready_aside();
  void send_aside();
  asio::awaitable<void> retry_on_primary();
  void begin_retry(const Server& server);
  void discard_reply(Server& server);
  [[nodiscard]] bool retries(Server& server, const wire::Piece& piece);
  asio::awaitable<void> aside_lost();

  // fence.cpp: statements that meet the fence in an old primary.
  void keep_lone(const wire::Piece& piece);
  [[nodiscard]] bool met_fence(const Server& server, const wire::Piece& piece) const;
  [[nodiscard]] static wire::Bytes begin_again();
  asio::awaitable<void> retry_after_fence();
  asio::awaitable<void> send_again(wire::ByteView bytes);

  // lease.cpp and move.cpp: opening servers and moving between them.
  asio::awaitable<std::optional<wire::ErrorFields>> lease(Side side, ServerPtr& out);
  void release(ServerPtr& server);
  asio::awaitable<Answer> ask(ServerPtr server, wire::Bytes question, std::size_t ready_owed);
  asio::awaitable<std::optional<SessionState>> read_state(ServerPtr server);
  asio::awaitable<std::string> establish(ServerPtr server, SessionState present,
                                         SessionState wanted);
  asio::awaitable<std::optional<std::map<std::string, std::int32_t>>> type_oids(
      ServerPtr server, const SessionState& wanted, const std::vector<std::string>& names);
  asio::awaitable<std::string> prepare(ServerPtr server, const SessionState& present,
                                       const SessionState& wanted);
  asio::awaitable<void> bring_up(ServerPtr server);
  asio::awaitable<void> repeat_unnamed();
  asio::awaitable<void> send_stash();
  void work_done();
  asio::awaitable<void> move();
  asio::awaitable<std::optional<wire::ErrorFields>> move_to(Side side);
  asio::awaitable<void> tell_parameters(ServerPtr server);
  void move_when_idle();
  [[nodiscard]] bool may_be_asked() const noexcept;

  // ticket.cpp: classes of statements, and commits that wait for the mirror.
  [[nodiscard]] StatementClass class_of(std::string_view text);
  [[nodiscard]] StatementClass class_of_statement(std::string_view name);
  [[nodiscard]] bool waits_for_catalog(wire::ByteView message);
  [[nodiscard]] bool stays_back(wire::ByteView message);
  void note_query(std::string_view text, bool whole);
  void look_at_encoding();
  [[nodiscard]] StatementClass as_of_now(StatementClass kind) const noexcept;
  [[nodiscard]] bool classifying() const noexcept;
  void note_statement_use(std::string_view name);
  void note_kind(StatementClass kind);
  bool needs_ticket(const Server& server);
  asio::awaitable<void> wait_for_ticket();

  Worker& worker_;
  Stream client_;
  Buffer client_in_;
  wire::Framer client_framer_{buffer_bytes};
  Accepted who_;
  wire::BackendKeyData key_;
  const std::uint64_t number_;
  std::string address_;
  const Clock::time_point connected_at_ = Clock::now();

  ServerPtr main_;    // On the primary: everything but reads elsewhere.
  ServerPtr aside_;   // On the other side: warm for a flip, or for reads.
  ServerPtr active_;  // Where the client's messages go; main_ or aside_.

  Statements statements_;
  wire::Bytes long_parse_;         // A Parse longer than a buffer, as far as it has come.
  std::optional<SessionState> aside_state_;  // What was last established on aside_.
  std::vector<std::string> aside_channels_;    // LISTEN of the session then; not established aside.
  Reported told_;                  // ParameterStatus values that the client knows.
  std::vector<std::string> custom_names_;  // Of settings like a.b: no catalog lists them.

  // Gate.
  bool attention_ = false;    // The fast path must stop at the next transaction.
  bool gate_passed_ = false;  // For the message at the front.
  bool in_batch_ = false;     // Extended messages were forwarded since the last Sync.
  bool working_ = false;      // Our own queries run on a server: the client waits.
  bool held_ = false;
  bool mirrored_ = false;     // The view before the present one said so.
  bool cancelled_ = false;    // While held.
  bool watching_ = false;
  bool at_end_ = false;       // Nothing comes from the client behind what waits,
  Deadline end_limit_ = Deadline::max();  // which runs if it begins until then.
  bool warming_ = false;      // A server aside is being opened.
  Skip skip_ = Skip::none;
  Alarm gate_;

  // Reads.
  bool routing_ = false;        // The view sends reads of ours aside.
  std::uint32_t dice_ = 0;      // Of the message at the gate.
  std::size_t aside_bytes_ = 0; // Of the batch that goes aside.
  wire::Bytes retry_;           // A batch that can be run again: nothing of its reply was passed on.
  const Server* retry_on_ = nullptr;  // Where it runs. Compared, never followed.
  bool retry_due_ = false;      // Once its reply there has been dropped;
  bool repairing_ = false;      // on the same server, with its statements prepared anew.
  bool fence_waiting_ = false;
  Alarm fence_;
  Answer discarded_;
  Clock::time_point aside_refused_until_{};

  // Transaction pooling.
  std::shared_ptr<const PoolIdentity> identity_;  // Null: session pooling.
  std::shared_ptr<const SessionState> state_;     // As of the last lease that touched it.
  std::shared_ptr<const SessionState> first_state_;  // As it logged in.
  ClientStatements names_;        // Statements that the client has named.
  std::deque<std::pair<std::string, std::uint32_t>> deallocating_;  // Names that DEALLOCATE is to end.
  std::pair<std::string, std::uint32_t> deallocated_;  // The last one of them.
  std::deque<std::string> refused_;  // Of Parses that the server will refuse, unanswered ones,
  std::string refused_name_;      // and of the one whose error is at hand.
  bool forgetting_ = false;       // A DEALLOCATE ALL is on its way.
  std::uint32_t batch_ = 1;       // Counts what ends an implicit transaction: Sync and Query.
  std::uint32_t long_id_ = 0;     // Of the named Parse that comes in pieces.
  std::uint64_t unnamed_id_ = 0;  // Of the unnamed statement; 0: none.
  Side unnamed_side_ = Side::source;
  /// What a Parse or Close of the unnamed statement that has not been answered took the place of.
  struct UnnamedBefore {
    std::uint64_t id = 0;
    Side side = Side::source;
    std::optional<Statement> statement;
  };
  std::deque<UnnamedBefore> unnamed_before_;
  std::uint32_t unnamed_batch_ = 0;   // In which the last one was sent.
  std::uint32_t brought_batch_ = 0;   // In which the server was last given it by us.
  std::uint64_t long_unnamed_ = 0;    // unnamed_id_ of one that comes in pieces.
  wire::ByteView scanned_;        // What rename() looks at,
  std::size_t copied_ = 0;        // and how much of it is in worker_.outgoing.
  bool began_inside_ = false;     // What is scanned begins inside a message.
  wire::Bytes changed_;           // Of what goes out in place of the client's bytes, what is not written yet.
  wire::Bytes replacement_;       // For an error of the server.
  std::string pin_;               // Why main_ is kept between transactions.
  bool reading_back_ = false;     // main_ is being asked for it.
  std::uint32_t read_backs_ = 0;  // How often that was asked.
  bool dirty_ = false;            // This lease may have changed the session's state.
  bool queued_ = false;           // The client's turn is over until a server is granted, or gate_news().
  bool waiting_ = false;          // In the pool's queue,
  Side waits_for_ = Side::source;
  Clock::time_point waits_since_{};
  ServerPtr granted_;             // and this came of it,
  std::optional<wire::ErrorFields> refusal_;  // or this.
  Step client_step_;               // Where the turn of client_in_ stopped,
  std::size_t client_sent_ = 0;    // how many of its bytes are written,
  bool client_closed_ = false;     // and whether the client's stream has ended.
  bool client_writes_ = false;    // Bytes of the client are on their way to active_.

  // Relay.
  bool serving_ = false, ended_ = false;
  bool drain_ = false;               // It ends at the next boundary.
  bool arriving_ = true;             // Its start-up has not ended.
  bool newcomer_ = false;            // It ends at its first boundary, or soon.
  bool writing_ = false;             // Somebody is in the middle of writing to the client.
  bool farewell_ = false;            // end_with() is under way or through.
  bool terminated_ = false;          // The client said Terminate.
  bool violated_ = false;            // It broke the protocol: what it asked before is answered first.
  bool leaving_ = false;             // Nothing more comes from it; its last answers are on their way.
  bool at_boundary_ = false;         // A reply just ended a transaction.
  Server* mid_message_ = nullptr;    // Whose message has been written to the client in part.
  bool fatal_passed_ = false;
  Signal written_;
  wire::Bytes stash_;                // Asynchronous messages that came while we asked our own.
  Clock::time_point read_at_{}, sent_at_{}, replied_at_{}, state_at_ = Clock::now();

  // Tickets.
  WriteMark wrote_;               // The transaction may have written.
  DefineMark defines_;            // It may have changed the catalog.
  bool may_have_committed_ = false;  // What is under way may have committed by now.
  bool undoable_ = true;          // An error or ROLLBACK undoes everything since the boundary.
  bool finish_seen_ = false;      // A COMMIT or the like was sent since the last boundary,
  unsigned uses_ = 0;             // and so many statements were.
  bool commit_seen_ = false;      // The server answered COMMIT since its last ReadyForQuery.
  bool failed_ = false;           // An error since the last ReadyForQuery.
  bool rolled_back_ = false;      // The last command tag was ROLLBACK.
  bool touched_ = true;           // The session's state may differ from aside_state_.
  bool reshaped_ = false;         // DDL was sent, or seen by its tag, since the last boundary;
  bool tags_tell_ = false;        // of what was sent, only its tags tell.
  bool plain_text_ = true;        // Encoding and strings are such that texts can be parsed.
  bool ticket_waiting_ = false;
  std::uint64_t ticket_ = 0;      // The last one drawn.
  bool ticket_cancelled_ = false;
  Alarm ticket_alarm_;
};

}  // namespace pgjanus
