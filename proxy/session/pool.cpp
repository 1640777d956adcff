#include "proxy/session/pool.hpp"

#include "proxy/log.hpp"
#include "proxy/session/session.hpp"

namespace pgjanus {

namespace {

constexpr auto retry_after = std::chrono::seconds{1};
constexpr auto retry_soon = std::chrono::milliseconds{50};  // What made room is about to end on the server.
constexpr auto most_for = std::chrono::seconds{10};         // A refusal beyond a number of servers: so long nobody tries again.
constexpr std::size_t welcomes_max = 1000;  // Identities whose log-in values are remembered.
/// Who waits for a server of another identity is overtaken for so long, and beyond that as long again as those who overtake
/// have waited themselves: a new server costs more than most transactions.
constexpr auto overtaken_for = std::chrono::milliseconds{50};

bool overdue(const PoolLine::Waiter& waiter, const PoolLine::Waiter& next) {
  const auto now = Clock::now();
  return now - waiter.since > overtaken_for + 2 * (now - next.since);
}

}  // namespace

PoolLine& PoolGroup::line(const std::shared_ptr<const PoolIdentity>& identity) {
  for (auto& known : lines)
    if (known.identity == identity) return known;
  return lines.emplace_back(PoolLine{identity, {}, 0});
}

std::size_t PoolGroup::waiting() const noexcept {
  std::size_t sum = 0;
  for (const auto& line : lines) sum += line.waiting.size();
  return sum;
}

PoolLine* PoolGroup::unserved() {
  PoolLine* found = nullptr;
  for (auto& line : lines)
    if (line.unserved() != nullptr && (found == nullptr || line.unserved()->since < found->unserved()->since)) found = &line;
  return found;
}

PoolGroup& ServerPool::group(Side side, const std::string& user) {
  for (auto& known : groups_)
    if (known.side == side && known.user == user) return known;
  auto& made = groups_.emplace_back();
  made.side = side;
  made.user = user;
  return made;
}

/// Of the limit, for this thread. Clients are dealt out evenly, and so are servers.
unsigned ServerPool::share() const noexcept {
  const auto threads = static_cast<unsigned>(worker_.shared.workers.size());
  return std::max(1U, (limits_.size + threads - 1) / threads);
}

void ServerPool::request(Session& session, Side side) {
  auto& wanted = group(side, session.identity()->user);
  wanted.line(session.identity()).waiting.push_back({&session, Clock::now()});
  serve(wanted);
}

void ServerPool::forget(Session& session) {
  for (auto& known : groups_)
    for (auto& line : known.lines) std::erase_if(line.waiting, [&](const auto& one) { return one.session == &session; });
}

std::shared_ptr<Server> ServerPool::lease_as_is(Session& session, Side side) {
  auto& home = group(side, session.identity()->user);
  if (home.waiting() > 0) return nullptr;  // They came first.
  auto server = take(home, session, Fit::as_is);
  if (server) server->session = &session;
  return server;
}

/// The idle server that needs least to become this session's.
std::shared_ptr<Server> ServerPool::take(PoolGroup& group, const Session& session, Fit fit) {
  for (;;) {
    std::size_t best = group.idle.size();
    int best_score = -1;
    for (std::size_t index = group.idle.size(); index-- > 0;) {
      const auto& server = *group.idle[index];
      if (server.place.identity != session.identity()) continue;
      if (fit == Fit::as_is && !session.suits(server)) continue;
      const bool same_state = server.place.state == session.known_state();
      const int score = (server.place.last_client == session.number() ? 2 : 0) +
                        (same_state && !server.place.tainted ? 1 : 0);
      if (score <= best_score) continue;
      best = index;
      best_score = score;
      if (score == 3) break;
    }
    if (best == group.idle.size()) return nullptr;
    if (!stands(*group.idle[best])) {
      discard(group, best);
      continue;
    }
    auto server = std::move(group.idle[best]);
    group.idle.erase(group.idle.begin() + static_cast<std::ptrdiff_t>(best));
    return server;
  }
}

/// Whether an idle server still is one. Its reader may be about to find out that it is not, and then
/// what is sent to it is lost with its client.
bool ServerPool::stands(Server& server) {
  while (!server.stream->silent()) {
    const auto io = server.stream->read_some(server.in.space());
    if (io.state == Stream::State::closed) return false;
    if (io.state == Stream::State::again) break;  // A part of TLS' own talk.
    server.in.filled(io.bytes);
    if (!idle_talk(server)) return false;
  }
  const bool whole = server.in.empty();
  server.in.rest();
  return whole;
}

/// Whether one more has to take the place of another: by our limit, or by the server's own (a role's, max_connections).
bool ServerPool::full(const PoolGroup& group) const noexcept {
  const auto servers = group.all.size() + group.opening;
  return servers >= share() || (servers >= group.most && Clock::now() < group.most_until);
}

bool ServerPool::may_open(const PoolGroup& group) noexcept {
  return group.all.empty() || Clock::now() >= group.retry_at;
}

void ServerPool::serve(PoolGroup& group) {
  while (grant(group) || open_one(group)) {
  }
}

/// An idle server goes to who has waited longest for one of its kind. False: to nobody.
bool ServerPool::grant(PoolGroup& group) {
  if (group.waiting() == 0) return false;
  PoolLine* next = nullptr;
  for (const auto& server : group.idle)
    for (auto& line : group.lines)
      if (line.identity == server->place.identity && !line.waiting.empty() &&
          (next == nullptr || line.waiting.front().since < next->waiting.front().since))
        next = &line;
  if (next == nullptr) return false;
  // It makes room for another kind, one at a time, where somebody has been overtaken for too long.
  const auto* unserved = group.unserved();
  if (unserved != nullptr && unserved != next && group.opening == 0 && full(group) && may_open(group) && !closed_ &&
      overdue(*unserved->unserved(), next->waiting.front()))
    return false;
  auto& session = *next->waiting.front().session;
  auto server = take(group, session, Fit::any);
  if (!server) return true;  // Dead ones were discarded: look again.
  next->waiting.pop_front();
  session.granted(std::move(server));
  return true;
}

/// One more server for whoever waits longest and has none on the way, within the limit. False: none.
bool ServerPool::open_one(PoolGroup& group) {
  auto* line = group.unserved();
  if (closed_ || line == nullptr || !may_open(group)) return false;
  if (full(group)) {
    if (group.idle.empty()) return false;
    discard(group, 0);
    group.made_room_at = Clock::now();
  }
  start_opening(group, line->identity);
  return true;
}

void ServerPool::start_opening(PoolGroup& group, std::shared_ptr<const PoolIdentity> identity) {
  ++group.opening;
  ++group.line(identity).opening;
  asio::co_spawn(worker_.io, open(group, std::move(identity)), [](const std::exception_ptr& failure) {
    if (failure) log_event(LogLevel::error, "pool_open_failed");
  });
}

asio::awaitable<void> ServerPool::open(PoolGroup& group,
                                       std::shared_ptr<const PoolIdentity> identity) {
  std::shared_ptr<Server> server;
  auto failure = co_await worker_.open_server(group.side, identity->user, identity->startup, server);
  --group.opening;
  --group.line(identity).opening;
  if (!failure && closed_) server->close();
  if (closed_) co_return;
  if (failure) {
    log_event(LogLevel::warn, "pool_server_not_opened",
              {{"side", to_string(group.side)}, {"user", group.user}, {"error", failure->message()}});
    refuse(group, *identity, *failure);
    co_return;
  }
  server->place.group = &group;
  server->place.identity = identity;
  server->place.opened_at = Clock::now();
  intern(server->reported);
  if (welcomes_.size() > welcomes_max) welcomes_.clear();
  welcomes_[{group.side, identity->key}] = server->reported;
  group.all.push_back(server);
  worker_.counters.servers[group.side].add();
  worker_.start_relay(server);
  give(std::move(server));
}

/// A server could not be opened. Too many connections, or none for the moment: those that run will be
/// free again. Anything else (a setting that does not exist) is the fault of who asked.
void ServerPool::refuse(PoolGroup& group, const PoolIdentity& asked, const wire::ErrorFields& failure) {
  const auto state = failure.sqlstate();
  const bool passing = state.starts_with("53") || state.starts_with("57") || state.starts_with("08");
  const auto now = Clock::now();
  const bool made_room = now - group.made_room_at < retry_after;
  if (passing) group.retry_at = now + (made_room ? Clock::duration{retry_soon} : Clock::duration{retry_after});
  if (passing && !group.all.empty()) {
    // Those it has are all that it gets: for another kind one of them has to go.
    if (state.starts_with("53") && !made_room) {
      group.most = group.all.size();
      group.most_until = now + most_for;
    }
    return;
  }
  std::vector<Session*> refused;
  for (auto& line : group.lines) {
    if (!passing && line.identity.get() != &asked) continue;
    for (const auto& waiter : line.waiting) refused.push_back(waiter.session);
    line.waiting.clear();
  }
  for (auto* session : refused) session->refused(failure);
  serve(group);
}

void ServerPool::give(std::shared_ptr<Server> server) {
  auto& home = *server->place.group;
  server->session = nullptr;
  const auto age = Clock::now() - server->place.opened_at;
  const bool old = limits_.lifetime.count() > 0 && age > limits_.lifetime;
  if (closed_ || old || !server->usable() || server->exchange.surplus_possible()) {
    server->close();
    gone(*server);
    return;
  }
  if (server->cancels > 0) return;  // It comes when the last of them has been heard.
  server->place.idle_since = Clock::now();
  home.idle.push_back(std::move(server));
  serve(home);
}

void ServerPool::gone(Server& server) {
  auto* home = std::exchange(server.place.group, nullptr);
  server.session = nullptr;
  if (home == nullptr) return;
  const auto is_it = [&](const auto& one) { return one.get() == &server; };
  const auto keep = server.shared_from_this();
  std::erase_if(home->idle, is_it);
  std::erase_if(home->all, is_it);
  worker_.counters.servers[server.side].sub();
  serve(*home);
}

void ServerPool::discard(PoolGroup& group, std::size_t idle_index) {
  const auto server = group.idle[idle_index];
  wire::Bytes goodbye;
  wire::encode_terminate(goodbye);
  server->stream->write_some(goodbye);
  server->close();
  server->place.group = nullptr;
  std::erase(group.idle, server);
  std::erase(group.all, server);
  worker_.counters.servers[group.side].sub();
}

bool ServerPool::idle_talk(Server& server) {
  for (;;) {
    if (server.framer.inside()) return false;  // A message of more than a buffer.

    const auto next = server.framer.next(server.in.data());
    if (!next) return false;
    if (!*next) return true;
    const auto& piece = **next;
    const auto type = static_cast<wire::Backend>(piece.type);
    if (type == wire::Backend::parameter_status && piece.whole()) {
      if (const auto status = wire::decode_parameter_status(piece.body()))
        server.reported.set(status->name, status->value);
    } else if (type != wire::Backend::notice_response &&
               type != wire::Backend::notification_response) {
      // An error while idle is its last word; anything else, nobody asked for.
      return false;
    }
    server.in.drop(piece.bytes.size());
  }
}

asio::awaitable<void> ServerPool::warm(Side side, Deadline limit) {
  std::vector<std::pair<PoolGroup*, std::shared_ptr<const PoolIdentity>>> wanted;
  for (auto& old : groups_) {
    if (old.side == side || old.all.empty()) continue;
    auto& fresh = group(side, old.user);
    const auto identity = old.all.front()->place.identity;
    for (auto have = fresh.all.size() + fresh.opening; have < old.all.size() && have < share(); ++have)
      wanted.emplace_back(&fresh, identity);
  }
  for (auto& [fresh, identity] : wanted) start_opening(*fresh, identity);
  asio::steady_timer pause{worker_.io};
  const auto opening = [&] {
    return std::any_of(groups_.begin(), groups_.end(),
                       [side](const auto& one) { return one.side == side && one.opening > 0; });
  };
  while (opening() && Clock::now() < limit) {
    pause.expires_after(std::chrono::milliseconds{5});
    const auto woken = co_await pause.async_wait(awaiting);
    static_cast<void>(woken);
  }
}

std::shared_ptr<const PoolIdentity> ServerPool::identity(const std::string& user,
                                                         const wire::StartupMessage& startup) {
  PoolIdentity made{.user = user, .startup = passed_on(startup), .key = user};
  std::erase_if(made.startup, [](const auto& one) { return is_application_name(one.first); });
  for (const auto& [name, value] : made.startup) made.key += '\0' + name + '\0' + value;
  auto& known = identities_[made.key];
  auto interned = known.lock();
  if (interned) return interned;
  interned = std::make_shared<const PoolIdentity>(std::move(made));
  known = interned;
  return interned;
}

std::shared_ptr<const SessionState> ServerPool::state(SessionState state) {
  std::string key = state.authorization + '\0' + state.role;
  for (const auto& [name, value] : state.settings) key += '\0' + name + '\0' + value;
  for (const auto& channel : state.channels) key += '\1' + channel;
  auto& known = states_[key];
  auto interned = known.lock();
  if (interned) return interned;
  interned = std::make_shared<const SessionState>(std::move(state));
  known = interned;
  return interned;
}

void ServerPool::intern(Reported& values) {
  if (values.interned_) return;
  std::string key;
  for (const auto& [name, value] : values.all()) key += name + '\0' + value + '\0';
  values.interned_ = true;
  // What is in here is shared, so that nobody changes it in place.
  values = reported_.emplace(std::move(key), values).first->second;
}

const Reported* ServerPool::welcome(Side side, const PoolIdentity& identity) const {
  const auto found = welcomes_.find({side, identity.key});
  return found == welcomes_.end() ? nullptr : &found->second;
}

void ServerPool::tidy() {
  const auto now = Clock::now();
  for (auto& known : groups_) {
    for (std::size_t index = known.idle.size(); index-- > 0;) {
      const auto& place = known.idle[index]->place;
      const bool old = limits_.lifetime.count() > 0 && now - place.opened_at > limits_.lifetime;
      const bool unused = limits_.idle.count() > 0 && now - place.idle_since > limits_.idle;
      if (old || unused) discard(known, index);
    }
    for (const auto& line : known.lines)
      for (const auto& [session, since] : line.waiting)
        if (session->waited_seconds() * 1000 >= static_cast<double>(limits_.wait.count())) session->gate_news();
    std::erase_if(known.lines, [](const auto& line) { return line.waiting.empty() && line.opening == 0; });
    serve(known);  // Who waits because the server refused us, after a while.
  }
  std::erase_if(identities_, [](const auto& one) { return one.second.expired(); });
  std::erase_if(states_, [](const auto& one) { return one.second.expired(); });
  std::erase_if(reported_, [](const auto& one) { return one.second.map_.use_count() == 1; });
}

void ServerPool::close_all() {
  closed_ = true;
  for (auto& known : groups_)
    while (!known.idle.empty()) discard(known, 0);
}

void ServerPool::let_go() noexcept {
  closed_ = true;
  for (auto& known : groups_) {
    for (const auto& server : known.all) server->place.group = nullptr;
    known.idle.clear();
    known.all.clear();
    known.lines.clear();
  }
}

}  // namespace pgjanus
