// Asio's non-template code, compiled once for the whole program (BOOST_ASIO_SEPARATE_COMPILATION).
// It stands in the lowest folder that uses sockets; the TLS half is in proxy.
#include <boost/asio/impl/src.hpp>
