extension [PipelineEvent] {
    /// Why nobody of this version may go on with a pipeline of this history; nil when nothing is against it.
    var unknownLine: String? {
        self.first { $0.kind.known == nil }.map {
            "its history has a line \"\($0.kind.rawValue)\", which this version of the library doesn't know"
        }
    }
}

/// What is read of one pipeline's history: the numbered lines, and the own commits that stand apart.
struct PipelineHistory {
    private(set) var events: [PipelineEvent] = []
    private var apart: [PipelineEvent] = []

    mutating func append(_ event: PipelineEvent) { self.events.append(event) }

    mutating func appendCommit(_ event: PipelineEvent) { self.apart.append(event) }

    /// The own commits that stand apart, without those that were folded in while the history was being read.
    var commits: [PipelineEvent] {
        guard !self.apart.isEmpty else { return [] }
        let folded = Set(self.events.lazy.filter { $0.kind == .taskCompleted }.compactMap(\.task))
        return self.apart.filter { $0.task.map { !folded.contains($0) } ?? false }
    }
}
