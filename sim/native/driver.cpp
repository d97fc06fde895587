// Drives a unit from arrays, one call for a whole run: streams under random stalls, or one value a port and cycle. Taps
// are beats seen inside the unit; they are recorded, or compared while they pass.
//
// It does not depend on the unit, so it is compiled once. Structs are mirrored in mxhw/sim/driver.py.
#include <stdexcept>

#include "bench.h"

using namespace mxhw;

// The linker sends Verilator's fopen here: memory images lie in the unit's folder, wherever the process is.
extern "C" FILE* __real_fopen(const char* path, const char* mode);
extern "C" FILE* __wrap_fopen(const char* path, const char* mode) {
    const bool inside = path[0] != '/' && !g_folder.empty();
    return __real_fopen(inside ? (g_folder + "/" + path).c_str() : path, mode);
}

// What would print and end the process becomes an error of the run.
[[noreturn]] static void fail(const char* file, int line, const char* what) {
    throw std::runtime_error(std::string{what} + " (" + file + (line ? ":" + std::to_string(line) : "") + ")");
}
void vl_finish(const char* file, int line, const char*) { fail(file, line, "$finish"); }
void vl_stop(const char* file, int line, const char*) { fail(file, line, "$stop"); }
void vl_fatal(const char* file, int line, const char*, const char* message) { fail(file, line, message); }
void vl_warn(const char* file, int line, const char*, const char* message) { fail(file, line, message); }

namespace {

constexpr uint64_t NEVER = ~uint64_t{0};

struct Tap {
    int32_t fire, payload;
    uint64_t count;        // beats to expect
    void* beats;           // room to record them, or null
    const void* expected;  // what to compare them with, or null
    void* got;             // result: the first beat that differs
    uint64_t* times;       // result: the cycle of each beat that is expected, or null
    uint32_t stride;       // bytes of a beat
    uint64_t moved;        // results: beats that passed
    uint64_t different;    // beats unlike the expected ones, those too many included
    uint64_t first;        // which one is the first of them
    uint64_t cycle;        // when it passed
};

struct RunRequest {
    Clocking clocking;
    uint32_t streams, constants, taps;
    uint32_t quiet;      // whether payloads keep their value while nothing is offered, else they are rubbish
    uint64_t threshold;  // stall probability, of 2^32
    uint64_t longest;    // cycles of a pause
    uint64_t limit;      // cycles without a beat that are a deadlock
    uint64_t silence;    // cycles to wait for a beat too many
};

struct Column {  // one port in every cycle
    int32_t port;
    uint32_t stride;
    void* values;
};

// Looks at a tap before the edge and takes the beat that moves, if any.
class Probe {
public:
    Probe(Bench& bench, Tap& tap)
        : m_tap{tap}, m_fire{static_cast<const uint8_t*>(bench.port(tap.fire).data)}, m_payload{bench.port(tap.payload)} {}

    bool finished() const { return m_tap.moved >= m_tap.count; }

