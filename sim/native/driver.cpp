// Drives a unit from arrays, one call for a whole run: streams under random stalls, or one value a port and cycle. Taps
// are beats seen inside the unit; they are recorded, or compared while they pass.
//
// It does not depend on the unit, so it is compiled once. The pauses are those of mxhw/sim/bench.py, draw for draw: both
// engines take the same number of cycles. Structs and error numbers are mirrored in mxhw/sim/library.py.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "model.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

constexpr uint64_t LONG_PAUSES = uint64_t{1} << 28;  // of 2^32: one pause in sixteen
constexpr int RESET_CYCLES = 4;
constexpr uint64_t NEVER = ~uint64_t{0};

thread_local std::string g_folder;  // where the unit that is being settled finds its memory images

}  // namespace

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

struct Clocking {
    int32_t clk, rst;  // indices of ports, -1 if the unit has none
};

struct Constant {
    int32_t port;
    const void* value;  // as many bytes as the port has
};

struct Stream {
    int32_t valid, ready, payload;
    int32_t is_output;
    uint64_t state;  // of the generator of its pauses
    uint64_t count;  // beats to send or to receive
    void* beats;
    uint32_t stride;  // bytes of a beat
    uint32_t top_mask;  // of the payload's highest word of 32 bits
    uint64_t moved;   // result: beats that passed
};

struct Tap {
    int32_t fire, payload;
    uint64_t count;        // beats to expect
    void* beats;           // room to record them, or null
    const void* expected;  // what to compare them with, or null
    void* got;             // result: the first beat that differs
    uint32_t stride;       // bytes of a beat
    uint64_t moved;        // results: beats that passed
    uint64_t different;    // beats unlike the expected ones, those too many included
    uint64_t first;        // which one is the first of them
    uint64_t cycle;        // when it passed
};

struct RunRequest {
    Clocking clocking;
    uint32_t streams, constants, taps;
    uint64_t threshold;  // stall probability, of 2^32
    uint64_t longest;    // cycles of a pause
    uint64_t limit;      // cycles without a beat that are a deadlock
    uint64_t silence;    // cycles to wait for a beat too many
};

enum Error : int32_t { NONE, WITHDRAWN, CHANGED, EXTRA, IDLE, FAULT };

struct RunResult {
    int32_t error, stream;
    uint64_t cycle;   // of the error
    uint64_t cycles;  // first beat in to last beat out, both counted
    uint64_t total;   // simulated, reset excluded
    char text[256];   // of a fault
};

struct Column {  // one port in every cycle
    int32_t port;
    uint32_t stride;
    void* values;
};

class Generator {
public:
    explicit Generator(uint64_t state) : m_state{state} {}
    uint64_t next() {  // xorshift64*, the upper half
        m_state ^= m_state >> 12;
        m_state ^= m_state << 25;
        m_state ^= m_state >> 27;
        return (m_state * 0x2545F4914F6CDD1Dull) >> 32;
    }

private:
    uint64_t m_state;
};

// Copies a port; the sizes that ports of up to 64 bits have become single instructions.
void copy(void* to, const void* from, uint32_t bytes) {
    switch (bytes) {
    case 1: std::memcpy(to, from, 1); break;
    case 2: std::memcpy(to, from, 2); break;
    case 4: std::memcpy(to, from, 4); break;
    case 8: std::memcpy(to, from, 8); break;
    default: std::memcpy(to, from, bytes);
    }
}

bool equal(const void* one, const void* other, uint32_t bytes) {
    switch (bytes) {
    case 1: return !std::memcmp(one, other, 1);
    case 2: return !std::memcmp(one, other, 2);
    case 4: return !std::memcmp(one, other, 4);
    case 8: return !std::memcmp(one, other, 8);
    default: return !std::memcmp(one, other, bytes);
    }
}

class Bench {
public:
    Bench(const std::string& folder, const char* waves) : m_folder{folder}, m_tracing{waves != nullptr} {
        g_folder = m_folder;
        if (m_tracing) m_context.traceEverOn(true);
        m_model = make_model(&m_context);
        if (m_tracing) m_model->open_waves(waves);
    }
    Port& port(int32_t index) { return m_model->ports[index]; }
    void set(int32_t index, uint8_t value) {
        if (index >= 0) *static_cast<uint8_t*>(port(index).data) = value;
    }
    bool get(int32_t index) { return *static_cast<const uint8_t*>(port(index).data) != 0; }
    void use_folder() { g_folder = m_folder; }
    // Everything that hangs on the inputs alone settles while the clock is low; then the edge.
    void settle(const Clocking& clocking) {
        set(clocking.clk, 0);
        m_model->settle();
        if (m_tracing) m_model->dump(m_time++);
    }
    void edge(const Clocking& clocking) {
        if (clocking.clk >= 0) {
            set(clocking.clk, 1);
            m_model->settle();
        }
        if (m_tracing) m_model->dump(m_time++);
    }
    void reset(const Clocking& clocking) {
        if (clocking.clk < 0) return;
        set(clocking.rst, 1);
        for (int i = 0; i < RESET_CYCLES; i++) {
            settle(clocking);
            edge(clocking);
        }
        set(clocking.rst, 0);
    }

private:
    std::string m_folder;
    bool m_tracing;
    uint64_t m_time = 0;
    VerilatedContext m_context;
    std::unique_ptr<Model> m_model;
};

