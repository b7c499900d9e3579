import CloacinaPostgres

/// How long a removal goes on trying what others hold up: one deadline over all its steps, by the monotonic clock.
///
/// Work that gets on is not cut off; only waiting is. Logins are shut before anything else, so that the work is finite.
struct RemovalPatience: Sendable {
    /// The instant from which it is used up.
    let limit: ContinuousClock.Instant
    /// The whole of it.
    let total: Duration
    /// The longest time that one attempt waits for a lock.
    private static let lockTimeout: Duration = .milliseconds(500)
    /// What a clock can count without an overflow.
    private static let longest: Duration = .seconds(31_536_000)

    init(_ total: Duration, from start: ContinuousClock.Instant = .now) {
        self.total = max(.zero, min(total, Self.longest))
        self.limit = start.advanced(by: self.total)
    }

    /// Whether it is used up.
    func isOver(at now: ContinuousClock.Instant = .now) -> Bool { now >= self.limit }

    /// Milliseconds that an attempt beginning now may wait for a lock: at least one, since zero means no limit.
    func lockTimeout(at now: ContinuousClock.Instant = .now) -> Int64 {
        let left = max(.zero, min(Self.lockTimeout, now.duration(to: self.limit))).components
        return max(1, left.seconds * 1000 + left.attoseconds / 1_000_000_000_000_000)
    }

    /// Whether a failed attempt may succeed when it is made again: locks, deadlocks, a statement that was stopped, and
    /// what the server calls an internal error, a row of a catalog that somebody else changed at the same moment.
    static func isPassing(_ error: any Error) -> Bool {
        guard let error = error as? PostgresError, let sqlState = error.sqlState else { return false }
        return ["55P03", "40P01", "40001", "57014", "XX000"].contains(sqlState)
    }
}
