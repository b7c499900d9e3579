import CloacinaWorkflow

/// The numbers of a test that chance drives: the same for the same seed, so that a failing run can be repeated.
package struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var numbers: SplitMix64

    package init(seed: UInt64) { self.numbers = SplitMix64(seed: seed) }

    package mutating func next() -> UInt64 { self.numbers.next() }
}
