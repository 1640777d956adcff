// Placeholder translation unit until the registry lands in this folder.
namespace pgjanus::metrics {}
