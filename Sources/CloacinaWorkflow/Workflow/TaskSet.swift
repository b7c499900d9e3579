/// Positions of tasks, a bit each.
package struct TaskSet: Sendable {
    private var words: [UInt64] = []

    package init() {}

    /// Adds a position; false when it was there.
    @discardableResult
    package mutating func insert(_ position: Int) -> Bool {
        let (word, bit) = (position >> 6, 1 << (position & 63) as UInt64)
        if word >= self.words.count {
            self.words.append(contentsOf: repeatElement(0, count: word + 1 - self.words.count))
        }
        guard self.words[word] & bit == 0 else { return false }
        self.words[word] |= bit
        return true
    }
}
