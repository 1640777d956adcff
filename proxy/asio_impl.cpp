// The TLS half of Asio's non-template code; the rest is in metrics/asio_impl.cpp.
#include <boost/asio/ssl/impl/src.hpp>
