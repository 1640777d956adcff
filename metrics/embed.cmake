# Writes INPUT as a string constant into OUTPUT. A raw string literal may be at most 64 KiB
# everywhere; the page is far below that.
file(READ ${INPUT} text)
file(WRITE ${OUTPUT}
  "#pragma once\nnamespace pgjanus::metrics {\n"
  "inline constexpr char dashboard_html[] = R\"~~page~~(${text})~~page~~\";\n"
  "}  // namespace pgjanus::metrics\n")