    bool look(uint64_t cycle) {
        if (!*m_fire) return false;
        const bool expected = !finished();
        const uint64_t place = m_tap.moved * m_tap.stride;
        if (expected && m_tap.times) m_tap.times[m_tap.moved] = cycle;
        if (expected && m_tap.beats) copy(static_cast<char*>(m_tap.beats) + place, m_payload.data, m_payload.bytes);
        const bool compared = expected && m_tap.expected;
        if (!expected ||
            (compared && !equal(static_cast<const char*>(m_tap.expected) + place, m_payload.data, m_payload.bytes))) {
            if (!m_tap.different++) {
                m_tap.first = m_tap.moved;
                m_tap.cycle = cycle;
                copy(m_tap.got, m_payload.data, m_payload.bytes);
            }
        }
        m_tap.moved++;
        return true;
    }

private:
    Tap& m_tap;
    const uint8_t* m_fire;
    Port m_payload;
};

void run(Bench& bench, const RunRequest& request, Stream* streams, const Constant* constants, Tap* taps,
         RunResult& result) {
    const Clocking& clocking = request.clocking;
    reset(bench, clocking, constants, request.constants, streams, request.streams);

    std::vector<Side> sides;
    sides.reserve(request.streams);
    bool has_input = false, has_output = false;
    for (uint32_t i = 0; i < request.streams; i++) {
        sides.emplace_back(bench, streams[i], request.threshold, request.longest, request.quiet != 0);
        (streams[i].is_output ? has_output : has_input) |= streams[i].count > 0;
    }
    const auto all_finished = [&] {
        return std::all_of(sides.begin(), sides.end(), [](const Side& side) { return side.finished(); });
    };
    std::vector<Probe> probes;
    probes.reserve(request.taps);
    for (uint32_t i = 0; i < request.taps; i++) probes.emplace_back(bench, taps[i]);
    const auto all_seen = [&] {
        return std::all_of(probes.begin(), probes.end(), [](const Probe& probe) { return probe.finished(); });
    };
    uint64_t first = NEVER, last = 0, idle = 0, cycle = 0;
    bool finished = all_finished();
    for (;; cycle++) {
        for (Side& side : sides) side.drive(bench);
        bench.settle(clocking);
        bool moved = false;
        for (Probe& probe : probes) moved |= probe.look(cycle);
        for (uint32_t i = 0; i < request.streams; i++) {
            Error error = NONE;
            if (sides[i].look(bench, error)) {
                const bool out = sides[i].is_output();
                moved = true;
                if (first == NEVER && (!out || !has_input)) first = cycle;
                if (out || !has_output) last = cycle;
            }
            if (error != NONE) {
                result.error = error;
                result.stream = i;
                result.cycle = result.total = cycle;
                return;
            }
        }
        bench.edge(clocking);
        idle = moved ? 0 : idle + 1;
        if (idle >= request.limit || (finished && idle >= request.silence && all_seen())) break;
        if (moved) finished = all_finished();
    }
    result.total = cycle;
    result.cycle = cycle;
    result.cycles = first == NEVER ? 0 : last - first + 1;
    if (!finished) result.error = IDLE;
}

void trace(Bench& bench, const Clocking& clocking, uint64_t cycles, const Column* in, uint32_t ins, const Column* out,
           uint32_t outs) {
    for (uint32_t i = 0; i < ins; i++) std::memset(bench.port(in[i].port).data, 0, bench.port(in[i].port).bytes);
    bench.reset(clocking);
    for (uint64_t cycle = 0; cycle < cycles; cycle++) {
        for (uint32_t i = 0; i < ins; i++) {
            const Port& port = bench.port(in[i].port);
            copy(port.data, static_cast<const char*>(in[i].values) + cycle * in[i].stride, port.bytes);
        }
        bench.settle(clocking);
        for (uint32_t i = 0; i < outs; i++) {
            const Port& port = bench.port(out[i].port);
            copy(static_cast<char*>(out[i].values) + cycle * out[i].stride, port.data, port.bytes);
        }
        bench.edge(clocking);
    }
}

}  // namespace

EXPORTED void* mxhw_open(const char* folder, const char* waves, char* text, uint64_t size) {
    void* bench = nullptr;
    guarded(text, size, [&] { bench = new Bench{folder, waves}; });
    return bench;
}

EXPORTED void mxhw_close(void* bench) { delete static_cast<Bench*>(bench); }

EXPORTED void mxhw_run(void* bench, const RunRequest* request, Stream* streams, const Constant* constants, Tap* taps,
                       RunResult* result) {
    static_cast<Bench*>(bench)->use_folder();
    const auto action = [&] { run(*static_cast<Bench*>(bench), *request, streams, constants, taps, *result); };
    if (guarded(result->text, sizeof(result->text), action)) result->error = FAULT;
}

EXPORTED int mxhw_trace(void* bench, const Clocking* clocking, uint64_t cycles, const Column* in, uint32_t ins,
                        const Column* out, uint32_t outs, char* text, uint64_t size) {
    static_cast<Bench*>(bench)->use_folder();
    const auto action = [&] { trace(*static_cast<Bench*>(bench), *clocking, cycles, in, ins, out, outs); };
    return guarded(text, size, action);
}
