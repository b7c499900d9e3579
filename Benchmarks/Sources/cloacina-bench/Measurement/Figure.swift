import Foundation

/// One measured figure, printed as a line of JSON.
struct Figure: Encodable {
    var name: String
    var ours: Double
    var baseline: Double
    var unit: String
    var notes: String

    var ratio: Double { self.baseline == 0 ? 0 : self.ours / self.baseline }

    /// Writes the line to standard output.
    func print() throws {
        func text(_ string: String) throws -> String {
            let encoder = JSONEncoder()
            encoder.outputFormatting = .withoutEscapingSlashes
            return String(decoding: try encoder.encode(string), as: UTF8.self)
        }
        func number(_ value: Double) -> String { String(format: "%.3f", value) }
        let line = """
            {"name":\(try text(self.name)),"ours":\(number(self.ours)),"baseline":\(number(self.baseline)),\
            "ratio":\(number(self.ratio)),"unit":\(try text(self.unit)),"notes":\(try text(self.notes))}

            """
        try FileHandle.standardOutput.write(contentsOf: Data(line.utf8))
    }
}

/// Says on standard error what is going on.
func progress(_ message: String) {
    try? FileHandle.standardError.write(contentsOf: Data((message + "\n").utf8))
}
