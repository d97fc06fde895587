// A unit that stays alive between calls: beats are queued for its inputs, and it is clocked until enough beats of one
// output have come. Every output is taken at full speed, and what comes is kept until it is asked for.
//
// Structs are mirrored in mxhw/sim/driver.py.
#include "bench.h"

using namespace mxhw;

namespace {

struct SessionRequest {
    Clocking clocking;
    uint32_t streams, constants, watched;
};

struct Waiting {
    int32_t stream;   // the output that is waited for, -1 to clock without waiting
    uint64_t count;   // its beats
    uint64_t limit;   // cycles without a beat that are a deadlock
    uint64_t cycles;  // to clock at most
};

// The beats of a stream that wait: for the unit to take them, or to be taken from here.
class Queue {
public:
    explicit Queue(const Stream& stream) : m_stream{stream} { m_stream.count = m_stream.moved = 0; }
    Stream& stream() { return m_stream; }
    uint64_t moved() const { return m_gone + m_stream.moved; }  // since reset
    // Of an input, beats that the unit has not taken; of an output, beats that nobody has taken here.
    uint64_t waiting() const { return m_stream.is_output ? m_stream.moved - m_taken : m_stream.count - m_stream.moved; }

    void append(const void* beats, uint64_t count) {
        forget(m_stream.moved);
        const char* const from = static_cast<const char*>(beats);
        m_bytes.insert(m_bytes.end(), from, from + count * m_stream.stride);
        m_stream.beats = m_bytes.data();
        m_stream.count += count;
    }

    void take(void* beats, uint64_t count) {
        std::memcpy(beats, m_bytes.data() + m_taken * m_stream.stride, count * m_stream.stride);
        m_taken += count;
    }

    // Makes room for one more beat of an output.
    void make_room() {
        if (m_stream.moved < m_stream.count) return;
        forget(m_taken);
        m_taken = 0;
        if (m_stream.moved * 2 < m_stream.count) return;
        m_bytes.resize(std::max<uint64_t>(MINIMUM, 2 * m_stream.count) * m_stream.stride);
        m_stream.beats = m_bytes.data();
        m_stream.count = m_bytes.size() / m_stream.stride;
    }

private:
    static constexpr uint64_t MINIMUM = 64;

    // Drops beats that are over at the front; of an output, room stays as large as it is.
    void forget(uint64_t count) {
        const auto end = m_bytes.begin() + count * m_stream.stride;
        if (m_stream.is_output) {
            std::copy(end, m_bytes.end(), m_bytes.begin());
        } else {
            m_bytes.erase(m_bytes.begin(), end);
            m_stream.count -= count;
        }
        m_stream.moved -= count;
        m_gone += count;
    }

    Stream m_stream;
    std::vector<char> m_bytes;
    uint64_t m_gone = 0, m_taken = 0;
};

class Session {
public:
    Session(Bench& bench, const SessionRequest& request, const Stream* streams, const Constant* constants,
            const int32_t* watched)
        : m_bench{bench}, m_clocking{request.clocking}, m_queues(streams, streams + request.streams) {
        bench.use_folder();
        reset(bench, m_clocking, constants, request.constants, streams, request.streams);
        for (Queue& queue : m_queues) m_sides.emplace_back(bench, queue.stream(), 0, 1);
        for (uint32_t i = 0; i < request.watched; i++) {
            m_watched.push_back(static_cast<const uint8_t*>(bench.port(watched[i]).data));
        }
    }

    Queue& queue(int32_t stream) { return m_queues[stream]; }
    uint64_t cycles() const { return m_cycles; }

    // Returns whether what is waited for has come; `cycles` may be over before.
    bool run(const Waiting& waiting, RunResult& result) {
        m_bench.use_folder();
        const Queue* const wanted = waiting.stream < 0 ? nullptr : &m_queues[waiting.stream];
        const uint64_t end = m_cycles + waiting.cycles;
        for (;;) {
            if (wanted && wanted->waiting() >= waiting.count) return true;
            if (wanted && m_idle >= waiting.limit) {
                m_idle = 0;
                result.error = IDLE;
                return false;
            }
            if (m_cycles >= end) return !wanted;
            cycle(result);
            if (result.error != NONE) return false;
        }
    }

private:
    void cycle(RunResult& result) {
        for (size_t i = 0; i < m_sides.size(); i++) {
            if (m_sides[i].is_output()) m_queues[i].make_room();
            m_sides[i].drive(m_bench);
        }
        m_bench.settle(m_clocking);
        bool moved = false;
        for (size_t i = 0; i < m_sides.size(); i++) {
            Error error = NONE;
            moved |= m_sides[i].look(m_bench, error);
            if (error != NONE) {
                result.error = error;
                result.stream = i;
            }
        }
        moved = moved || std::any_of(m_watched.begin(), m_watched.end(), [](const uint8_t* fire) { return *fire != 0; });
        m_bench.edge(m_clocking);
        m_idle = moved ? 0 : m_idle + 1;
        m_cycles++;
    }

    Bench& m_bench;
    Clocking m_clocking;
    std::vector<Queue> m_queues;
    std::vector<Side> m_sides;
    std::vector<const uint8_t*> m_watched;
    uint64_t m_cycles = 0, m_idle = 0;
};

Session& of(void* session) { return *static_cast<Session*>(session); }

}  // namespace

// The session needs the bench until it is closed, and must be closed before it.
EXPORTED void* mxhw_session_open(void* bench, const SessionRequest* request, const Stream* streams,
                                 const Constant* constants, const int32_t* watched, char* text, uint64_t size) {
    void* session = nullptr;
    guarded(text, size, [&] {
        session = new Session{*static_cast<Bench*>(bench), *request, streams, constants, watched};
    });
    return session;
}

EXPORTED void mxhw_session_close(void* session) { delete static_cast<Session*>(session); }

EXPORTED void mxhw_session_send(void* session, int32_t stream, const void* beats, uint64_t count) {
    of(session).queue(stream).append(beats, count);
}

EXPORTED void mxhw_session_take(void* session, int32_t stream, void* beats, uint64_t count) {
    of(session).queue(stream).take(beats, count);
}

EXPORTED uint64_t mxhw_session_moved(void* session, int32_t stream) { return of(session).queue(stream).moved(); }

EXPORTED uint64_t mxhw_session_waiting(void* session, int32_t stream) { return of(session).queue(stream).waiting(); }

EXPORTED uint64_t mxhw_session_cycles(void* session) { return of(session).cycles(); }

EXPORTED int mxhw_session_run(void* session, const Waiting* waiting, RunResult* result) {
    bool came = false;
    const auto action = [&] { came = of(session).run(*waiting, *result); };
    if (guarded(result->text, sizeof(result->text), action)) result->error = FAULT;
    return came;
}
