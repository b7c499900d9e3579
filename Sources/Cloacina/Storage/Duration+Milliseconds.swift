extension Duration {
    /// Milliseconds, rounded up, at most what 63 bits hold.
    var wholeMilliseconds: Int64 {
        let (seconds, attoseconds) = self.components
        guard seconds < Int64.max / 1_000 - 1 else { return .max }
        guard seconds >= 0 else { return 0 }
        return max(0, seconds * 1_000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
    }
}
