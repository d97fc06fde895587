// Drives an emitted unit whose ports are at most 64 bits wide, with random stalls on both sides; prints every y payload.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <vector>
#include "Vunit.h"
#include "verilated.h"

int main(int argc, char** argv) {
    std::ifstream file(argv[1]);
    const size_t outputs = std::strtoul(argv[2], nullptr, 10);
    const int stall = std::atoi(argv[3]);
    std::vector<uint64_t> beats;
    for (uint64_t beat; file >> beat;) beats.push_back(beat);
    Vunit unit;
    auto tick = [&] {
        unit.clk = 1;
        unit.eval();
        unit.clk = 0;
        unit.eval();
    };
    unit.clk = 0;
    unit.rst = 1;
    tick();
    unit.rst = 0;
    size_t sent = 0, got = 0;
    bool offered = false;
    for (long cycle = 0; got < outputs && cycle < 10000000; cycle++) {
        offered = offered || (sent < beats.size() && std::rand() % 100 >= stall);
        unit.x_valid = offered;
        unit.x_payload = offered ? beats[sent] : ~uint64_t(0);
        unit.y_ready = std::rand() % 100 >= stall;
        unit.eval();
        if (unit.y_valid && unit.y_ready) {
            std::printf("%llu\n", (unsigned long long)unit.y_payload);
            got++;
        }
        if (offered && unit.x_ready) {
            sent++;
            offered = false;
        }
        tick();
    }
    return got == outputs ? 0 : 1;
}
