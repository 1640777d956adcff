#pragma once
// One text for all statements that differ only in their constants.

#include <string>
#include <string_view>

namespace pgjanus {

/// `text` with each string constant made empty and each number 0: a key under which what a statement
/// can do is remembered. Its class does not depend on constants (classify.hpp), so that
/// classify(text) == classify(normalized(text)). Returns a view of `buffer`, or of `text` itself when
/// it is no single SELECT, INSERT, UPDATE, DELETE or WITH, or holds what is not told apart here with
/// certainty (comments, dollar quotes, E'' and the like). `text` comes from a session with
/// standard_conforming_strings and a client encoding whose characters hold no quotes. Linear. The lexical
/// rules: manual, section 4.1.
[[nodiscard]] std::string_view normalized(std::string_view text, std::string& buffer);

}  // namespace pgjanus
