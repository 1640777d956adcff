#include "proxy/session/transfer.hpp"
namespace pgjanus {
void note_custom_names(std::string_view, std::vector<std::string>&) {}
}
