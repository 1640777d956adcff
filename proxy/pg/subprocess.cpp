#include "proxy/pg/subprocess.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <memory>

extern char** environ;

namespace pgjanus::pg {
namespace {

using asio::use_awaitable;
constexpr auto no_throw = asio::as_tuple(use_awaitable);

/// The running program. Its destructor leaves no process behind, however we got there.
class Child {
 public:
  explicit Child(pid_t pid) : pid_{pid} {}
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (ended_) return;
    kill();
    ::waitpid(pid_, &raw_status_, 0);  // Short: it was just killed.
  }
  void kill() noexcept {
    if (!ended_) ::kill(-pid_, SIGKILL);  // It leads a process group of its own.
  }
  bool reap() noexcept {
    if (!ended_) ended_ = ::waitpid(pid_, &raw_status_, WNOHANG) == pid_;
    return ended_;
  }
  [[nodiscard]] int raw_status() const noexcept { return raw_status_; }

 private:
  pid_t pid_;
  int raw_status_ = 0;
  bool ended_ = false;
};

struct Descriptor {
  int fd = -1;
  ~Descriptor() { close(); }
  void close() noexcept {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  int release() noexcept { return std::exchange(fd, -1); }
};

/// [0] is ours, [1] the program's. Socket pairs, not pipes: writing to one whose reader is gone is
/// EPIPE with MSG_NOSIGNAL (which Asio sets) whatever this process does about SIGPIPE.
struct Channel {
  Descriptor ends[2];
  bool open() {
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return false;
    ends[0].fd = pair[0];
    ends[1].fd = pair[1];
    return true;
  }
};

std::vector<std::string> merged_environment(const std::map<std::string, std::string>& over) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text{*entry};
    if (!over.contains(std::string{text.substr(0, text.find('='))})) merged.emplace_back(text);
  }
  for (const auto& [name, value] : over) merged.push_back(name + "=" + value);
  return merged;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (auto& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

/// posix_spawnp with the three channels as stdin, stdout and stderr; an errno, 0 for none.
int spawn(std::vector<std::string>& argv, const std::map<std::string, std::string>& environment,
          Channel (&channels)[3], pid_t& pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  for (int fd = 0; fd < 3; ++fd) {
    posix_spawn_file_actions_adddup2(&actions, channels[fd].ends[1].fd, fd);
  }
  // Asio's sockets are not close-on-exec: a program that outlives a killed pgjanus would keep its
  // ports and its admin socket taken, and its clients' connections half open.
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  // Our dispositions are not the program's: a pg_dump that ignores SIGPIPE outlives its reader.
  sigset_t defaults, mask;
  sigfillset(&defaults);
  sigdelset(&defaults, SIGKILL);
  sigdelset(&defaults, SIGSTOP);
  sigemptyset(&mask);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setsigmask(&attributes, &mask);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  auto variables = merged_environment(environment);
  const auto argument_list = pointers(argv);
  const auto variable_list = pointers(variables);
  const int error = posix_spawnp(&pid, argument_list[0], &actions, &attributes,
                                 argument_list.data(), variable_list.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

using Stream = asio::local::stream_protocol::socket;

asio::awaitable<void> collect(Stream& stream, std::string& text, Child& child,
                              std::string& failure) {
  auto buffer = std::make_unique<std::array<char, 65536>>();
  for (;;) {
    const auto [error, size] = co_await stream.async_read_some(asio::buffer(*buffer), no_throw);
    if (error) break;  // End of file.
    if (text.size() + size > subprocess_output_max) {
      failure = "it printed more than " + std::to_string(subprocess_output_max >> 20) + " MB";
      child.kill();
      break;
    }
    text.append(buffer->data(), size);
  }
}

asio::awaitable<void> feed(Stream& stream, const std::string& text) {
  // A program that does not read all of its input says why itself; the error here adds nothing.
  co_await asio::async_write(stream, asio::buffer(text), no_throw);
  boost::system::error_code ignored;
  stream.shutdown(Stream::shutdown_send, ignored);
}

asio::awaitable<void> wait_for_end(Child& child) {
  auto executor = co_await asio::this_coro::executor;
  asio::steady_timer pause{executor};
  while (!child.reap()) {
    pause.expires_after(std::chrono::milliseconds{5});
    co_await pause.async_wait(no_throw);
  }
}

}  // namespace

std::string SubprocessResult::describe(const std::string& program) const {
  std::string text = program;
  if (!failure.empty()) {
    text += ": " + failure;
  } else if (signal != 0) {
    text += " was ended by signal " + std::to_string(signal);
  } else {
    text += " failed with exit status " + std::to_string(status);
  }
  auto words = err.size() > 2000 ? "…" + err.substr(err.size() - 2000) : err;
  while (!words.empty() && words.back() == '\n') words.pop_back();
  return words.empty() ? text : text + ": " + words;
}

asio::awaitable<SubprocessResult> run_program(std::vector<std::string> argv,
                                              std::map<std::string, std::string> environment,
                                              std::string stdin_text, Duration limit) {
  using namespace asio::experimental::awaitable_operators;
  SubprocessResult result;
  Channel channels[3];
  if (!channels[0].open() || !channels[1].open() || !channels[2].open()) {
    result.failure = std::string{"no channel to it: "} + std::strerror(errno);
    co_return result;
  }
  pid_t pid = 0;
  const int error = spawn(argv, environment, channels, pid);
  if (error != 0) {
    result.failure = error == ENOENT ? "not found on PATH" : std::strerror(error);
    co_return result;
  }
  const auto owned = std::make_shared<Child>(pid);
  Child& child = *owned;
  for (auto& channel : channels) channel.ends[1].close();
  const auto executor = co_await asio::this_coro::executor;
  const asio::local::stream_protocol protocol;
  Stream in{executor, protocol, channels[0].ends[0].release()};
  Stream out{executor, protocol, channels[1].ends[0].release()};
  Stream err{executor, protocol, channels[2].ends[0].release()};

  // The alarm only kills: everything else then ends by itself, by end of file.
  asio::steady_timer alarm{executor, limit};
  auto timed_out = std::make_shared<bool>(false);
  alarm.async_wait(
      [timed_out, late = std::weak_ptr{owned}](const boost::system::error_code& cancelled) {
        const auto running = late.lock();
        if (cancelled || !running || running->reap()) return;
        *timed_out = true;
        running->kill();
      });
  co_await (collect(out, result.out, child, result.failure) &&
            collect(err, result.err, child, result.failure) && feed(in, stdin_text));
  co_await wait_for_end(child);
  alarm.cancel();
  if (*timed_out) {
    result.timed_out = true;
    result.failure =
        "not done within " +
        std::to_string(std::chrono::duration_cast<std::chrono::seconds>(limit).count()) + " s";
  }
  const int raw = child.raw_status();
  if (WIFEXITED(raw)) result.status = WEXITSTATUS(raw);
  if (WIFSIGNALED(raw)) result.signal = WTERMSIG(raw);
  co_return result;
}

ProgramConnection for_program(const ConnectionParameters& parameters) {
  ProgramConnection connection;
  for (const auto& [key, value] : parameters.values) {
    if (key == "password") {
      connection.environment["PGPASSWORD"] = value;
      continue;
    }
    if (key == "sslpassword" || key == "application_name") continue;  // No variable for the first.
    std::string escaped;
    for (const char c : value) {
      if (c == '\'' || c == '\\') escaped += '\\';
      escaped += c;
    }
    connection.dbname += key + "='" + escaped + "' ";
  }
  connection.dbname += "application_name='pgjanus schema'";
  return connection;
}

}  // namespace pgjanus::pg