// One side of a run: what it does before the edge (drive) and what it sees at the edge (look).
class Side {
public:
    Side(Bench& bench, Stream& stream, const RunRequest& request)
        : m_stream{stream}, m_payload{bench.port(stream.payload)}, m_threshold{request.threshold},
          m_longest{request.longest}, m_draw{stream.state}, m_rubbish{~stream.state | 1},
          m_held(m_payload.bytes) {
        draw_pause();
        // A valid that waits for ready never comes if ready waits for valid.
        if (stream.is_output && m_threshold) {
            m_pause = std::max<uint64_t>(1, m_pause);
            m_fickle = false;
        }
    }

    bool finished() const { return m_stream.moved >= m_stream.count; }

    void drive(Bench& bench) {
        if (m_stream.is_output) {
            bench.set(m_stream.ready, finished() || m_pause == 0 || (m_fickle && (m_draw.next() & 1)));
            return;
        }
        const bool offers = m_pause == 0 && !finished();
        bench.set(m_stream.valid, offers);
        if (!offers) {
            rubbish();
        } else if (!m_offered) {
            copy(m_payload.data, beat(), m_payload.bytes);
        }
        m_offered = offers;
    }

    // Returns whether a beat moved.
    bool look_input(Bench& bench) {
        if (!m_offered) {
            if (m_pause) m_pause--;
            return false;
        }
        if (!bench.get(m_stream.ready)) return false;
        m_stream.moved++;
        m_offered = false;
        draw_pause();
        return true;
    }

    bool look_output(Bench& bench, Error& error) {
        if (!bench.get(m_stream.valid)) {
            if (m_waiting) error = WITHDRAWN;
            return false;
        }
        if (m_waiting && std::memcmp(m_held.data(), m_payload.data, m_payload.bytes)) error = CHANGED;
        if (finished()) error = EXTRA;
        if (error != NONE) return false;
        if (!bench.get(m_stream.ready)) {
            if (!m_waiting) copy(m_held.data(), m_payload.data, m_payload.bytes);
            m_waiting = true;
            if (m_pause) m_pause--;
            return false;
        }
        copy(beat(), m_payload.data, m_payload.bytes);
        m_stream.moved++;
        m_waiting = false;
        draw_pause();
        return true;
    }

private:
    void* beat() { return static_cast<char*>(m_stream.beats) + m_stream.moved * m_stream.stride; }

    void draw_pause() {
        m_pause = 0;
        while (m_threshold && m_draw.next() < m_threshold) m_pause++;
        m_fickle = false;
        if (!m_pause) return;
        if (m_draw.next() < LONG_PAUSES) m_pause = 1 + m_draw.next() % m_longest;
        m_fickle = (m_draw.next() & 3) == 0;
    }

    void rubbish() {
        uint32_t* const words = static_cast<uint32_t*>(m_payload.data);
        const uint32_t last = m_payload.bytes > 8 ? m_payload.bytes / 4 - 1 : 0;
        for (uint32_t i = 0; i < last; i++) words[i] = m_rubbish.next();
        uint32_t word = m_rubbish.next() & m_stream.top_mask;
        if (m_payload.bytes > 8) {
            words[last] = word;
        } else if (m_payload.bytes == 8) {
            words[0] = m_rubbish.next();
            words[1] = word;
        } else {
            copy(m_payload.data, &word, m_payload.bytes);
        }
    }

    Stream& m_stream;
    Port m_payload;
    const uint64_t m_threshold, m_longest;
    Generator m_draw, m_rubbish;
    std::vector<uint8_t> m_held;
    uint64_t m_pause = 0;
    bool m_fickle = false, m_offered = false, m_waiting = false;
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
    for (uint32_t i = 0; i < request.constants; i++) {
        const Port& port = bench.port(constants[i].port);
        std::memcpy(port.data, constants[i].value, port.bytes);
    }
    for (uint32_t i = 0; i < request.streams; i++) {
        bench.set(streams[i].is_output ? streams[i].ready : streams[i].valid, 0);
    }
    bench.reset(clocking);

    std::vector<Side> sides;
    sides.reserve(request.streams);
    bool has_input = false, has_output = false;
    for (uint32_t i = 0; i < request.streams; i++) {
        sides.emplace_back(bench, streams[i], request);
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
            const bool out = streams[i].is_output;
            if (out ? sides[i].look_output(bench, error) : sides[i].look_input(bench)) {
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

template <class Action> int guarded(char* text, size_t size, Action action) {
    try {
        action();
        return 0;
    } catch (const std::exception& error) {
        std::snprintf(text, size, "%s", error.what());
        return 1;
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
