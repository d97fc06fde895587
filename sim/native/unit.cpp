// One unit as a Model, compiled in one piece with what Verilator made of it. The build defines MXHW_PORTS, the list of
// PORT(member); VM_TRACE and VM_TRACE_SAIF say whether it can write waveforms, or what toggles.
#include "model.h"

#if VM_TRACE_SAIF
#include "verilated_saif_c.h"
using Waves = VerilatedSaifC;
#elif VM_TRACE
#include "verilated_vcd_c.h"
using Waves = VerilatedVcdC;
#endif

namespace {

class Unit final : public Model {
public:
    explicit Unit(VerilatedContext* context) : m_top{context, ""} {
#define PORT(member) Port{&m_top.member, sizeof(m_top.member)}
        ports = {MXHW_PORTS};
#undef PORT
    }
    ~Unit() override {
#if VM_TRACE
        if (m_waves) m_waves->close();
#endif
    }
    void settle() override { m_top.eval(); }
#if VM_TRACE
    void open_waves(const char* path) override {
        m_waves = std::make_unique<Waves>();
        m_top.trace(m_waves.get(), 99);
        m_waves->open(path);
    }
    void dump(uint64_t time) override { m_waves->dump(time); }
#else
    void open_waves(const char*) override {}
    void dump(uint64_t) override {}
#endif

private:
    Vtop m_top;
#if VM_TRACE
    std::unique_ptr<Waves> m_waves;
#endif
};

}  // namespace

std::unique_ptr<Model> make_model(VerilatedContext* context) { return std::make_unique<Unit>(context); }
