// What the driver knows of a unit: its ports as bytes in memory, and how to settle it. Verilator stores a port of up to
// 64 bits in the smallest unsigned integer that holds it and a wider one in 32-bit words, lowest first.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "verilated.h"

struct Port {
    void* data;
    uint32_t bytes;
};

class Model {
public:
    virtual ~Model() = default;
    virtual void settle() = 0;
    virtual void open_waves(const char* path) = 0;
    virtual void dump(uint64_t time) = 0;

    std::vector<Port> ports;  // in the order of the table that the build wrote
};

std::unique_ptr<Model> make_model(VerilatedContext* context);
