#pragma once
// The answer to one command, before it becomes messages.

#include <optional>
#include <string>
#include <vector>

#include "proxy/admin/command.hpp"
#include "wire/message.hpp"

namespace pgjanus::admin {

struct Reply {
  std::vector<wire::Column> columns;  // Empty: no rows come.
  std::vector<std::vector<std::optional<std::string>>> rows;
  std::string tag;                    // Of CommandComplete.
  std::string notice;                 // The one sentence, where the rows do not say it.
  Ended ended = Ended::done;          // Anything else: rows, then an error of `message`, `hint`.
  std::string sqlstate, message, hint;
};

/// Columns that a command answers with, known before it runs (Describe asks); nothing for those
/// that show() of the engine makes: see Executor::describe.
[[nodiscard]] std::vector<wire::Column> columns_of(const Command& command);

/// Makes rows of what an operation returned: a table for people, or the document for machines.
[[nodiscard]] Reply reply_of(const Command& command, const Outcome& outcome);

/// Makes the reply to an error of ours.
[[nodiscard]] Reply refusal(std::string sqlstate, std::string message, std::string hint);

}  // namespace pgjanus::admin
