extension Sequence where Element: Equatable {
    /// Whether the needle's elements follow each other somewhere in this sequence.
    ///
    /// Takes time in proportion to both lengths, whatever they hold (Knuth, Morris, Pratt): texts come from outside.
    func containsRun(of needle: [Element]) -> Bool {
        guard !needle.isEmpty else { return true }
        let fallbacks = Self.fallbacks(of: needle)
        var matched = 0
        for element in self {
            while matched > 0, needle[matched] != element { matched = fallbacks[matched - 1] }
            if needle[matched] == element { matched += 1 }
            if matched == needle.count { return true }
        }
        return false
    }

    /// For each prefix of the needle, the length of the longest shorter one that it ends with.
    private static func fallbacks(of needle: [Element]) -> [Int] {
        var fallbacks = [Int](repeating: 0, count: needle.count)
        var matched = 0
        for position in needle.indices.dropFirst() {
            while matched > 0, needle[matched] != needle[position] { matched = fallbacks[matched - 1] }
            if needle[matched] == needle[position] { matched += 1 }
            fallbacks[position] = matched
        }
        return fallbacks
    }
}
