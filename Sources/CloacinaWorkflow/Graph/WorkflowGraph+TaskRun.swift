extension WorkflowGraph {
    /// How one task fared in a run.
    public struct TaskRun: Sendable, Hashable {
        /// Where it stands: `waiting`, `ready`, `running`, `completed`, `failed` or `skipped` have an appearance of their own
        /// in drawings; any other word is shown as it is.
        public let state: String
        /// How many attempts were begun.
        public let attempts: Int
        /// How long it took, to the microsecond; nil when that isn't known.
        public let duration: Duration?

        /// Describes a task's run; parts of a microsecond are cut off the duration.
        public init(state: String, attempts: Int = 0, duration: Duration? = nil) {
            self.init(state: state, attempts: attempts, microseconds: duration?.wholeMicroseconds)
        }

        private init(state: String, attempts: Int, microseconds: Int64?) {
            self.state = state
            self.attempts = attempts
            self.duration = microseconds.map { .microseconds($0) }  // can't trap: a whole number of 64 bits
        }
    }
}

extension WorkflowGraph.TaskRun: Codable {
    private enum CodingKeys: String, CodingKey { case state, attempts, durationMicroseconds }

    /// Reads `state`, and `attempts` and `durationMicroseconds` where they are given.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            state: try container.decode(String.self, forKey: .state),
            attempts: try container.decodeIfPresent(Int.self, forKey: .attempts) ?? 0,
            microseconds: try container.decodeIfPresent(Int64.self, forKey: .durationMicroseconds))
    }

    /// Writes `state`, `attempts`, and the duration as the whole number `durationMicroseconds`.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.state, forKey: .state)
        try container.encode(self.attempts, forKey: .attempts)
        try container.encodeIfPresent(self.duration?.wholeMicroseconds, forKey: .durationMicroseconds)
    }
}

extension Duration {
    /// The duration in microseconds, cut off, and held at the bounds of `Int64`.
    package var wholeMicroseconds: Int64 { Int64(clamping: self.attoseconds / 1_000_000_000_000) }
}
