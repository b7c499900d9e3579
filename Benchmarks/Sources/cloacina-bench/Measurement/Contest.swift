import Foundation

/// Several ways of doing the same thing, measured in turns, so that a slow minute of the machine hits all of them.
struct Contest {
    /// One way: its name, and how to measure it for a while.
    struct Side {
        let name: String
        let measure: (Duration) async throws -> Double

        init(_ name: String, _ measure: @escaping (Duration) async throws -> Double) {
            self.name = name
            self.measure = measure
        }
    }

    var rounds: Int
    var slice: Duration

    /// Runs a short round to warm up, then the rounds; the order turns around with each.
    func run(_ title: String, _ sides: [Side]) async throws -> Samples {
        progress(
            "\(title): \(self.rounds) rounds of \(self.slice) for each of \(sides.map(\.name).joined(separator: ", "))")
        var samples = Samples(rounds: self.rounds, slice: self.slice)
        for side in sides { _ = try await side.measure(min(self.slice, .milliseconds(200))) }
        for round in 0..<self.rounds {
            for side in round.isMultiple(of: 2) ? sides : sides.reversed() {
                samples.values[side.name, default: []].append(try await side.measure(self.slice))
            }
        }
        return samples
    }
}

/// What the rounds of a contest measured.
struct Samples {
    let rounds: Int
    /// The time for which each side was measured in a round; zero when it did its work once.
    let slice: Duration
    var values: [String: [Double]] = [:]

    init(rounds: Int, slice: Duration = .zero) {
        self.rounds = rounds
        self.slice = slice
    }

    mutating func add(_ value: Double, _ side: String) { self.values[side, default: []].append(value) }

    func median(_ side: String) -> Double { self.values[side, default: []].median }

    /// "median (lowest–highest)" of one side.
    func spread(_ side: String) -> String {
        let values = self.values[side, default: []]
        return String(format: "%.2f (%.2f–%.2f)", values.median, values.min() ?? 0, values.max() ?? 0)
    }

    /// The figure that compares two sides, its notes opened by the settings and the spread.
    func figure(_ name: String, ours: String, baseline: String, unit: String, notes: String) -> Figure {
        let ratios = zip(self.values[ours, default: []], self.values[baseline, default: []]).map { $0 / $1 }
        let facts = """
            \(self.rounds) rounds\(self.slice == .zero ? "" : " of \(self.slice)") in turns; ours: \(ours) \(self.spread(ours)); baseline: \(baseline) \
            \(self.spread(baseline)); ratio by round \
            \(String(format: "%.2f (%.2f–%.2f)", ratios.median, ratios.min() ?? 0, ratios.max() ?? 0))
            """
        return Figure(
            name: name, ours: self.median(ours), baseline: self.median(baseline), unit: unit,
            notes: "\(facts); \(notes)")
    }
}

extension [Double] {
    var median: Double {
        guard !self.isEmpty else { return 0 }
        let sorted = self.sorted()
        let middle = sorted.count / 2
        return sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
    }
}
