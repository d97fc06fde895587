// What every way of driving a unit shares: the unit under a clock, and the sides of its streams that are not its own.
//
// The pauses are those of mxhw/sim/bench.py, draw for draw: both engines take the same number of cycles. Structs and
// error numbers are mirrored in mxhw/sim/driver.py.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "model.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace mxhw {

constexpr uint64_t LONG_PAUSES = uint64_t{1} << 28;  // of 2^32: one pause in sixteen
constexpr int RESET_CYCLES = 4;

inline thread_local std::string g_folder;  // where the unit that is being settled finds its memory images

struct Clocking {
    int32_t clk, rst;  // indices of ports, -1 if the unit has none
};

struct Constant {
    int32_t port;
    const void* value;  // as many bytes as the port has
};

// A memory behind a port: bits that come, or go, a cycle. Bits are counted in units that make all of this whole.
struct Memory {
    uint64_t rate;    // bits a cycle; 0: there is no memory
    uint64_t cost;    // bits of a beat
    uint64_t room;    // bits that wait at most
    uint64_t latency; // cycles before the first bits
    uint64_t period, pause;  // of every `period` cycles the last `pause` bring nothing
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
    uint64_t* times;  // result: the cycle of each, or null
    Memory memory;
};

enum Error : int32_t { NONE, WITHDRAWN, CHANGED, EXTRA, IDLE, FAULT };

struct RunResult {
    int32_t error, stream;
    uint64_t cycle;   // of the error
    uint64_t cycles;  // first beat in to last beat out, both counted
    uint64_t total;   // simulated, reset excluded
    char text[256];   // of a fault
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
inline void copy(void* to, const void* from, uint32_t bytes) {
    switch (bytes) {
    case 1: std::memcpy(to, from, 1); break;
    case 2: std::memcpy(to, from, 2); break;
    case 4: std::memcpy(to, from, 4); break;
    case 8: std::memcpy(to, from, 8); break;
    default: std::memcpy(to, from, bytes);
    }
}

inline bool equal(const void* one, const void* other, uint32_t bytes) {
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
    // `threshold` is the stall probability, of 2^32, and `longest` the cycles of a pause.
    Side(Bench& bench, Stream& stream, uint64_t threshold, uint64_t longest, bool quiet = false)
        : m_stream{stream}, m_payload{bench.port(stream.payload)}, m_threshold{threshold}, m_longest{longest},
          m_quiet{quiet}, m_draw{stream.state}, m_rubbish{~stream.state | 1}, m_held(m_payload.bytes) {
        draw_pause();
        // A valid that waits for ready never comes if ready waits for valid.
        if (stream.is_output && m_threshold) {
            m_pause = std::max<uint64_t>(1, m_pause);
            m_fickle = false;
        }
    }

    bool is_output() const { return m_stream.is_output; }
    bool finished() const { return m_stream.moved >= m_stream.count; }

    void drive(Bench& bench) {
        refill();
        if (m_stream.is_output) {
            const bool wants = m_pause == 0 || (m_fickle && (m_draw.next() & 1));
            bench.set(m_stream.ready, finished() || (wants && has_bits()));
            return;
        }
        const bool offers = m_pause == 0 && !finished() && has_bits();
        bench.set(m_stream.valid, offers);
        if (!offers) {
            if (!m_quiet) rubbish();
        } else if (!m_offered) {
            copy(m_payload.data, beat(), m_payload.bytes);
        }
        m_offered = offers;
    }

    // Returns whether a beat moved.
    bool look(Bench& bench, Error& error) { return is_output() ? look_output(bench, error) : look_input(bench); }

private:
    bool look_input(Bench& bench) {
        if (!m_offered) {
            if (m_pause) m_pause--;
            return false;
        }
        if (!bench.get(m_stream.ready)) return false;
        m_offered = false;
        pass();
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
        m_waiting = false;
        pass();
        return true;
    }

    // Notes that a beat moved.
    void pass() {
        if (m_stream.times) m_stream.times[m_stream.moved] = m_cycle - 1;
        m_stream.moved++;
        if (m_stream.memory.rate) m_bits -= m_stream.memory.cost;
        draw_pause();
    }

    // The memory's cycle.
    void refill() {
        const Memory& memory = m_stream.memory;
        const uint64_t cycle = m_cycle++;
        if (!memory.rate || cycle < memory.latency) return;
        if (memory.period && (cycle - memory.latency) % memory.period >= memory.period - memory.pause) return;
        m_bits = std::min(memory.room, m_bits + memory.rate);
    }

    bool has_bits() const { return !m_stream.memory.rate || m_bits >= m_stream.memory.cost; }

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
    const bool m_quiet;
    Generator m_draw, m_rubbish;
    std::vector<uint8_t> m_held;
    uint64_t m_pause = 0;
    uint64_t m_cycle = 0, m_bits = 0;
    bool m_fickle = false, m_offered = false, m_waiting = false;
};

// Gives ports that keep one value theirs, and resets the unit while nothing is offered to it and nothing taken.
inline void reset(Bench& bench, const Clocking& clocking, const Constant* constants, uint32_t count,
                  const Stream* streams, uint32_t stream_count) {
    for (uint32_t i = 0; i < count; i++) {
        const Port& port = bench.port(constants[i].port);
        std::memcpy(port.data, constants[i].value, port.bytes);
    }
    for (uint32_t i = 0; i < stream_count; i++) {
        bench.set(streams[i].is_output ? streams[i].ready : streams[i].valid, 0);
    }
    bench.reset(clocking);
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

}  // namespace mxhw
