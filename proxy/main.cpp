#include <cstdio>

int main() {
  std::puts("pgjanus " PGJANUS_VERSION);
  return 0;
}
