// A synchronous read-only memory whose words come from a hex file, one word a line.
// `data` holds its value while `enable` is low. Without a file nothing is read: some tools look at a module with the
// values that its parameters have here before they look at its instances.
module mxhw_rom #(
    parameter WIDTH = 8,
    parameter DEPTH = 1,
    parameter ADDRESS = 1,
    parameter FILE = ""
) (
    input clk,
    input enable,
    input [ADDRESS-1:0] address,
    output reg [WIDTH-1:0] data
);
    reg [WIDTH-1:0] words [0:DEPTH-1];
    generate
        if (FILE != "") begin : image
            initial $readmemh(FILE, words);
        end
    endgenerate
    always @(posedge clk) if (enable) data <= words[address];
endmodule
