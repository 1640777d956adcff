#include "router/exchange.hpp"

namespace pgjanus {

using wire::Backend;
using wire::Frontend;
using wire::TransactionStatus;

void Exchange::push(Entry entry) noexcept {
  expected_.push_back(entry);
  switch (entry.what) {
    case Expected::parse:
    case Expected::bind:
    case Expected::describe:
    case Expected::execute:
    case Expected::close: pending_ = true; break;
    case Expected::query:
    case Expected::function_call:
    case Expected::sync:
      // A Query or FunctionCall ends the implicit transaction of an extended batch as Sync does.
      pending_ = false;
      ++ready_owed_;
      break;
    case Expected::copy_end: break;
  }
}

void Exchange::pop() noexcept {
  const auto front = expected_.front().what;
  expected_.pop_front();
  if (front == Expected::query || front == Expected::function_call || front == Expected::sync) {
    --ready_owed_;
  }
  // Outside COPY IN the server ignores CopyDone and CopyFail.
  while (!expected_.empty() && expected_.front().what == Expected::copy_end) expected_.pop_front();
}

void Exchange::pop_if(Expected expected) noexcept {
  if (!expected_.empty() && expected_.front().what == expected) pop();
}

Mark Exchange::answered_by(Backend type) const noexcept {
  if (expected_.empty()) return {};
  const auto& front = expected_.front();
  const bool answers = (type == Backend::parse_complete && front.what == Expected::parse) ||
                       (type == Backend::close_complete && front.what == Expected::close);
  return answers ? front.mark : Mark{};
}

void Exchange::from_client(Frontend type, Mark mark) noexcept {
  if (copy_in_) {
    // CopyGetData (copyfromparse.c) reads these itself; anything else is fatal to the connection.
    if (type == Frontend::sync) ++eaten_syncs_;
    if (type == Frontend::copy_done || type == Frontend::copy_fail) copy_in_ = false;
    if (type == Frontend::sync || type == Frontend::flush) return;
  } else if (type == Frontend::copy_done || type == Frontend::copy_fail) {
    if (!expected_.empty() && !skipping_) push({Expected::copy_end, {}});
    return;
  }
  const auto expected = expected_for(type);
  if (!expected) return;
  if (skipping_) {
    if (type != Frontend::sync) {
      if (mark.what != Mark::What::use) lose(mark);  // It has not failed, and leaves nothing to settle.
      if (unsure_syncs_ > 0) if_not_eaten_.push_back(*expected);
      return;
    }
    skipping_ = false;
  }
  push({*expected, mark});
}

std::optional<Exchange::Expected> Exchange::expected_for(Frontend type) noexcept {
  switch (type) {
    case Frontend::parse: return Expected::parse;
    case Frontend::bind: return Expected::bind;
    case Frontend::describe: return Expected::describe;
    case Frontend::execute: return Expected::execute;
    case Frontend::close: return Expected::close;
    case Frontend::query: return Expected::query;
    case Frontend::function_call: return Expected::function_call;
    case Frontend::sync: return Expected::sync;
    case Frontend::flush:
    case Frontend::copy_data:
    case Frontend::copy_done:
    case Frontend::copy_fail:
    case Frontend::password:
    case Frontend::terminate:
      break;
  }
  return std::nullopt;
}

void Exchange::from_server(Backend type, std::optional<TransactionStatus> status) noexcept {
  switch (type) {
    case Backend::notice_response:
    case Backend::notification_response:
    case Backend::parameter_status:
    case Backend::authentication:
    case Backend::backend_key_data:
    case Backend::negotiate_protocol_version:
      return;  // At any time, or before all of this: answers nothing.
    case Backend::ready_for_query: ready(status.value_or(status_)); return;
    case Backend::error_response: error(); return;
    default: break;
  }
  answered_ = true;
  unsure_syncs_ = 0;  // A reply to something later: the Syncs before it have had their answers.
  if_not_eaten_.clear();
  switch (type) {
    case Backend::parse_complete: pop_if(Expected::parse); break;
    case Backend::bind_complete: pop_if(Expected::bind); break;
    case Backend::close_complete: pop_if(Expected::close); break;
    case Backend::row_description:
    case Backend::no_data: pop_if(Expected::describe); break;
    case Backend::command_complete:
    case Backend::empty_query_response:
    case Backend::portal_suspended:
      copy_in_ = copy_runs_ = false;
      eaten_syncs_ = 0;
      pop_if(Expected::execute);
      break;
    case Backend::copy_in_response: copy_in_began(); break;
    default: break;  // Rows, COPY OUT, ParameterDescription, FunctionCallResponse: more follows.
  }
}

/// What the client sent behind the command is read by the COPY: Syncs up to its end are eaten.
void Exchange::copy_in_began() noexcept {
  copy_in_ = copy_runs_ = true;
  eaten_syncs_ = 0;
  const auto next = expected_.empty() ? expected_.end() : expected_.begin() + 1;
  auto end = next;
  for (; end != expected_.end() && end->what == Expected::sync; ++end) ++eaten_syncs_;
  ready_owed_ -= eaten_syncs_;
  // A Query may COPY again and then reads the next end; behind an Execute a second one is ignored.
  const bool of_execute = !expected_.empty() && expected_.front().what == Expected::execute;
  while (end != expected_.end() && end->what == Expected::copy_end && (copy_in_ || of_execute)) {
    copy_in_ = false;
    ++end;
  }
  // Anything else behind it is fatal to the connection, unless the COPY has ended before.
  const bool last = end == expected_.end();
  expected_.erase(next, end);
  // The batch of an Execute is open again: only a Sync behind the end of the COPY ends it.
  if (last && of_execute) pending_ = true;
}

void Exchange::error() noexcept {
  unsure_syncs_ = copy_runs_ ? eaten_syncs_ : 0;
  if_not_eaten_.clear();  // Of a COPY before this one, if of any.
  eaten_syncs_ = 0;
  copy_in_ = copy_runs_ = false;
  answered_ = true;
  if (expected_.empty()) return;  // Nobody asked: the connection is about to end.
  const auto front = expected_.front().what;
  if (front == Expected::query || front == Expected::function_call || front == Expected::sync) {
    return;  // Its ReadyForQuery follows.
  }
  lost_.push_back(expected_.front().mark);  // With a mark or not: the first one is what failed.
  pop();
  while (!expected_.empty() && expected_.front().what != Expected::sync) {
    if (unsure_syncs_ > 0) if_not_eaten_.push_back(expected_.front().what);
    lose(expected_.front().mark);
    pop();
  }
  if (expected_.empty()) {
    skipping_ = true;
    pending_ = false;
  }
}

void Exchange::ready(TransactionStatus status) noexcept {
  status_ = status;
  const bool answers_front =
      !expected_.empty() && (expected_.front().what == Expected::sync || answered_);
  answered_ = false;
  if (unsure_syncs_ > 0 && !answers_front) {
    // No message that we know of is answered by this: the early Sync was not eaten.
    // So what came behind it is not skipped.
    --unsure_syncs_;
    skipping_ = false;
    for (const auto expected : if_not_eaten_) push({expected, {}});
    if_not_eaten_.clear();
    return;
  }
  while (!expected_.empty()) {
    const auto front = expected_.front().what;
    lose(expected_.front().mark);  // None, unless the server left out an answer.
    pop();
    if (front == Expected::query || front == Expected::function_call || front == Expected::sync) {
      break;
    }
  }
}

}  // namespace pgjanus
